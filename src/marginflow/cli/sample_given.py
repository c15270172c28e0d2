"""marginflow sample --given: rows of which some columns are given."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from marginflow.cli.output import say
from marginflow.cli.typed import as_list

if TYPE_CHECKING:
    from torch import Tensor

    from marginflow.data.tables.given import GivenRows
    from marginflow.runs.run import Run


def sample_given(
    run: Run, rows: GivenRows, number: int | None, to: Path, context: Tensor | None, seed: int, seconds: float
) -> None:
    """Draw rows of a run given some of their columns, write them, and say how good they are.

    Args:
        run: of a table.
        rows: with the given columns, see `rows_given`.
        number: of rows; None for 64, or one for each row of the file.
        to: the file to write.
        context: (M, C), from a file of its own; None where there is none, or it is given beside other columns.
        seed: of all draws.
        seconds: how long draws are weighed.

    Raises:
        ValueError: for all that does not fit, and where too few draws count.
    """
    import torch

    from marginflow.base.seeds import seeded
    from marginflow.data.tables.contexts import together, whole
    from marginflow.data.tables.write import write
    from marginflow.distributions.by_columns import NoFactorsError
    from marginflow.distributions.sample_given import TooFewError
    from marginflow.distributions.sample_given import sample_given as draw

    schema = run.spec.schema
    x, context = rows.beside(the_context(rows, context))
    if context is None and schema is not None and schema.given and not run.model.density.context_optional:
        missing = " ".join(f"--given {shlex.quote(each.name)}=VALUE" for each in schema.given)
        raise ValueError(f"{run.path} needs its context: give {missing} too, or --context-from FILE")
    number = number if number is not None else 64 if len(x) == 1 else len(x)
    try:
        with seeded(seed):
            found = draw(run.model, number, x, rows.given, context, seconds=seconds)
    except TooFewError as error:
        raise ValueError(f"{error}; {first_of(rows.names)} trains a model that begins with these columns") from None
    except NoFactorsError as error:
        raise ValueError(f"{run.path}: {error}{in_context(rows.names)}") from None
    if context is not None and schema is not None:
        turn = torch.arange(number) % len(context)
        write([together(found.x.cpu(), context[turn], schema)], replace(run.spec, schema=whole(schema)), to)
    else:
        write([found.x.cpu()], run.spec, to)
    if found.exact:
        say(f"wrote {to}: {number:,} rows, independent draws given {as_list(rows.names)}")
    else:
        say(
            f"wrote {to}: {number:,} rows from {found.distinct:,} distinct ones of {found.num_draws:,} weighted draws "
            f"given {as_list(rows.names)} (effective sample size {found.effective_sample_size:,.0f})"
        )


def the_context(rows: GivenRows, context: Tensor | None) -> Tensor | None:
    """That given beside other columns, or from a file of its own; ValueError where it is both."""
    if context is not None and rows.context is not None:
        raise ValueError("the context is given twice: leave --context-from out")
    return rows.context if context is None else context


def rows_given(run: Run, given: Sequence[str]) -> GivenRows:
    """What is typed behind --given as rows; ValueError for all that is wrong with it."""
    from marginflow.data.tables.given import given_rows, typed_values
    from marginflow.data.tables.read import read
    from marginflow.runs.evaluate import asked

    if len(run.spec.event_shape) != 1:
        raise ValueError(f"{run.path} was trained on images: --given is for columns of a table")
    files = [each for each in given if "=" not in each or Path(each).is_file()]
    if files:
        if len(given) > 1:
            raise ValueError(
                f"give either columns, --given name=value, or one file, --given rows.csv; got {', '.join(given)}"
            )
        return given_rows(read(Path(files[0]), asked(run)).columns, run.spec, files[0])
    pairs: dict[str, str] = {}
    for each in given:
        name, _, value = each.partition("=")
        if pairs.setdefault(name.strip(), value.strip()) != value.strip():
            raise ValueError(
                f"--given says two values of {name.strip()!r}, {pairs[name.strip()]!r} and {value.strip()!r}: give one"
            )
    return given_rows(typed_values(pairs), run.spec, "--given")


def first_of(names: Sequence[str]) -> str:
    """The options of a training whose rows begin with some columns, as they are typed."""
    plain = all(name == name.strip() and not set(name) & set(',"\\') for name in names)
    value = ",".join(names) if plain and len(names) > 1 else json.dumps(list(names), ensure_ascii=False)
    return f"--model mixed --set {shlex.quote(f'model.first={value}')}"


def in_context(names: Sequence[str]) -> str:
    """What to type for a model in which these columns can be given."""
    return f"; train with --model mixed, or with --context {shlex.quote(as_list(names))}"
