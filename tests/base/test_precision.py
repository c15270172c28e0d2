"""Rows whose digits the precision of a model cannot hold come with a warning, on every path that takes rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import marginflow as mf
from marginflow.base.data_warning import DataWarning
from marginflow.base.precision import warn_of_lost_digits
from marginflow.data import DataSet, Split
from marginflow.distributions import Flow, LabelMixture, Marginalising, StandardNormal
from marginflow.transforms import Standardise

X = 1e9 + np.random.default_rng(0).normal(size=(60, 2))

PATHS: dict[str, Callable[[mf.models.Flow, np.ndarray], object]] = {
    "log_prob": lambda model, x: model.log_prob(x),
    "log_likelihood": lambda model, x: mf.log_likelihood(model, x),
    "evaluate": lambda model, x: mf.evaluate(model, x),
    "check": lambda model, x: mf.check(model, x),
    "fit": lambda model, x: mf.fit(model, x, mf.TrainConfig(epochs=1, batch_size=20)),
    "a data set": lambda model, x: mf.fit(model, data_set(x), mf.TrainConfig(epochs=1, batch_size=20)),
}


def data_set(x: np.ndarray) -> DataSet:
    rows = Split(torch.from_numpy(x))
    return DataSet("mine", rows, rows, rows, columns=("time", "place"))


def said(run: Callable[[], object]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(each.message) for each in caught if issubclass(each.category, DataWarning)]


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.filterwarnings("ignore")
def test_digits_that_are_lost_are_said_wherever_rows_come_in(path: str) -> None:
    lost = said(lambda: PATHS[path](mf.models.maf(2, hidden=[8]), X))
    assert any(
        "varies little beside its size" in each and "Flow([Standardise(2)], base=model)" in each for each in lost
    )
    assert any("column 'time'" in each for each in lost) == (path == "a data set")
    kept = Flow([Standardise(2)], base=mf.models.maf(2, hidden=[8]))
    kept.transform[0].set_statistics(torch.full((2,), 1e9), torch.ones(2))
    assert not said(lambda: PATHS[path](kept, X))
    assert not said(lambda: PATHS[path](mf.models.maf(2, hidden=[8]).double(), X - 1e9))


@pytest.mark.usefixtures("single")
def test_wrappers_keep_what_the_flow_inside_keeps() -> None:
    standardised = Flow([Standardise(2)], base=mf.models.maf(2, hidden=[8], context_features=3))
    assert LabelMixture(standardised, 3).takes_float64
    joint = Flow([Standardise(3)], base=mf.models.maf(3, hidden=[8]))
    joint.transform[0].set_statistics(torch.tensor([1e9, 1e9, 0.0]), torch.ones(3))
    marginalising = Marginalising(joint, StandardNormal(1))
    with pytest.warns(DataWarning, match="varies little"):
        marginalising.log_prob(X)


@pytest.mark.usefixtures("single")
def test_a_context_far_from_0_is_said_too() -> None:
    model = mf.models.maf(1, hidden=[8], context_features=2)
    with pytest.warns(DataWarning, match="of the context varies little beside its size"):
        model.log_prob(np.zeros((60, 1)), X)


@pytest.mark.usefixtures("single")
def test_whole_numbers_beyond_float32_are_not_rounded_in_silence() -> None:
    nanoseconds = 1_700_000_000_000_000_000 + np.arange(50, dtype=np.int64)[:, None] * 1_000
    with pytest.warns(DataWarning, match="varies little"):
        mf.models.maf(1, hidden=[8]).log_prob(nanoseconds)
    seconds = np.arange(50)[:, None] + 100_000  # which float32 holds exactly
    assert not said(lambda: mf.models.maf(1, hidden=[8]).log_prob(seconds))


@given(st.floats(0, 15), st.floats(-3, 3), st.integers(0, 1000))
def test_it_is_said_where_rounding_moves_a_value_by_a_thousandth_of_the_deviation(
    decades: float, spread: float, seed: int
) -> None:
    """Against numpy's rounding."""
    deviation = 10**spread
    x = np.random.default_rng(seed).normal(size=(50, 1)) * deviation + deviation * 10**decades
    moved = np.abs(x.astype(np.float32).astype(np.float64) - x).max()
    lost = said(lambda: warn_of_lost_digits(torch.from_numpy(x), torch.float32, "remedy"))
    if abs(moved / (1e-3 * x.std(ddof=1)) - 1) > 1e-6:
        assert bool(lost) == (moved > 1e-3 * x.std(ddof=1))


def test_nothing_is_looked_at_where_torch_compiles_or_maps() -> None:
    model = mf.models.maf(2, hidden=[8]).float()
    x = torch.from_numpy(X)
    assert not said(lambda: torch.func.vmap(lambda row: model.log_prob(row[None])[0])(x))
    assert not said(lambda: torch.compile(model, backend="aot_eager", fullgraph=True)(x))
