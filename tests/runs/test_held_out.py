"""Held-out rows: percentiles, thresholds and their files, against what they are defined to be."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Call, succeeds

from marginflow.base.data_warning import DataWarning
from marginflow.runs.held_out import HeldOut, held_out_for, kept_after_training
from marginflow.runs.run import Run


def test_a_percentile_is_the_share_of_rows_as_unusual() -> None:
    rng = np.random.default_rng(0)
    held, fresh = np.round(rng.normal(size=500), 1), np.round(rng.normal(size=200), 1)  # with ties
    weight = rng.integers(0, 4, 500).astype(float)
    plain = [100 * np.mean(held <= each) for each in fresh]
    weighted = [100 * weight[held <= each].sum() / weight.sum() for each in fresh]
    x = torch.from_numpy(fresh)
    assert HeldOut.of(torch.from_numpy(held)).percentile(x).tolist() == pytest.approx(plain)
    found = HeldOut.of(torch.from_numpy(held), weight=torch.from_numpy(weight))
    assert found.percentile(x).tolist() == pytest.approx(weighted)
    outside = HeldOut.of(torch.tensor([math.nan, -math.inf, 0.0, 1.0]))
    assert outside.percentile(torch.tensor([-5.0, 0.5])).tolist() == [50, 75]


@pytest.mark.parametrize(("num_rows", "contamination"), [(199, 0.01), (1000, 0.01), (50, 0.1)])
def test_fresh_rows_are_flagged_as_often_as_is_said(num_rows: int, contamination: float) -> None:
    trials, fresh = 400, 500
    rng = np.random.default_rng(num_rows)
    shares = []
    for _ in range(trials):
        held = HeldOut.of(torch.from_numpy(rng.gumbel(size=num_rows)))
        shares.append(np.mean(rng.gumbel(size=fresh) <= held.threshold(contamination)))
    exactly = math.floor(contamination * (num_rows + 1)) / (num_rows + 1)
    assert abs(np.mean(shares) - exactly) < 2.5 * np.std(shares) / math.sqrt(trials)
    assert exactly <= contamination < exactly + 1 / (num_rows + 1)


def test_one_percent_of_many_fresh_rows_is_flagged_by_many_held_out_ones() -> None:
    rng = np.random.default_rng(5)
    held = HeldOut.of(torch.from_numpy(rng.standard_t(3, 20_000)))
    share = np.mean(rng.standard_t(3, 200_000) <= held.threshold(0.01))
    error = math.sqrt(0.01 * 0.99 * (1 / 20_000 + 1 / 200_000))
    assert abs(share - 0.01) < 2 * error


def test_ties_never_flag_more_than_asked_and_weights_count_as_copies() -> None:
    held = torch.tensor([0.0] * 3 + [1.0] * 50 + [2.0] * 46)
    assert HeldOut.of(held).threshold(0.05) == 0
    assert HeldOut.of(held).threshold(0.6) == 1
    with pytest.warns(DataWarning, match="too few to tell the rarest 0.02"):
        assert HeldOut.of(held).threshold(0.02) == -math.inf
    values = torch.arange(100.0)
    twice = HeldOut.of(values, weight=torch.full((100,), 2.0))
    for contamination in (0.01, 0.05, 0.33):
        assert twice.threshold(contamination) == HeldOut.of(values).threshold(contamination)
    weight = torch.ones(100)
    weight[0] = 50.0
    with pytest.warns(DataWarning, match="a contamination of"):
        assert HeldOut.of(values, weight=weight).threshold(0.2) == -math.inf


def test_the_contamination_that_too_few_rows_can_tell_is_said() -> None:
    held = HeldOut.of(torch.arange(42.0))
    with pytest.warns(DataWarning, match=r"42 held-out rows are too few .* a contamination of 0\.024 or more"):
        assert held.threshold(0.01) == -math.inf
    assert held.threshold(0.024) == 0
    for wrong in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="must lie between 0 and 1"):
            held.threshold(wrong)


def test_columns_are_told_by_their_means_and_deviations() -> None:
    columns = torch.tensor([[-1.0, -2.0], [-3.0, -math.inf], [-5.0, -4.0]])
    found = HeldOut.of(columns.sum(1), columns=columns)
    assert found.columns == pytest.approx((-3, -3))
    assert found.columns_deviation == pytest.approx((math.sqrt(8 / 3), 1))
    weighted = HeldOut.of(columns.sum(1), columns=columns, weight=torch.tensor([3.0, 1.0, 0.0]))
    assert weighted.columns == pytest.approx((-1.5, -2))


def test_it_is_kept_and_read_as_it_was(tmp_path: Path) -> None:
    found = HeldOut.of(
        torch.tensor([1.0, -math.inf, 0.1]), weight=torch.tensor([1.0, 2.0, 0.5]), columns=torch.rand(3, 2),
        cross_fitted=True, num_samples=7, weights_sha256="ab",
    )  # fmt: skip
    assert HeldOut.read(tmp_path) is None
    found.keep(tmp_path)
    other = HeldOut.read(tmp_path)
    assert other is not None
    assert other.log_prob.tolist() == [-math.inf, 0.1, 1.0]
    assert other.weight is not None
    assert other.weight.tolist() == [2.0, 0.5, 1.0]
    assert (other.cross_fitted, other.num_samples, other.weights_sha256) == (True, 7, "ab")
    assert (other.columns, other.columns_deviation) == (found.columns, found.columns_deviation)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"log_prob": []}', '{"log_prob": [2, 1]}'])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "held_out.json").write_text(text)
    with pytest.raises(ValueError, match=r"held_out.json is damaged .*: delete it, and it is made anew"):
        HeldOut.read(tmp_path)


def test_a_training_keeps_its_test_rows_and_an_older_run_gets_them(call: Call) -> None:
    rows = np.random.default_rng(0).normal(size=(500, 2))
    np.savetxt("pairs.csv", rows, delimiter=",", header="a,b", comments="")
    succeeds(call("train", "pairs.csv", "--model", "planar", "--set", "train.epochs=1"))
    path = Path("runs/pairs")
    run = Run.open(path)
    kept = HeldOut.read(path)
    assert kept is not None
    assert not kept.cross_fitted
    assert kept.weights_sha256 == run.weights_sha256
    expected = run.model.log_prob(torch.as_tensor(run.data.test.x[:])).detach().double().sort()[0]
    torch.testing.assert_close(kept.log_prob, expected)
    found, note = held_out_for(run)
    assert (note, found.log_prob.tolist()) == ("", kept.log_prob.tolist())
    (path / "held_out.json").unlink()
    made, note = held_out_for(run)
    assert note == "runs/pairs kept none: log p of held-out rows was computed from its test rows, 50"
    torch.testing.assert_close(made.log_prob, kept.log_prob)
    assert HeldOut.read(path) is not None
    stale = json.loads((path / "held_out.json").read_text()) | {"weights_sha256": "of others", "log_prob": [7.0]}
    (path / "held_out.json").write_text(json.dumps(stale))
    made, note = held_out_for(run)
    assert "was trained further" in note
    assert len(made.log_prob) == 50


def test_images_have_no_held_out_rows(call: Call) -> None:
    succeeds(call("train", "digits.toml"))
    assert not Path("runs/digits/held_out.json").exists()
    assert kept_after_training(Path("runs/digits"), Run.open("runs/digits").data) is None


def test_an_estimate_is_compared_with_estimates_of_as_many_draws(call: Call) -> None:
    more = ("--set", "noise.features=1", "--set", "evaluate.num_samples=5")
    succeeds(call("train", "moons.toml", *more))
    run = Run.open("runs/moons")
    assert held_out_for(run)[0].num_samples == 5
    assert held_out_for(run)[1] == ""
    found, note = held_out_for(run, 9)
    assert (found.num_samples, note) == (9, "log p of held-out rows was estimated anew with K = 9")
    kept = HeldOut.read(Path("runs/moons"))
    assert kept is not None
    assert kept.num_samples == 5


def test_unequal_weights_count_as_their_effective_number_of_rows() -> None:
    weight = torch.tensor([16.2, 1.0, 1.0] + [1.0] * 17 + [2.0] * 30)
    total, squares = float(weight.sum()), float(weight.square().sum())
    held, differs = HeldOut.of(torch.arange(50.0), weight=weight), []
    for contamination in torch.linspace(0.2, 0.6, 81).tolist():
        by_hand = [
            sum(float(weight[: i + 1].sum()) <= contamination * total * more for i in range(50)) - 1
            for more in (1 + squares / total**2, 1 + 1 / 50)  # N' = total^2 / squares, not N = 50
        ]
        assert held.threshold(contamination) == by_hand[0]
        differs.append(by_hand[0] != by_hand[1])
    assert any(differs)


def test_rows_held_out_in_folds_are_those_of_the_weights_that_were_trained(call: Call) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 2)) + rng.choice([-2.0, 2.0], (200, 1))  # of which EM learns in more than 2 steps
    np.savetxt("pairs.csv", rows, delimiter=",", header="a,b", comments="")
    succeeds(call("train", "pairs.csv", "--set", "train.epochs=2"))
    path = Path("runs/pairs")
    kept = HeldOut.read(path)
    assert kept is not None
    assert kept.cross_fitted
    assert kept.weights_sha256 == Run.open(path).weights_sha256
    succeeds(call("train", "pairs.csv", "--set", "train.epochs=30", "--resume"))
    after, run = HeldOut.read(path), Run.open(path)
    assert after is not None
    assert not after.cross_fitted  # those of the folds had trained for 2 epochs
    assert after.weights_sha256 == run.weights_sha256
    assert len(after.log_prob) == len(run.data.test.x)
