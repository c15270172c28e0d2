"""The accounting of a run, on its test rows or on those of a table."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marginflow.base.data_warning import DataWarning
from marginflow.data import Split
from marginflow.data.dataset import spread_rows
from marginflow.data.tables.contexts import contexts_in
from marginflow.data.tables.dialect import Asked
from marginflow.data.tables.gaps import Gaps, remedy
from marginflow.data.tables.other_rows import Beside, OtherRows
from marginflow.distributions import Flow
from marginflow.evaluation.check.check import check as require_model_size
from marginflow.evaluation.check.check import floor
from marginflow.evaluation.check.findings import Findings
from marginflow.evaluation.evaluate import Accounting, AccountingBuilder, evaluate_chunks
from marginflow.evaluation.far_out import FarOut, FarOutBuilder, Reference
from marginflow.evaluation.float32_error import Disagreement, disagreement
from marginflow.evaluation.row_scores import RowScores
from marginflow.evaluation.sample_range import SampleRange, sample_range
from marginflow.runs.provenance import provenance
from marginflow.runs.reference import as_record, is_of_columns, ranges_of, reference_of
from marginflow.runs.run import EVALUATION, Run
from marginflow.runs.schema import Evaluate
from marginflow.storage.files import write_whole
from marginflow.storage.limits import json_of

NUM_CHECKED = 10_000  # training rows, spread over all
NUM_DIVERGED = 1000  # test rows whose range tells which samples have left it

exhaust = partial(deque, maxlen=0)  # iterates over all, keeps nothing


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a run.

    Attributes:
        accounting: the negative log-likelihood and its parts.
        entropy: of the data, in nats; None where it is not known.
        record: all of it, for evaluation.json.
        samples: how many of the model's samples leave the range of the test rows, numbers of a schema that of the
            training rows; None where that was not asked, each sample needs a context, the rows are another table's, or
            hold no numbers.
        single: how far float32 is from float64; None where that was not asked, or for a model in float64.
        far_out: how many rows of another table are far out; None of the test rows, or where that cannot be told.
    """

    accounting: Accounting
    entropy: float | None
    record: dict[str, Any]
    samples: SampleRange | None
    single: Disagreement | None
    far_out: FarOut | None = None

    def keep(self, run_dir: Path) -> Path:
        """Write evaluation.json; what annealing has told of the same weights stays."""
        path, record = run_dir / EVALUATION, dict(self.record)
        with suppress(OSError, ValueError):
            before = json_of(path)
            if "annealed" in before and before.get("weights_sha256") == record["weights_sha256"]:
                record["annealed"] = before["annealed"]
        write_whole(path, (json.dumps(record, indent=2) + "\n").encode())
        return path


def check(run: Run, seed: int = 0) -> Findings:
    """Check the model of a run: on rows of its training set, and the floor on test rows where it is known."""
    data, model = run.data, run.model
    some = spread_rows(len(data.train.x), NUM_CHECKED)
    found = require_model_size(model, Split(*data.train.take(some)), seed=seed)
    if data.entropy is None or not found.ok:
        return found
    return found.and_also(floor(model, data.test, data.entropy, seed))


def rows_of_table(run: Run, table: str, rows: int | None = None) -> Iterator[Beside]:
    """The first rows of a table, chunk after chunk, for the model of a run, and the cells that it has no place for.

    Args:
        run: on a table.
        table: path of the other table.
        rows: how many; None takes all.

    Returns:
        An iterator of chunks.

    Raises:
        ValueError: where the run was trained on images, the columns are not those of the model, or none of the cells
            of one can be read.
    """
    if len(run.spec.event_shape) != 1:
        raise ValueError(f"{run.path} was trained on images: leave --data out")
    of_data = run.experiment.data.model_dump()
    return OtherRows(run.spec, table, asked(run), of_data.get("labels"), of_data.get("weights")).with_gaps(rows)


def contexts_of(run: Run, table: Path) -> Tensor:
    """The contexts in a table for the model of a run; ValueError where it takes none, or they do not fit."""
    schema = run.spec.schema
    if schema is None or not schema.given:
        raise ValueError(f"{run.path} was trained without a context: leave --context-from out")
    return contexts_in(table, schema, asked(run))


def asked(run: Run) -> Asked:
    """How the text is written that a run was trained on, as far as its user said."""
    options = run.experiment.data.model_dump()
    return Asked(**{each.name: options.get(each.name) for each in fields(Asked)})


def evaluate(
    run: Run,
    options: Evaluate,
    table: str | None = None,
    *,
    draw: bool = True,
    each_row: Callable[[Iterator[RowScores]], object] = exhaust,
) -> Evaluation:
    """Take the accounting of a run on its test split, or on the rows of a table, which need not fit into memory.

    Rows of a table with cells that the model has no place for have density 0.

    Args:
        run: the run.
        options: how many rows and samples, and which seed.
        table: path of a table; None takes the test split.
        draw: also draw samples, to count how many leave the range of the first 1,000 test rows, however many are
            evaluated, but never against the rows of a table; and compare float32 with float64, of a table in its first
            chunk.
        each_row: given what the model says of each row, chunk after chunk; it must iterate over all of them.

    Returns:
        The accounting, and all of it as a record.

    Raises:
        ValueError: where the table does not fit the run, or no row of it has a density.
    """
    model, spec = run.model, run.spec
    started = time.perf_counter()
    rows, entropy = (None, None) if table is not None else (run.test(options.rows), run.data.entropy)
    chunks = rows_of_table(run, str(table), options.rows) if rows is None else iter([Beside(rows, None, Gaps(), 0)])
    first = next(chunks)
    builder = AccountingBuilder(spec, exact=model.density.exact, num_samples=options.num_samples, seed=options.seed)
    taken = _Taken(builder, _reference(run, options, table) if is_of_columns(spec) else None)
    each_row(taken.scores(model, chain([first], chunks)))
    if taken.options:
        warnings.warn(remedy(taken.options), DataWarning, stacklevel=2)
    drawn = None
    has_numbers = spec.schema is None or not all(column.levels for column in spec.schema.modelled)
    if draw and has_numbers and rows is not None and (model.context_optional or not model.context_features):
        of_range = rows if len(rows.x) >= NUM_DIVERGED else run.test(NUM_DIVERGED)
        drawn = sample_range(model, of_range.take(slice(NUM_DIVERGED)), seed=options.seed)
    single = None
    if draw and taken.any_near:
        single = disagreement(model, Split(*first.rows.take(taken.first_near)), options.seed)
    about = run.trained()
    about["experiment"]["evaluate"] = options.model_dump(mode="json")
    record = {
        **about,
        "test": builder.build().as_dict(),
        "samples": None if drawn is None else asdict(drawn),
        "float32_against_float64": None if single is None else asdict(single),
        "entropy_of_the_data": entropy,
        "held_out": None if taken.far is None or rows is None else as_record(taken.held_out()),
        **({} if table is None else {"table": table}),
        "evaluate_seconds": round(time.perf_counter() - started, 1),
        "device": str(run.device),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "evaluated_by": provenance(),
        "weights_sha256": run.weights_sha256,
    }
    far_out = taken.far.build() if taken.far is not None and rows is None else None
    return Evaluation(builder.build(), entropy, record, drawn, single, far_out)


def _reference(run: Run, options: Evaluate, table: str | None) -> Reference | None:
    """What rows are held against: the test rows themselves against the ranges of the training rows alone."""
    return ranges_of(run) if table is None else reference_of(run, options)


class _Taken:
    """What a model says of rows, as it is taken in: their accounting, how many are far out, which of the first are."""

    def __init__(self, builder: AccountingBuilder, reference: Reference | None) -> None:
        self.builder, self.first_near = builder, torch.empty(0, dtype=torch.bool)
        self.far = None if reference is None else FarOutBuilder(reference, builder.spec)
        self.num_rows, self.least, self.gaps = 0, math.inf, Gaps()
        self.options: dict[str, dict[str, Any]] = {}

    def scores(self, model: Flow, chunks: Iterable[Beside]) -> Iterator[RowScores]:
        """Scores of chunks of rows."""
        spec, num_samples, seed = self.builder.spec, self.builder.num_samples, self.builder.seed
        options = {"spec": spec, "num_samples": num_samples, "seed": seed, "settled": self._settled}
        for scores in evaluate_chunks(model, self._rows(chunks), **options):
            self.builder.add(scores)
            yield scores

    def _rows(self, chunks: Iterable[Beside]) -> Iterator[Split]:
        for each in chunks:
            self.gaps = each.gaps
            self.options |= each.gaps.options
            yield each.rows

    def _settled(self, scores: RowScores, rows: Split) -> RowScores:
        if self.far is None:
            scores = scores.with_gaps(self.gaps)
            near = ~scores.outside.cpu()
        else:
            x, missing = torch.as_tensor(rows.x[:]), self.gaps.among(self.builder.spec.column_names)
            scores = self.far.reference.settle(scores, x, self.builder.spec).with_gaps(self.gaps)
            near = ~self.far.add(scores, x if missing is None else x.masked_fill(missing, math.nan))
        inside = scores.log_prob[scores.log_prob.isfinite()]
        self.least = min(self.least, float(inside.min())) if len(inside) else self.least
        self.first_near = self.first_near if self.num_rows else near
        self.num_rows += len(near)
        return scores

    @property
    def any_near(self) -> bool:
        """Whether the first chunk has rows that are not far out."""
        return bool(self.first_near.any())

    def held_out(self) -> Reference:
        """What the rows tell as a reference of others."""
        assert self.far is not None
        return replace(self.far.reference, num_rows=self.num_rows, least=self.least)
