"""What the command line shows of a training: a line an epoch in a log, a bar on a terminal."""

from __future__ import annotations

import io
import math
import re

import pytest
from rich.console import Console

from marginflow import models
from marginflow.base.literal import literal
from marginflow.data import DataSpec
from marginflow.training import EpochRecord, TrainConfig
from marginflow.training.progress import TrainingProgress

CONFIG = TrainConfig(epochs=3, batch_size=50)


def told(progress: TrainingProgress) -> None:
    """Three epochs of twenty steps, the second the best, the third without validation."""
    with progress:
        for epoch, validation in ((1, 64 * 3.0), (2, 64 * 2.0), (3, None)):
            for step in range(1, 21):
                progress.on_step(epoch, step, 20, 64 * 2.5)
            best = validation is not None
            progress.on_epoch(EpochRecord(epoch, 64 * 2.4, validation, best, 1.5), models.planar(2))


def shown(spec: DataSpec, *, terminal: bool) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=80, color_system=None)
    told(TrainingProgress(CONFIG, spec, console=console))
    return output.getvalue()


def test_a_log_has_one_line_an_epoch() -> None:
    lines = shown(DataSpec((64,)), terminal=False).splitlines()
    assert len(lines) == 3
    assert re.fullmatch(
        r"epoch 1/3  train 153\.6000  validation 192\.0000 nats  \(best\)  [\d,]+ rows/s  1\.5 s", lines[0]
    )
    assert re.fullmatch(r"epoch 3/3  train 153\.6000 nats  [\d,]+ rows/s  1\.5 s", lines[2])


@pytest.mark.parametrize("dequantised", [False, True])
def test_images_are_told_in_bits_per_dim(dequantised: bool) -> None:
    line = shown(DataSpec((1, 8, 8), 17, dequantised), terminal=False).splitlines()[0]
    expected = (3.0 + (math.log(17) if dequantised else 0)) / math.log(2)
    assert f"validation {expected:.4f} bits/dim" in line


def test_a_terminal_has_a_bar_with_losses_best_speed_and_time_left() -> None:
    text = shown(DataSpec((64,)), terminal=True)
    assert re.search(
        r"epoch 3/3 .*train 160\.00  val 128\.00  best 128\.00 nats (validating|[\d,]+ rows/s) +\d\d:\d\d", text
    )


def test_a_bar_knows_what_came_before_it_was_resumed() -> None:
    progress = TrainingProgress(CONFIG, DataSpec((64,)))
    progress.remember(EpochRecord(1, 2.5, 2.0, True, 1.0))
    progress.remember(EpochRecord(2, 2.5, 2.25, False, 1.0))
    assert progress.validation == "  val 2.2500  best 2.0000"


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("label", ["[bold]x", "[/x]", ":smile:", "bell\x07\x1b[31m"])
def test_a_label_is_told_as_it_stands(label: str, terminal: bool) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=120, color_system=None)
    told(TrainingProgress(CONFIG, DataSpec((64,)), label, console))
    assert f"{literal(label)}  epoch 3/3" in output.getvalue()
    assert "\x07" not in output.getvalue()
    assert "\x1b[31m" not in output.getvalue()
