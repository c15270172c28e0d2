"""A table and a mixture of Gaussians: its settings, what it cannot have, and the run from training to scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Call, succeeds
from sklearn.mixture import GaussianMixture as Sklearn

import marginflow
from marginflow.data import DataSpec
from marginflow.distributions import GaussianMixture
from marginflow.estimators.for_table import named_for
from marginflow.runs.build import build
from marginflow.runs.read_toml import parse

ROWS = 900


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three clusters that no independent columns have, far from standardised."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, ROWS)
    root = rng.normal(size=(3, 3, 3))
    x = (
        200
        + 50 * rng.normal(size=(3, 3))[kind] * 3
        + 20 * np.einsum("nij,nj->ni", root[kind], rng.normal(size=(ROWS, 3)))
    )
    np.savetxt(tmp_path / "t.csv", x, delimiter=",", header="a,b,c", comments="", fmt="%.9f")
    return tmp_path / "t.csv"


def test_a_table_trains_it_by_em_on_standardised_columns(table: Path) -> None:
    data = marginflow.data.load("table", path=str(table))
    settings = named_for([table], ["model.name=gaussian_mixture", "model.components=3"], data)
    assert settings.preprocess.standardise
    assert (settings.train.epochs, settings.train.patience, settings.train.ema) == (200, 10, 0.0)
    model = build(settings, DataSpec((3,)))
    assert isinstance(model.base.base, GaussianMixture)
    assert model.base.base.num_components == 3
    other = named_for([table], ["model.name=gaussian_mixture", "train.epochs=7", "model.ridge=0.01"], data)
    assert other.train.epochs == 7


def test_the_run_of_a_table_is_as_good_as_scikit_learns(table: Path, tmp_path: Path, call: Call) -> None:
    run = tmp_path / "run"
    settings = ["model.name=gaussian_mixture", "model.components=3", "train.precision=64-true", "train.device=cpu"]
    succeeds(call("train", table, "--run-dir", run, *(part for each in settings for part in ("--set", each))))
    data = marginflow.data.load("table", path=str(table))
    theirs = Sklearn(3, n_init=5, random_state=0).fit(data.train.x.numpy())
    model = marginflow.load(run)
    found = float(model.log_prob(data.test.x).mean().detach())
    assert found == pytest.approx(theirs.score(data.test.x.numpy()), abs=0.05)
    torch.manual_seed(0)
    drawn = model.sample(3000)
    torch.testing.assert_close(drawn.double().mean(0), data.train.x.double().mean(0), atol=20, rtol=0)
    assert "log p is that of a density" in succeeds(call("evaluate", run, "-o", tmp_path / "scores.csv"))


@pytest.mark.parametrize(
    ("tables", "spec", "message"),
    [
        (
            {"noise": {"features": 2}},
            DataSpec((3,)),
            "takes no noise: leave noise.features out, or take model.name=maf",
        ),
        (
            {"data": {"name": "table", "path": "t.csv", "labels": "kind"}, "noise": {"features": 2}},
            DataSpec((3,), context_features=2, labels=("a", "b")),
            "takes no context, no noise: leave data.labels and noise.features out, or take model.name=maf",
        ),
        (
            {"data": {"name": "table", "path": "t.csv", "context": ["a", "b"]}, "context": {"features": 4}},
            DataSpec((3,), context_features=2),
            "takes no context, no network for it: leave data.context and context.features out",
        ),
    ],
)
def test_a_context_and_noise_are_refused_with_remedies(tables: dict, spec: DataSpec, message: str) -> None:
    given = {"data": {"name": "table", "path": "t.csv"}, "model": {"name": "gaussian_mixture"}, **tables}
    with pytest.raises(ValueError, match=f"model.name = 'gaussian_mixture' {message}"):
        build(parse(given, "test"), spec)
