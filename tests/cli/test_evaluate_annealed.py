"""`evaluate --method annealed`: what it prints and keeps, beside log p by quadrature, and how it goes on."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
from helpers import Call, fails, succeeds

from marginflow import log_likelihood
from marginflow.evaluation import annealed as module
from marginflow.runs import annealed as runs_annealed
from marginflow.runs.run import Run

FEW = ("data.num_train=400", "data.num_validation=100", "data.num_test=60", "train.epochs=2", "evaluate.num_samples=5")


@pytest.fixture
def run(call: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Half moons, a planar flow with one noise dimension."""
    monkeypatch.setattr(module, "SIMULATED", 20)
    settings = [part for each in FEW for part in ("--set", each)]
    succeeds(call("train", "half_moons_planar_marginal", *settings, "--set", "noise.features=1", "--run-dir", "run"))
    return call


def by_quadrature(run: Run, rows: int) -> torch.Tensor:
    """log p of test rows, the noise integrated over a grid."""
    density = run.model.density
    x, _ = run.model.preprocessing(run.test(rows).take().x)
    eps = torch.linspace(-12, 12, 2001)
    log_joint = torch.stack([density.log_joint(x, each.expand(len(x), 1)) for each in eps])  # pyright: ignore
    return (log_joint.double() + torch.log(eps[1] - eps[0])).logsumexp(0).detach()


def test_it_tells_log_p_of_test_rows_and_the_gap_on_rows_drawn(run: Call) -> None:
    said = succeeds(run("evaluate", "run", "--method", "annealed", "--rows", "40", "--temperatures", "60"))
    truth = by_quadrature(Run.open(Path("run")), 40)
    record = json.loads(Path("run/evaluation.json").read_text())
    found = record["annealed"]
    assert found["log_prob"]["value"] == pytest.approx(float(truth.mean()), abs=0.03)
    assert found["log_prob"]["standard_error"] == pytest.approx(float(truth.std()) / 40**0.5, rel=0.1)
    assert (found["num_rows"], found["num_simulated"], found["num_samples"]) == (40, 20, 8)
    assert found["num_temperatures"] == 60
    assert abs(found["gap"]["value"]) < 3 * found["gap"]["standard_error"] + 0.02
    assert abs(found["change"]) < 0.2
    assert record["test"]["num_rows"] == 40  # the accounting by importance samples stands beside it
    assert f"log p = {found['log_prob']['value']:.3f}" in said
    assert "of 40 test rows (preprocessed rows): a lower bound on average" in said
    assert re.search(r"on 20 rows drawn from this model both sides meet within -?[\d.]+ ± [\d.]+ nats", said)
    assert not Path("run/annealed.jsonl").exists()
    succeeds(run("evaluate", "run", "--no-figures"))  # which leaves it where it was
    assert json.loads(Path("run/evaluation.json").read_text())["annealed"] == found


def test_the_number_of_temperatures_is_found(run: Call) -> None:
    succeeds(run("evaluate", "run", "--method", "annealed", "--rows", "20", "-K", "16"))
    found = json.loads(Path("run/evaluation.json").read_text())["annealed"]
    assert found["num_temperatures"] in (20, 40, 80, 160, 320)
    assert abs(found["change"]) < found["error_of_chains"]
    assert found["num_samples"] == 16


def test_what_was_interrupted_goes_on_to_the_same_end(run: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marginflow.distributions.annealed.rows_at_once", lambda model: 8 * 8 * 4)
    command = ("evaluate", "run", "--method", "annealed", "--rows", "24", "--temperatures", "10")
    succeeds(run(*command))
    whole = json.loads(Path("run/evaluation.json").read_text())["annealed"]
    walked: list[str] = []
    keep = runs_annealed._Journal._keep

    def interrupted(journal: runs_annealed._Journal, name: str, found: list[torch.Tensor]) -> None:
        keep(journal, name, found)
        walked.append(name)
        if len(walked) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runs_annealed._Journal, "_keep", interrupted)
        assert run(*command).exit_code == 130
    lines = Path("run/annealed.jsonl").read_text()
    assert len(lines.splitlines()) == 4
    Path("run/annealed.jsonl").write_text(lines + '{"key": "cut sho')
    again: list[str] = []
    monkeypatch.setattr(runs_annealed._Journal, "_keep", lambda j, n, f: (keep(j, n, f), again.append(n))[0])
    succeeds(run(*command))
    assert not set(again) & set(walked)
    found = json.loads(Path("run/evaluation.json").read_text())["annealed"]
    assert {**found, "seconds": 0} == {**whole, "seconds": 0}
    other = (*command, "--seed", "1")  # is another evaluation
    succeeds(run(*other))
    assert json.loads(Path("run/evaluation.json").read_text())["annealed"]["log_prob"] != whole["log_prob"]


def test_options_that_make_no_sense_are_refused(run: Call) -> None:
    fails(run("evaluate", "run", "--method", "annealing"), "--method must be one of .*did you mean annealed")
    fails(run("evaluate", "run", "--temperatures", "5"), "are of annealing: give --method annealed")
    fails(run("evaluate", "run", "--method", "annealed", "--temperatures", "1"), "must be 2 or more")
    fails(run("evaluate", "run", "--method", "annealed", "-o", "a.csv"), "leave --output out")
    fails(run("evaluate", "run", "--method", "annealed", "-K", "1"), "one chain a row cannot tell when to stop")
    fails(run("evaluate", "run", "--method", "annealed", "-K", "0"), "num_samples")
    said = succeeds(run("evaluate", "run", "--method", "annealed", "-K", "1", "--rows", "5", "--temperatures", "2"))
    assert "error from the chains not known" in said
    assert json.loads(Path("run/evaluation.json").read_text())["annealed"]["error_of_chains"] is None


def test_an_exact_density_has_nothing_to_anneal(call: Call) -> None:
    settings = [part for each in FEW for part in ("--set", each)]
    succeeds(call("train", "half_moons_planar", *settings, "--run-dir", "run"))
    said = succeeds(call("evaluate", "run", "--method", "annealed"))
    assert "is exact, and there is nothing to anneal: marginflow evaluate run tells log p" in said


@pytest.mark.slow
def test_pixels_are_annealed_with_their_dequantisation(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """log P of the grey levels, all u averaged over."""
    monkeypatch.setattr(module, "SIMULATED", 8)
    few = ("model.hidden=[8]", "model.blocks=1", "model.batch_norm=false", "train.epochs=1", "evaluate.num_samples=5")
    settings = [part for each in few for part in ("--set", each)]
    succeeds(call("train", "digits_maf", *settings, "--run-dir", "run"))
    options = ("--rows", "6", "-K", "4", "--temperatures", "100")
    said = succeeds(call("evaluate", "run", "--method", "annealed", "--dequantisation", *options))
    assert "(rows as given)" in said
    assert "draws of this model leave the grey levels" in said
    found = json.loads(Path("run/evaluation.json").read_text())["annealed"]
    opened = Run.open(Path("run"))
    rows = opened.test(6).take().x
    by_importance = log_likelihood(opened.model, rows, num_samples=4000)  # which converge for a model so smooth
    assert float(by_importance.effective_sample_size.median()) > 100
    assert found["log_prob"]["value"] == pytest.approx(float(by_importance.log_prob.mean()), abs=0.3)
    assert found["bits_per_dim"]["value"] == pytest.approx(-found["log_prob"]["value"] / 64 / math.log(2))
