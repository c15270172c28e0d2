"""The demo, shortened: the numbers, the figures, and that it is the repository's experiments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from marginflow import models
from marginflow.cli import run_demo as demo
from marginflow.distributions import Marginalising, StandardNormal
from marginflow.evaluation.layer_outputs import to_latent
from marginflow.runs.read_toml import read

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def test_it_runs_the_repositorys_experiments() -> None:
    assert demo.experiment(0) == read(EXPERIMENTS / "half_moons_planar.toml")
    assert demo.experiment(demo.NUM_NOISE) == read(EXPERIMENTS / "half_moons_planar_marginal.toml")


@pytest.mark.slow
@pytest.mark.usefixtures("single")
def test_a_short_demo_writes_what_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "NUM_IMPORTANCE_SAMPLES", 20)
    results = demo.run_demo(tmp_path / "demo", epochs=1)
    output = capsys.readouterr().out
    for name in ("figure1.png", "figure2.png", "half_moons.png"):
        assert name in output
        with Image.open(tmp_path / "demo" / name) as image:
            assert image.size[0] > 500
    record = json.loads((tmp_path / "demo" / "half_moons.json").read_text())
    for label, result in results.items():
        assert record[label]["test"]["bound"]["value"] == result.bound.value
        assert result.importance_weighted.value > 0.287
    assert "entropy of the data" in output
    demo.run_demo(tmp_path / "demo", epochs=1)  # again over its own output


def test_points_pushed_through_are_the_flows_own() -> None:
    x = torch.randn(10, 2)
    plain = models.planar(2)
    torch.testing.assert_close(to_latent(plain, x), plain.transform(x)[0].detach())
    flow = models.planar(4)
    z = to_latent(Marginalising(flow, StandardNormal(2)), x)
    joint, _ = flow.transform.inverse(z)
    torch.testing.assert_close(joint[:, :2], x)
