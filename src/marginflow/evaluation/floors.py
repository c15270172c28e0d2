"""How far a density of a table is ahead of simple ones on held-out rows: independent columns, a mixture of a few."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from marginflow.base.distribution import Distribution
from marginflow.base.moments import Estimate, Moments
from marginflow.base.weighted_mean import WeightedMean
from marginflow.data import Batch, DataSet, DataSpec, Split
from marginflow.data.dataset import spread_rows
from marginflow.data.schema import Column, Schema
from marginflow.data.tables.statistics import fitted
from marginflow.distributions.product_em import ProductEM
from marginflow.distributions.product_mixture import ProductMixture
from marginflow.evaluation.evaluate import evaluate_rows

FLOORS = {"independent columns": 1, "a mixture of 6": 6}  # components of each
ROWS, NUMBERS = 20_000, 1_000_000  # training rows that floors are fitted to at most, and numbers in them
STEPS, LEAST_GAIN = 100, 2e-4  # of EM at most; nats a row, below which a step is the last
CLEAR, ROUNDING = 2, 1e-6  # standard errors, and nats, by which a density is ahead


@dataclass(frozen=True)
class Floor:
    """A simple density beside the one that was trained.

    Attributes:
        name: in words.
        log_prob: its mean on the held-out rows, in nats a row.
        ahead: by how much the trained density is ahead, row by row.
    """

    name: str
    log_prob: Estimate
    ahead: Estimate

    @property
    def is_beaten(self) -> bool:
        """Whether the trained density is ahead by more than two standard errors, and than rounding."""
        return self.ahead.value > max(CLEAR * self.ahead.standard_error, ROUNDING)


@dataclass(frozen=True)
class Standing:
    """A density on held-out rows beside its floors, all in nats a row, higher is better.

    Attributes:
        log_prob: the mean over rows.
        num_rows: over how many rows.
        num_outside: rows in which one of the densities is 0, left out.
        floors: the simple densities.
        num_samples: K, importance samples a row of a density that is not exact, which lies below the truth by what more
            of them would add; None for an exact one.
    """

    log_prob: Estimate
    num_rows: int
    num_outside: int
    floors: tuple[Floor, ...]
    num_samples: int | None = None


def standing(model: Distribution, data: DataSet, *, num_samples: int = 1, rows: int | None = None) -> Standing:
    """A trained density of a table on its test rows, beside product mixtures fitted to its training rows by EM.

    The floors are on the same measure: probabilities where the density gives such, and densities of all columns, in
    the units of the file, where it takes them for real numbers.

    Args:
        model: of the rows.
        data: with its training and test rows.
        num_samples: importance samples a row, for a density that is not exact.
        rows: only the first so many test rows.

    Returns:
        Means with standard errors, and paired differences.

    Raises:
        ValueError: where no row lies in the support of all.

    Examples:
        >>> from marginflow import models
        >>> x = torch.randn(400, 1) + 0.1 * torch.randn(400, 2)
        >>> data = DataSet("pairs", Split(x[:200]), Split(x[200:300]), Split(x[300:]))
        >>> [floor.name for floor in standing(models.planar(2), data).floors]
        ['independent columns', 'a mixture of 6']
    """
    test = Split(*data.test.take(slice(rows)))
    log_prob = evaluate_rows(model, test, spec=data.spec, num_samples=num_samples).log_prob.cpu()
    found = _floors(data, test, by_kind=model.takes_blanks)
    inside = torch.stack([each.isfinite() for each in (log_prob, *found.values())]).all(0)
    if not bool(inside.any()):
        raise ValueError("no test row lies in the support of the model")
    weight = None if test.weight is None else test.weight[inside].double()

    def mean(values: Tensor) -> Estimate:
        return (Moments().add(values) if weight is None else WeightedMean().add(values, weight)).estimate()

    log_prob = log_prob[inside].double()
    floors = (Floor(name, mean(each[inside]), mean(log_prob - each[inside])) for name, each in found.items())
    draws = None if model.density.exact else num_samples
    return Standing(mean(log_prob), int(inside.sum()), int((~inside).sum()), tuple(floors), draws)


def real_schema(spec: DataSpec) -> Schema:
    """A schema by which all columns are real numbers without bounds or spikes; those of a context stay as they are."""
    given = () if spec.schema is None else spec.schema.given
    free = ("lower", "upper", "atoms")
    return Schema((*(Column(name, "real", settled=free) for name in spec.column_names), *given))


def _floors(data: DataSet, test: Split, *, by_kind: bool) -> dict[str, Tensor]:
    """log p of test rows under each floor, by name."""
    some = spread_rows(len(data.train.x), min(ROWS, max(1, NUMBERS // data.spec.features)))
    train = _wide(data.train.take(some))
    schema = data.schema if by_kind else real_schema(data.spec)
    if schema is None or (data.schema is None and train.context is not None):
        train, test = train._replace(context=None), test._replace(context=None)  # labels, over which models average
    assert schema is not None
    schema = schema if by_kind else fitted(schema, *train)
    return {name: _fitted(schema, train, components, _wide(test.take())) for name, components in FLOORS.items()}


def _wide(rows: Batch) -> Batch:
    x, context, weight = rows
    return Batch(x.double(), None if context is None else context.double(), weight)


@torch.no_grad()
def _fitted(schema: Schema, train: Batch, components: int, rows: Batch) -> Tensor:
    """log p of rows under a product mixture that is fitted to training rows."""
    model = ProductMixture(schema, components).double()
    em = ProductEM(model, Split(*train), check=lambda: None)
    em.start(seed=0)
    before = em.step()
    for _ in range(STEPS):
        now = em.step()
        if before - now < LEAST_GAIN:
            break
        before = now
    return model.log_prob(rows.x, rows.context)
