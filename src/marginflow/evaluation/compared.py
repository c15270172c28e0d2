"""One of several runs that are compared on the same rows."""

from __future__ import annotations

from dataclasses import dataclass

from marginflow.base.moments import Estimate
from marginflow.evaluation.evaluate import Accounting


@dataclass(frozen=True)
class Compared:
    """One of several runs.

    Attributes:
        name: of the run.
        nll: -E log p of the rows as given, for images of their grey levels, in nats.
        behind: by how much `nll` lies above the best run's, with the standard error of the paired differences; None
            for the best itself.
        accounting: of the run.
        model: the name of its model.
        seed: of its training.
        num_parameters: of its model.
        discrete: E log P of what is discrete in the rows compared; None but for a density of a schema.
        real: E log density of what is real in them; None where no column is.
    """

    name: str
    nll: Estimate
    behind: Estimate | None
    accounting: Accounting
    model: str = ""
    seed: int | None = None
    num_parameters: int | None = None
    discrete: Estimate | None = None
    real: Estimate | None = None
