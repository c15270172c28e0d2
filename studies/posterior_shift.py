"""How far p(eps | x) lies off N(0, I), and whether x tells where: `python -m studies.posterior_shift RUN`.

To first order the mean of p(eps | x) is m(x) = E grad log p(x, eps) + eps over eps ~ N(0, I), which costs the bound
|m|^2 / 2 nats. A learned q(eps | x) can make up as much of it as m(x) can be told from x: here by ridge regression from
training rows, whose penalty the first half of the test rows choose, on the second half.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marginflow.base.devices import evaluation_mode
from marginflow.base.distribution import Distribution
from marginflow.base.seeds import seeded
from marginflow.data import Split
from marginflow.data.require import fitting
from marginflow.distributions.hamiltonian import NoiseSpace, frozen, position_at
from marginflow.evaluation.evaluate import preprocessed
from marginflow.runs.run import Run
from studies import RESULTS

OUTPUT = RESULTS / "posterior_shift.json"
TRAINED, TESTED, DRAWS, AT_ONCE = 8000, 2000, 12, 250
PENALTIES = (1e2, 1e3, 1e4, 1e5, 1e6)


def shifts(model: Distribution, x: Tensor) -> tuple[Tensor, Tensor]:
    """m of rows by two halves of the draws, (N, M) each, whose errors are independent."""
    found: list[list[Tensor]] = [[], []]
    density = model.density
    with evaluation_mode(density), frozen(density), seeded(1):
        for rows in x.split(AT_ONCE):
            space = NoiseSpace(density, rows, None)
            for half in found:
                places = [position_at(space, space.draw()) for _ in range(DRAWS // 2)]
                half.append(torch.stack([each.slope_p - each.slope_q for each in places]).mean(0))
    first, second = (torch.cat(half) for half in found)
    return first, second


def rows_of(run: Run, split: Split) -> Tensor:
    """Preprocessed rows."""
    with seeded(0):
        return preprocessed(run.model, fitting(run.model, split).take())[0]


def of_run(path: Path) -> dict[str, Any]:
    """What noise costs the bound on training and test rows, and what is left of it where x tells m."""
    started, run = time.perf_counter(), Run.open(path)
    train = rows_of(run, Split(*run.data.train.take(slice(TRAINED))))
    test = rows_of(run, run.test(TESTED))
    (a, b), (c, d) = shifts(run.model, train), shifts(run.model, test)
    mean, deviation = train.mean(0), train.std(0).clamp_min(0.5)
    inputs, held_out = ((x - mean) / deviation for x in (train, test))
    target = (a + b) / 2
    left: dict[float, Tensor] = {}
    for penalty in PENALTIES:
        square = inputs.T @ inputs + penalty * torch.eye(inputs.shape[1])
        weights = torch.linalg.solve(square, inputs.T @ (target - target.mean(0)))
        predicted = held_out @ weights + target.mean(0)
        left[penalty] = ((c - predicted) * (d - predicted)).sum(1) / 2  # errors are independent: no bias
    half = TESTED // 2
    best = min(left, key=lambda penalty: float(left[penalty][:half].median()))
    before, after = (c * d).sum(1)[half:] / 2, left[best][half:]
    return {
        "run": run.path.name, "rows": [TRAINED, TESTED], "draws": DRAWS, "penalty": best,
        "nats_train_median": float((a * b).sum(1).median() / 2), "nats_test_median": float(before.median()),
        "nats_test_left_median": float(after.median()), "device": "cpu", "seconds": time.perf_counter() - started,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m studies.posterior_shift", description="Where p(eps | x) lies.")
    parser.add_argument("run", type=Path)
    found = of_run(parser.parse_args().run)
    OUTPUT.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
