"""log p of some columns of a table's rows given others, by the model of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import torch

from marginflow.base.names import did_you_mean, listed
from marginflow.base.seeds import RandomStream
from marginflow.data.tables.other_rows import Beside
from marginflow.distributions.by_columns import by_columns
from marginflow.distributions.log_prob_given import log_prob_given
from marginflow.distributions.sample_given import FEWEST
from marginflow.runs.run import Run

DRAWS = 1000  # for each row, unless said


class GivenScorer:
    """Gives rows of a table log p(a | b), the log probability or density of columns a given columns b.

    log_prob_given is in nats, a density in the units of the table; beside it stands standard_error, 0 where both
    log p(a, b) and log p(b) are exact.

    Args:
        run: with the model.
        given: the names of b.
        of: the names of a; all others where empty.
        num_samples: K, weighted draws of each row, where it is not exact.
        seed: of these.

    Raises:
        ValueError: where the model has no factor for each column (a `NoFactorsError`), there is no such column, or
            none is left.
    """

    names = ("log_prob_given", "standard_error")

    def __init__(self, run: Run, given: Sequence[str], of: Sequence[str], num_samples: int, seed: int) -> None:
        by_columns(run.model)
        self.model, self.num_samples, self.noise = run.model, num_samples, RandomStream(seed)
        self.known = known = run.spec.column_names if run.spec.schema is None else run.spec.schema.names
        for option, names in (("--given", given), ("--of", of)):
            wrong = [name for name in names if name not in known]
            if wrong:
                hint = did_you_mean(wrong[0], known)
                raise ValueError(f"{option} must name columns of the model, {listed(known)}; got {wrong[0]!r}{hint}")
        self.given = [name in given for name in known]
        self.of = [name in of if of else name not in given for name in known]
        self.num_rows = self.num_unknown = 0
        self.exact, self.high, self.least = True, False, float("inf")

    def scores(self, chunk: Beside) -> pa.Table:
        """log p(a | b) of some rows: -inf where the model has no place for a cell of a, blank where for one of b."""
        x, context, _ = chunk.rows
        context = None if self.model.density.context_optional or context is None else torch.as_tensor(context[:])
        with self.noise.on():
            found = log_prob_given(
                self.model, torch.as_tensor(x[:]), self.given, self.of, context, num_samples=self.num_samples
            )
        log_prob, unknown = found.log_prob.cpu(), torch.zeros(len(found.log_prob), dtype=torch.bool)
        if (gaps := chunk.gaps.among(self.known)) is not None:
            log_prob = torch.where((gaps & torch.tensor(self.of)).any(1), -torch.inf, log_prob)
            unknown = (gaps & torch.tensor(self.given)).any(1)
        unknown |= log_prob.isnan()
        self.num_rows += len(unknown)
        self.num_unknown += int(unknown.sum())
        self.exact, self.high = found.exact, found.high
        self.least = min(self.least, float(found.effective_sample_size.median()))
        columns, mask = (log_prob, found.standard_error.cpu()), unknown.numpy()
        return pa.table([pa.array(each.numpy(), mask=mask) for each in columns], names=list(self.names))

    def in_words(self) -> Iterator[str]:
        """Lines for people."""
        if not self.exact:
            which = "high on average, as log p of the given columns is estimated low" if self.high else "estimated"
            ess = f"median effective sample size {self.least:,.0f}"
            yield f"log_prob_given is {which}: {self.num_samples:,} weighted draws a row, {ess}"
            if self.least < FEWEST:
                yield f"NOT CONVERGED: effective sample size under {FEWEST}; raise --num-samples"
        if self.num_unknown:
            yield f"{self.num_unknown:,} of {self.num_rows:,} rows have given values that have no probability"
