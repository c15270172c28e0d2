"""Thousands of short trainings in one process, whose memory stays flat.

python -m stress.soak [TRAININGS] [SEED], in tests/.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from registry import SMALL_IMAGE_MODELS, small

from marginflow import Flow, Marginalising, TrainConfig, evaluate, fit, models, sample
from marginflow.base.distribution import Distribution
from marginflow.distributions import StandardNormal
from marginflow.transforms import Standardise

SETTLED = 0.1  # of the trainings, after which memory is measured
GROWTH = 0.02


def resident() -> int:
    """Bytes of memory that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def model_of(i: int) -> Distribution:
    """Another model each time, in turn."""
    names = [*models.MODELS, "noise", "batch norm", *models.IMAGE_MODELS]
    name = names[i % len(names)]
    if name == "noise":
        return Flow([Standardise(4)], Marginalising(models.maf(6, hidden=[16], blocks=2), StandardNormal(2)))
    if name == "batch norm":
        return models.maf(4, hidden=[16], blocks=2, batch_norm=True)
    if name in models.MODELS:
        return models.MODELS[name](4, **small(name))
    return models.IMAGE_MODELS[name]((1, 4, 4), **SMALL_IMAGE_MODELS[name])


def once(i: int, folder: Path) -> None:
    """A training into a directory, an evaluation, some samples."""
    torch.default_generator.manual_seed(i)
    model = model_of(i)
    shape = model.event_shape
    assert shape is not None
    x = torch.randn(60, *shape)
    run = folder / str(i)
    fit(model, x, TrainConfig(epochs=2, batch_size=20, lr=1e-3, ema=0.9), run)
    evaluate(model, x, num_samples=3)
    sample(model, 20)
    for path in run.iterdir():
        path.unlink()
    run.rmdir()


def main(trainings: int = 2000, seed: int = 0) -> None:
    started = time.perf_counter()
    sizes: list[int] = []
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for i in range(trainings):
            once(seed * trainings + i, Path(name))
            gc.collect()
            sizes.append(resident())
            if (i + 1) % (trainings // 10) == 0:
                print(f"{i + 1} trainings: {sizes[-1] / 2**20:.1f} MB", flush=True)
    settled = sizes[int(SETTLED * trainings) :]
    tenth = max(1, len(settled) // 10)
    first, last = (sum(part) / len(part) for part in (settled[:tenth], settled[-tenth:]))
    growth = last / first - 1
    seconds = time.perf_counter() - started
    print(f"{trainings} trainings, seed {seed}, {seconds:.0f} s: memory grew by {growth:.2%} after the first tenth")
    if growth > GROWTH:
        raise SystemExit(f"memory grew by {growth:.2%}, limit {GROWTH:.0%}")


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:]))
