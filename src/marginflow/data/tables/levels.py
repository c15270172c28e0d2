"""The levels of a column: in order, with rare ones pooled where that is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from marginflow.data.column_options import ColumnOptions
from marginflow.data.schema import Kind
from marginflow.data.tables.cells import pc
from marginflow.data.tables.contradictions import TOO_MANY, held_in
from marginflow.data.tables.values import Values

POOL = 20  # rows that a level needs for something to be learned of it
OTHER = "(other)"


def levels_of(values: Values, column: Any, kind: Kind, asked: ColumnOptions) -> tuple[tuple[str, ...], bool, list[str]]:
    """The levels of a column, as text.

    Args:
        values: of the column.
        column: itself, which may have an order of its levels.
        kind: of levels.
        asked: what the user says of it.

    Returns:
        The levels, whether the last stands for all others, and what is wrong.
    """
    labels = values.labels()
    counts = dict(zip(labels.to_pylist(), values.counts.tolist(), strict=True))
    if asked.levels is not None:
        found, problems = _as_asked(values, labels, asked)
    else:
        found, problems = _in_order(values, column, labels, kind), []
        if asked.pool is not None:
            found = [each for each in found if counts.get(each, 0) >= asked.pool]
    if len(found) > TOO_MANY:
        problems.append(f"has {len(found):,} levels, more than {TOO_MANY:,}")
    if asked.pool is None:
        return tuple(found), False, problems
    other = OTHER
    while other in counts:
        other = f"({other})"
    return (*found, other), True, problems


def pool_for(values: Values) -> int:
    """How many rows a level must have so that there are not too many."""
    return next(rows for rows in (20, 100, 1000, 2**62) if (values.counts >= rows).sum() < TOO_MANY)


def _in_order(values: Values, column: Any, labels: Any, kind: Kind) -> list[str]:
    """All levels that occur; of an ordered dictionary all that it has, in its order."""
    declared = getattr(column, "type", None)
    if declared is not None and pa.types.is_dictionary(declared) and declared.ordered:
        whole = column.unify_dictionaries() if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
        known = whole.chunk(0).dictionary.cast(pa.string()).to_pylist() if whole.num_chunks else []
        return [each for each in known if each.strip()] if kind == "ordered" else sorted(labels.to_pylist())
    if values.family != "text":
        return labels.take(pa.array(np.argsort(values.array, kind="stable"))).to_pylist()
    if pc.all(pc.match_substring_regex(labels, r"^[+-]?[0-9]{1,15}(\.[0-9]*)?$")).as_py():
        return labels.take(pc.sort_indices(labels.cast(pa.float64()))).to_pylist()
    return sorted(labels.to_pylist())


def _as_asked(values: Values, labels: Any, asked: ColumnOptions) -> tuple[list[str], list[str]]:
    """The levels that are asked for, and what other value there is unless others are pooled."""
    assert asked.levels is not None
    found, problems = [_label(each) for each in asked.levels], []
    twice = sorted({each for each in found if found.count(each) > 1})
    if twice:
        problems.append(f"levels name {twice[0]!r} more than once")
    wrong = pc.invert(pc.is_in(labels, pa.array(found))).to_numpy(zero_copy_only=False)
    if wrong.any() and asked.pool is None:
        problems.append(f"{held_in(values, wrong)}, none of the levels {', '.join(found[:10])}: name it, or set pool")
    return found, problems


def _label(given: str | int | float | bool) -> str:
    """A level that TOML has as a value, as text."""
    if isinstance(given, bool):
        return "true" if given else "false"
    return str(int(given)) if isinstance(given, float) and given.is_integer() else str(given)
