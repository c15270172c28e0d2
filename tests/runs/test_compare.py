"""Runs side by side: paired differences against the rows' own log-likelihoods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from marginflow import load
from marginflow.runs import compare
from marginflow.runs.build import build, load_data
from marginflow.runs.directory import created
from marginflow.runs.evaluate import evaluate
from marginflow.runs.read_toml import parse
from marginflow.runs.run import Run
from marginflow.runs.schema import Evaluate
from marginflow.runs.seed_groups import seed_groups
from marginflow.training.checkpoint import save_weights

MOONS = {"name": "half_moons", "num_train": 100, "num_validation": 100, "num_test": 400}
OPTIONS = Evaluate(num_samples=5)


def made(path: Path, seed: int = 0, **sections: dict[str, object]) -> Path:
    """A run with untrained weights."""
    table = {"data": MOONS, "model": {"name": "planar"}, **sections}
    experiment = parse(table, "test")
    data = load_data(experiment)
    torch.default_generator.manual_seed(seed)
    model = build(experiment, data.spec)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(torch.rand_like(parameter) + 0.5)  # hidden weights stay zero
    with created(path, experiment, data.spec):
        save_weights(model.state_dict(), path)
    return path


@pytest.mark.usefixtures("single")
def test_differences_are_paired(tmp_path: Path) -> None:
    paths = [made(tmp_path / name, seed) for seed, name in enumerate("abc")]
    compared = compare.compare([Run.open(path) for path in paths], OPTIONS).runs
    x = load_data(parse({"data": MOONS, "model": {"name": "planar"}}, "test")).test.x[:]
    nll = {path.name: -load(path).log_prob(x).detach().double().numpy() for path in paths}
    order = sorted(nll, key=lambda name: nll[name].mean())
    assert [each.name for each in compared] == order
    assert compared[0].behind is None
    for each in compared:
        assert each.nll.value == pytest.approx(nll[each.name].mean(), rel=1e-5)
        assert each.nll.standard_error == pytest.approx(nll[each.name].std(ddof=1) / 20, rel=1e-5)
        if each.behind is not None:
            difference = nll[each.name] - nll[order[0]]
            assert each.behind.value == pytest.approx(difference.mean(), rel=1e-4, abs=1e-6)
            assert each.behind.standard_error == pytest.approx(difference.std(ddof=1) / np.sqrt(400), rel=1e-4)


@pytest.mark.usefixtures("single")
def test_images_are_compared_as_grey_levels_whatever_the_preprocessing(tmp_path: Path) -> None:
    model = {"name": "maf", "hidden": [8], "blocks": 1}
    fresh = made(tmp_path / "fresh", data={"name": "digits"}, model=model, preprocess={"logit": 0.05})
    once = made(tmp_path / "once", data={"name": "digits", "noise": "once"}, model=model, preprocess={"logit": 0.01})
    compared = {each.name: each for each in compare.compare([Run.open(fresh), Run.open(once)], OPTIONS).runs}
    for each in compared.values():
        accounting = each.accounting
        assert accounting.bits_per_dim is not None
        assert each.nll.value / (64 * np.log(2)) == pytest.approx(accounting.bits_per_dim.value, rel=1e-6)


def test_groups_of_seeds_are_ranked_as_runs_are() -> None:
    """A row of density 0 weighs more than any log p of the others."""
    of = [parse({"data": MOONS, "model": {"name": name}, "train": {"seed": seed}}, "test")
          for name in ("planar", "radial") for seed in (0, 1)]  # fmt: skip
    log_probs = [torch.full((20,), 1.0)] * 2 + [torch.zeros(20)] * 2
    assert seed_groups(of, log_probs, None)[0].name == "planar"
    assert [each.name for each in seed_groups(of, log_probs, None, [1, 0, 0, 0])] == ["radial", "planar"]


def test_runs_on_other_rows_are_refused(tmp_path: Path) -> None:
    first = made(tmp_path / "a")
    other = made(tmp_path / "b", data={**MOONS, "seed": 3})
    with pytest.raises(ValueError, match=r"data.seed is 0 in one and 3 in the other, so their test rows differ"):
        compare.compare([Run.open(first), Run.open(other)], OPTIONS)
    with pytest.raises(ValueError, match="at least two runs"):
        compare.compare([Run.open(first)], OPTIONS)


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [made(tmp_path / folder / "run", i) for i, folder in enumerate("xy")]
    assert {each.name for each in compare.compare([Run.open(path) for path in paths], OPTIONS).runs} == {
        str(path) for path in paths
    }


@pytest.mark.usefixtures("single")
def test_samples_are_held_against_the_test_split_alone_and_drawn_only_where_asked(tmp_path: Path) -> None:
    path = made(tmp_path / "a", 0)
    np.save(tmp_path / "rows.npy", Run.open(path).data.test.take().x[:50].numpy())
    assert evaluate(Run.open(path), OPTIONS).samples is not None
    assert evaluate(Run.open(path), OPTIONS, draw=False).samples is None
    assert evaluate(Run.open(path), OPTIONS, table=str(tmp_path / "rows.npy")).samples is None
