"""Run directories: made whole, loaded safely, never replaced by accident."""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Call, succeeds

from marginflow import TrainConfig, fit, load
from marginflow.data import DataSpec
from marginflow.distributions import Flow
from marginflow.models import maf
from marginflow.nets.masked.linear import MaskedLinear
from marginflow.runs.build import build, load_data
from marginflow.runs.directory import created, require_same_settings, resumed
from marginflow.runs.evaluate import evaluate
from marginflow.runs.read_toml import parse
from marginflow.runs.run import Run
from marginflow.runs.schema import Evaluate
from marginflow.training.checkpoint import save_weights

TABLE = {"data": {"name": "half_moons"}, "model": {"name": "planar"}, "noise": {"features": 1}}
SPEC = DataSpec((2,))


def made(tmp_path: Path, **tables: object) -> tuple[Path, Flow]:
    run_dir = tmp_path / "run"
    experiment = parse({**TABLE, **tables}, "test")
    torch.default_generator.manual_seed(9)
    model = build(experiment, SPEC)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".weights." not in name:  # which keep their zeros
                parameter.normal_()
    with created(run_dir, experiment, SPEC):
        save_weights(model.state_dict(), run_dir)
    return run_dir, model


def test_a_model_comes_back_from_its_run(tmp_path: Path) -> None:
    run_dir, model = made(tmp_path)
    loaded = load(run_dir)
    assert not loaded.training
    x = torch.randn(5, 2)
    torch.default_generator.manual_seed(0)
    expected = model.log_prob(x)
    torch.default_generator.manual_seed(0)
    assert torch.equal(loaded.log_prob(x), expected)


def train_in(run_dir: Path, *, overwrite: bool = False, checkpoint: bytes | None = b"weights") -> None:
    """Stands for a training, which leaves a checkpoint or fails before it has one."""
    with created(run_dir, parse(TABLE, "test"), SPEC, overwrite=overwrite):
        if checkpoint is None:
            raise FloatingPointError("diverged")
        (run_dir / "model.safetensors").write_bytes(checkpoint)


def test_what_exists_is_not_replaced_unless_asked_and_only_runs_are(tmp_path: Path) -> None:
    run_dir, _ = made(tmp_path)
    with pytest.raises(FileExistsError, match="exists: give another --run-dir, or --overwrite"):
        train_in(run_dir)
    train_in(run_dir, overwrite=True)
    assert (run_dir / "model.safetensors").read_bytes() == b"weights"
    (tmp_path / "empty").mkdir()
    train_in(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is a file"):
        train_in(tmp_path / "file", overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "empty", "file"}


def test_the_working_directory_can_hold_a_run_but_not_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FloatingPointError):
        train_in(Path("."), checkpoint=None)
    assert not list(tmp_path.iterdir())
    train_in(Path("."))
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.toml", "manifest.json", "model.safetensors", "checksums.json",
    }  # fmt: skip
    with pytest.raises(FileExistsError, match="holds the working directory"):
        train_in(Path("."), overwrite=True)


@pytest.mark.parametrize("name", ["thesis.tex", "manifest.json"])
def test_a_directory_that_is_not_a_run_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"name": "a web app"}')
    with pytest.raises(FileExistsError, match="not a run, and is left alone"):
        train_in(tmp_path, overwrite=True)
    assert (tmp_path / name).read_text() == '{"name": "a web app"}'


def test_a_training_that_fails_before_a_checkpoint_leaves_what_was_there(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError):
        train_in(tmp_path / "new", checkpoint=None)
    assert not list(tmp_path.iterdir())
    train_in(tmp_path / "run")
    with pytest.raises(FloatingPointError):
        train_in(tmp_path / "run", overwrite=True, checkpoint=None)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == b"weights"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_in_float64_comes_back_in_float64(tmp_path: Path) -> None:
    experiment = parse({**TABLE, "train": {"precision": "64-true", "epochs": 1}}, "test")
    torch.set_default_dtype(torch.float32)
    model, rows = build(experiment, SPEC), load_data(experiment)
    with created(tmp_path / "run", experiment, SPEC):
        fit(model, rows, experiment.train, tmp_path / "run")
    loaded = load(tmp_path / "run")
    assert all(parameter.dtype == torch.float64 for parameter in loaded.parameters())
    x = rows.test.x.double()
    torch.default_generator.manual_seed(0)
    expected = model.log_prob(x)
    torch.default_generator.manual_seed(0)
    assert torch.equal(loaded.log_prob(x), expected)


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
    (run_dir / "checksums.json").unlink()
    (run_dir / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(run_dir)


def test_truncated_weights_and_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    run_dir, model = made(tmp_path)
    (run_dir / "checksums.json").unlink()
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
    (run_dir / "checksums.json").unlink()
    (run_dir / "manifest.json").write_text(manifest)
    with pytest.raises(ValueError, match="is damaged"):
        load(run_dir)


def test_a_run_of_format_1_is_read(tmp_path: Path) -> None:
    """Its masked layers are kept in bands."""
    run_dir, model = made(tmp_path, model={"name": "maf", "hidden": [16]}, noise={"features": 0})
    x = torch.randn(20, 2)
    expected = load(run_dir).log_prob(x)
    masked = [f"{name}.weight" for name, each in model.named_modules() if isinstance(each, MaskedLinear)]
    assert masked
    rest = {name: each for name, each in model.state_dict().items() if name not in masked}
    bands = {name: each.detach() for name, each in model.named_parameters() if ".weights." in name}
    save_weights({**rest, **bands}, run_dir)
    manifest = json.loads((run_dir / "manifest.json").read_text())
    (run_dir / "manifest.json").write_text(json.dumps({**manifest, "format": 1}))
    (run_dir / "checksums.json").unlink()
    torch.testing.assert_close(load(run_dir).log_prob(x), expected, rtol=0, atol=0)


def test_a_newer_format_is_named(tmp_path: Path) -> None:
    run_dir, _ = made(tmp_path)
    (run_dir / "checksums.json").unlink()
    manifest = json.loads((run_dir / "manifest.json").read_text())
    (run_dir / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(ValueError, match="format 99; this version reads 1 and 2: update marginflow"):
        load(run_dir)


@pytest.mark.parametrize("name", ["config.toml", "manifest.json", "model.safetensors"])
def test_a_file_that_has_changed_by_a_bit_is_noticed(tmp_path: Path, name: str) -> None:
    run_dir, _ = made(tmp_path)
    content = bytearray((run_dir / name).read_bytes())
    content[-2] ^= 1
    (run_dir / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is not what was written there, by its SHA-256"):
        load(run_dir)
    (run_dir / "checksums.json").write_text("{")
    with pytest.raises(ValueError, match=r"checksums.json is damaged: restore it, or delete it"):
        load(run_dir)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_what_cannot_be_written_leaves_what_was_there_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    run_dir, model = made(tmp_path)
    before = {path.name: path.read_bytes() for path in run_dir.iterdir()}

    def full(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"(model.safetensors|checksums.json) could not be written .*: what was there"):
        save_weights(model.state_dict(), run_dir)
    assert {path.name: path.read_bytes() for path in run_dir.iterdir()} == before


def test_a_directory_that_vanishes_is_named_and_the_model_keeps_what_it_learnt(tmp_path: Path) -> None:
    run_dir, model = tmp_path / "run", maf(2, hidden=[8], blocks=1)
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}

    class Gone:
        def on_step(self, *_: object) -> None:
            pass

        def on_epoch(self, *_: object) -> None:
            shutil.rmtree(run_dir)

    with pytest.raises(FileNotFoundError, match=f"could not be written: the directory {run_dir} does not exist"):
        fit(model, torch.randn(100, 2), TrainConfig(epochs=3, batch_size=50), run_dir, observers=[Gone()])
    assert not run_dir.exists()
    assert not model.training
    assert not any(torch.equal(tensor, before[name]) for name, tensor in model.named_parameters())


@pytest.mark.parametrize(
    "left", [[".lock"], [".config.toml.marginflow.part"], ["config.toml"], ["manifest.json", ".lock"]]
)
def test_what_a_kill_leaves_before_the_first_checkpoint_is_started_anew(tmp_path: Path, left: list[str]) -> None:
    experiment = parse(TABLE, "test")
    for name in left:
        (tmp_path / name).write_text("cut sho")
    with resumed(tmp_path, experiment, SPEC):
        save_weights(build(experiment, SPEC).state_dict(), tmp_path)
    load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "thesis.tex").write_text("mine")  # what is not a run's is never removed
    with resumed(tmp_path, experiment, SPEC):
        save_weights(build(experiment, SPEC).state_dict(), tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize(
    ("changed", "may"), [("epochs", True), ("compile", True), ("device", True), ("batch_size", False), ("ema", False)]
)
def test_what_may_change_when_a_training_is_resumed(changed: str, may: bool, tmp_path: Path) -> None:
    """How long, where and by what; not what it comes to."""
    before, now = (parse(TABLE, "test") for _ in range(2))
    other = {"epochs": 77, "compile": True, "device": "cuda", "batch_size": 3, "ema": 0.123}[changed]
    now = now.model_copy(update={"train": now.train.model_copy(update={changed: other})})
    if may:
        require_same_settings(before, now, tmp_path)
    else:
        with pytest.raises(
            ValueError, match=f"was started with train.{changed} = .* it cannot be resumed with {other}"
        ):
            require_same_settings(before, now, tmp_path)


def test_the_range_of_samples_does_not_depend_on_how_many_rows_are_evaluated(tmp_path: Path) -> None:
    run_dir, _ = made(tmp_path)
    few, many = (evaluate(Run.open(run_dir), Evaluate(rows=rows, num_samples=1)).samples for rows in (2, 2000))
    assert few == many
    assert few is not None
    assert few.saturated > 0


@pytest.mark.usefixtures("single")
def test_a_run_is_read_once_however_much_is_asked_of_it(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """One evaluate, figures included, parses its table once, builds its model once and hashes each file once."""
    np.save("rows.npy", np.random.default_rng(0).standard_normal((300, 2)).astype(np.float32))
    options = ["--set", "train.epochs=1", "--set", "model.hidden=[8]", "--set", "noise.features=1"]
    succeeds(call("train", "rows.npy", *options))
    counted: Counter[str] = Counter()

    def count(module: str, name: str, what: Callable[..., str]) -> None:
        original = getattr(importlib.import_module(module), name)

        def counting(*given: Any, **named: Any) -> Any:
            counted[what(*given)] += 1
            return original(*given, **named)

        monkeypatch.setattr(importlib.import_module(module), name, counting)

    count("marginflow.storage.files", "sha256_of", lambda path: path.name)
    meta = torch.device("meta")  # where it is counted, without memory
    count("marginflow.runs.run", "build", lambda *_: "counted" if torch.get_default_device() == meta else "built")
    count("marginflow.data.tables.table", "read", lambda *_: "parsed")
    succeeds(call("evaluate", "runs/rows", "-K", 2))
    assert counted.pop("counted") == 1
    assert counted == dict.fromkeys(["built", "parsed", "config.toml", "manifest.json", "model.safetensors"], 1)
