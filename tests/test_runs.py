"""Run directories: made whole, loaded safely, never replaced by accident."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from marginflow import config, load, runs
from marginflow.checkpoint import save_weights
from marginflow.data import DataSpec
from marginflow.flow import Flow

TABLE = {"data": {"name": "half_moons"}, "model": {"name": "planar"}, "noise": {"features": 1}}
SPEC = DataSpec((2,))


def made(tmp_path: Path) -> tuple[Path, Flow]:
    run_dir = tmp_path / "run"
    experiment = config.parse(TABLE, "test")
    runs.create(run_dir, experiment, SPEC)
    torch.manual_seed(9)
    model = config.build(experiment, SPEC)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    save_weights(model.state_dict(), run_dir)
    return run_dir, model


def test_a_model_comes_back_from_its_run(tmp_path: Path) -> None:
    run_dir, model = made(tmp_path)
    loaded = load(run_dir)
    assert not loaded.training
    x = torch.randn(5, 2)
    torch.manual_seed(0)
    expected = model.log_prob(x)
    torch.manual_seed(0)
    assert torch.equal(loaded.log_prob(x), expected)


def test_what_exists_is_not_replaced_unless_asked_and_only_runs_are(tmp_path: Path) -> None:
    run_dir, _ = made(tmp_path)
    experiment = config.parse(TABLE, "test")
    with pytest.raises(FileExistsError, match="exists: give another --run-dir, or --overwrite"):
        runs.create(run_dir, experiment, SPEC)
    runs.create(run_dir, experiment, SPEC, overwrite=True)
    assert not (run_dir / "model.safetensors").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="not a run, and is left alone"):
        runs.create(mine, experiment, SPEC, overwrite=True)
    assert (mine / "thesis.tex").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    runs.create(tmp_path / "empty", experiment, SPEC)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is a file"):
        runs.create(tmp_path / "file", experiment, SPEC, overwrite=True)


def test_what_is_not_a_run_or_not_yet_trained_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is not a run directory: it has no config\.toml"):
        load(tmp_path)
    run_dir, _ = made(tmp_path)
    (run_dir / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="no checkpoint yet"):
        load(run_dir)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\xff" * 8])
def test_damaged_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    run_dir, _ = made(tmp_path)
    (run_dir / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(run_dir)


def test_truncated_weights_and_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    run_dir, model = made(tmp_path)
    path = run_dir / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(run_dir)
    state = model.state_dict()
    state.popitem()
    save_weights(state, run_dir)
    with pytest.raises(ValueError, match="Missing key"):
        load(run_dir)


@pytest.mark.parametrize("manifest", ["", "{}", "[]", '{"data": 3}', '{"data": {"event_shape": 2}}'])
def test_a_damaged_manifest_is_refused(tmp_path: Path, manifest: str) -> None:
    run_dir, _ = made(tmp_path)
    (run_dir / "manifest.json").write_text(manifest)
    with pytest.raises(ValueError, match="is damaged"):
        load(run_dir)


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    run_dir, _ = made(tmp_path)
    manifest = json.loads((run_dir / "manifest.json").read_text())
    (run_dir / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(ValueError, match="run format 99; this version reads 1"):
        load(run_dir)
