"""`train TABLE` chooses the model by itself: what it says, what it keeps, how it goes on."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import Call, fails, succeeds

from marginflow.estimators import candidates
from marginflow.runs.held_out import HeldOut
from marginflow.runs.run import Run


@pytest.fixture(autouse=True)
def few_and_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trials take no time."""
    for name in ("STEPS", "STEPS_OF_TRIAL"):
        monkeypatch.setattr(candidates, name, 20)
    monkeypatch.setattr(candidates, "COMPONENTS", (1, 2))


def write_pairs(path: str, num_rows: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(num_rows, 2)) + np.where(rng.random((num_rows, 1)) < 0.4, -4.0, 4.0)
    np.savetxt(path, rows, delimiter=",", header="left,right", comments="")
    return rows


def log_p_of_two(rows: np.ndarray) -> np.ndarray:
    """log of the density that drew them."""
    sides = [np.log(w) - 0.5 * ((rows - m) ** 2).sum(1) - np.log(2 * np.pi) for w, m in ((0.4, -4.0), (0.6, 4.0))]
    return np.logaddexp(*sides)


def test_real_columns_get_the_mixture_that_drew_them(call: Call) -> None:
    rows = write_pairs("pairs.csv", 300)
    said = succeeds(call("train", "pairs.csv"))
    assert "pairs.csv: 300 rows, 2 columns: 2 real" in said
    assert "chosen: gaussian_mixture of 2, the best on rows held out in 5 folds;" in said
    run = Run.open("runs/pairs")
    assert run.experiment.model.name == "gaussian_mixture"
    assert len(run.data.train.x) == 270  # all but the rows that `evaluate` takes
    # it is the truth, but for its eleven parameters
    mean = json.loads(Path("runs/pairs/choice.json").read_text())["trials"][0]["log_prob"]
    assert mean == pytest.approx(log_p_of_two(rows).mean(), abs=0.1)


def test_how_far_the_trials_are_is_told_on_the_standard_error(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs("pairs.csv", 300)
    short = ("--set", "train.epochs=1")
    result = call("train", "pairs.csv", *short, "--run-dir", "runs/lines")
    trials = [line for line in succeeds(result).splitlines() if "held-out rows, " in line]
    lines = result.stderr.splitlines()
    assert [line.partition(",")[0] for line in lines] == [f"fold {i} of 5 is done" for i in (1, 2, 3, 4)]
    out_after_first = sum("on 54 held-out rows" in line for line in trials)  # a fifth of 270
    left = len(trials) - out_after_first
    assert lines[0].endswith(f", {left} candidate{' is' if left == 1 else 's are'} left")
    assert not call("train", "pairs.csv", *short, "--quiet", "--run-dir", "runs/quiet").stderr
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal
    result = call("train", "pairs.csv", *short, "--run-dir", "runs/terminal")
    assert re.search(rf"trying [a-z].* \(fold 1 of 5, candidate [1-9] of {len(trials)}\)", result.stderr)
    assert "is done" not in result.stderr
    for line in trials:
        assert line.partition(":")[0] in [each.partition(":")[0] for each in result.stdout.splitlines()]
    assert not call("train", "pairs.csv", *short, "--quiet", "--run-dir", "runs/quiet_too").stderr


def test_a_pattern_stands_for_the_files_of_that_day(call: Call) -> None:
    for year in (2019, 2020):
        write_pairs(f"year-{year}.csv", 60, seed=year)
    succeeds(call("train", "year-*.csv"))
    write_pairs("year-2021.csv", 60, seed=2021)
    run = Run.open("runs/year")
    assert [Path(each).name for each in run.experiment.data.model_dump()["path"]] == ["year-2019.csv", "year-2020.csv"]
    assert len(run.data.train.x) == 108


def test_held_out_rows_are_those_of_the_folds(call: Call) -> None:
    rows = write_pairs("pairs.csv", 300)
    succeeds(call("train", "pairs.csv"))
    held_out = HeldOut.read(Path("runs/pairs"))
    assert held_out is not None
    assert held_out.cross_fitted
    assert len(held_out.log_prob) == 270
    assert float(held_out.log_prob.mean()) == pytest.approx(log_p_of_two(rows).mean(), abs=0.2)
    # 5 % of fresh rows are flagged, within two standard errors of 4,000 rows and of the 270
    write_pairs("fresh.csv", 4000, seed=1)
    succeeds(call("score", "runs/pairs", "fresh.csv", "-o", "scored.csv", "--contamination", "0.05"))
    lines = Path("scored.csv").read_text().splitlines()
    flagged = [row["outlier"] == "true" for row in csv.DictReader(lines)]
    error = np.sqrt(0.05 * 0.95 * (1 / 4000 + 1 / 270))
    assert np.mean(flagged) == pytest.approx(0.05, abs=2 * error)


def test_columns_of_any_kind_are_trained_on_at_the_first_try(call: Call) -> None:
    rng = np.random.default_rng(0)
    lines = ["id,day,size,price"]
    for i in range(200):
        size, price = rng.choice(["S", "M", "L"]), rng.gamma(3.0, 8.0)
        lines.append(f"{i},2024-03-{1 + i % 28:02},{size},{f'{price:.2f}' if i % 9 else ''}")
    Path("orders.csv").write_text("\n".join(lines) + "\n")
    result = call("train", "orders.csv")
    said = succeeds(result)
    assert "1 date, 1 category" in said
    assert said.count("left out") == 1
    assert "orders.csv: left out 'id' (identifier: " in result.stderr
    assert "chosen: mix" in said
    drawn = succeeds(call("sample", "runs/orders", "-n", "20", "-o", "new.csv"))
    assert "wrote new.csv" in drawn
    assert Path("new.csv").read_text().splitlines()[0] == "day,size,price"


def test_a_chosen_model_is_resumed_and_not_chosen_again(call: Call) -> None:
    write_pairs("pairs.csv", 300)
    succeeds(call("train", "pairs.csv", "--set", "train.epochs=3"))
    said = succeeds(call("train", "pairs.csv", "--set", "train.epochs=5", "--resume"))
    assert "trying models" not in said
    assert len(Run.open("runs/pairs").metrics) == 5
    fails(call("train", "pairs.csv"), "exists: give another --run-dir, or --overwrite")


def test_rows_that_are_trained_on_tell_nothing_of_the_length(call: Call) -> None:
    write_pairs("pairs.csv", 300)
    rows = np.random.default_rng(0).normal(size=(300, 2))
    np.savetxt("kinds.csv", np.round(rows * 5), delimiter=",", header="left,right", comments="", fmt="%d")
    for name in ("pairs", "kinds"):
        short = ("--set", "train.validate_every=1", "--set", "train.epochs=6")
        said = succeeds(call("train", f"{name}.csv", *short, "--overwrite"))
        (line,) = (line for line in said.splitlines() if line.startswith("ended"))
        assert line.startswith("ended after all 6 epochs; best at epoch")
        assert line.endswith("nats on rows that are trained on")
    said = succeeds(call("train", "pairs.csv", "--model", "maf", "--set", "train.epochs=4", "--overwrite"))
    (line,) = (line for line in said.splitlines() if line.startswith("ended"))
    assert "validation" in line
    assert line.endswith("train anew with --overwrite --set train.epochs=8 (in Python epochs=8)")
    typed = line[line.index("--overwrite") : line.index(" (in")].split()
    assert "ended after all 8 epochs" in succeeds(call("train", "pairs.csv", "--model", "maf", *typed))


def test_what_belongs_to_a_model_fixes_it(call: Call) -> None:
    write_pairs("pairs.csv", 300)
    for i, given in enumerate((("--model", "nice"), ("--set", "model.hidden=8,8"), ("--set", "noise.features=1"))):
        said = succeeds(call("train", "pairs.csv", *given, "--set", "train.epochs=1", "--run-dir", f"runs/{i}"))
        assert "trying models" not in said
        assert not Path(f"runs/{i}/choice.json").exists()


def test_mistakes_are_told_before_anything_is_tried(call: Call) -> None:
    write_pairs("pairs.csv", 300)
    fails(call("train", "pairs.csv", "--set", "train.epoch=3"), "epoch")
    fails(call("train", "pairs.csv", "--drop", "lfet"), "no column 'lfet'.*left")
    fails(call("train", "pairs.csv", "--overwrite", "--resume"), "give one of them")
    assert not Path("runs").exists()
