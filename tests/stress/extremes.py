"""Every model at its worst: trained, evaluated, sampled; it ends in finite numbers or in an error that says why.

python -m stress.extremes [SEED], in tests/.
"""

from __future__ import annotations

import math
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from registry import SMALL_IMAGE_MODELS, small
from torch import Tensor

from marginflow import Marginalising, TrainConfig, evaluate, fit, models
from marginflow.base.distribution import Distribution
from marginflow.distributions import StandardNormal
from marginflow.evaluation.sample import sample

ROWS = 60
EXPECTED = (ValueError, FloatingPointError)

Make = Callable[..., Distribution]


def rows(features: int) -> Tensor:
    return torch.randn(ROWS, features)


def constant(x: Tensor) -> Tensor:
    return torch.full_like(x, 0.3)


def duplicated(x: Tensor) -> Tensor:
    return x[:3].repeat_interleave(ROWS // 3, 0)


# name -> features, what is done to rows, by how much the weights are multiplied before anything else
EXTREMES: dict[str, tuple[int, Callable[[Tensor], Tensor], float]] = {
    "weights times 100": (4, lambda x: x, 100.0),
    "inputs at 1e6": (4, lambda x: 1e6 * x, 1.0),
    "inputs around 1e6": (4, lambda x: 1e6 + x, 1.0),
    "constant data": (4, constant, 1.0),
    "duplicated rows": (4, duplicated, 1.0),
    "one feature": (1, lambda x: x, 1.0),
    "5,000 features": (5000, lambda x: x, 1.0),
}


def vectors(name: str, noise: int = 0) -> Make:
    def make(features: int) -> Distribution:
        flow = models.MODELS[name](features + noise, **small(name))
        return Marginalising(flow, StandardNormal(noise)) if noise else flow

    return make


def images(name: str) -> Make:
    def make(features: int) -> Distribution:
        return models.IMAGE_MODELS[name](shape_of(features), **SMALL_IMAGE_MODELS[name])

    return make


def shape_of(features: int) -> tuple[int, int, int]:
    return {1: (1, 4, 4), 4: (1, 4, 4), 5000: (5, 32, 32)}[features]


MAKES: dict[str, Make] = {
    **{name: vectors(name) for name in models.MODELS},
    **{f"{name} with noise": vectors(name, 2) for name in models.MODELS},
    "maf with batch norm": lambda features: models.maf(features, hidden=[16], blocks=2, batch_norm=True),
    **{name: images(name) for name in models.IMAGE_MODELS},
}


def outcome(make: Make, extreme: str, seed: int = 0) -> str:
    """How training, evaluating and sampling end: "finite", or the error; AssertionError for anything silent."""
    features, change, by = EXTREMES[extreme]
    torch.default_generator.manual_seed(seed)
    try:
        model = make(features)
        shape = model.event_shape
        assert shape is not None
        x = change(rows(shape.numel())).view(-1, *shape)
        config = TrainConfig(epochs=1 if features > 100 else 2, batch_size=20, lr=1e-3, seed=seed)
        if by != 1:  # as of a file from elsewhere, after its statistics were taken
            fit(model, x, config)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(by)
        else:
            for record in fit(model, x, config):
                assert math.isfinite(record.train_nll), "a loss that is no number"
                assert math.isfinite(record.validation_nll or 0), "a validation loss that is no number"
    except EXPECTED as error:
        return told(error)
    return "; ".join(dict.fromkeys([evaluated(model, x), sampled(model)]))


def told(error: Exception) -> str:
    """What an error says, if it is one that says something in a line."""
    message = str(error)
    assert len(message) > 20, f"an error that says nothing: {message!r}"
    assert "\n" not in message, f"an error of several lines: {message!r}"
    return f"{type(error).__name__}: {message}"


def evaluated(model: Distribution, x: Tensor) -> str:
    try:
        accounting = evaluate(model, x, num_samples=3)
    except EXPECTED as error:
        return told(error)
    assert math.isfinite(accounting.importance_weighted.value), "a log-likelihood that is no number"
    return "finite"


def sampled(model: Distribution) -> str:
    try:
        drawn = sample(model, 20)
    except EXPECTED as error:
        return told(error)
    assert bool(torch.isfinite(drawn.x).all()), "a sample that is no number"
    return "finite" + (f", {drawn.redrawn} drawn again, {drawn.flagged} kept" if drawn.redrawn else "")


def every() -> Iterator[tuple[str, str]]:
    for extreme in EXTREMES:
        for name in MAKES:
            yield name, extreme


def main(seed: int = 0) -> None:
    found: dict[str, Counter[str]] = {extreme: Counter() for extreme in EXTREMES}
    wrong = 0
    for name, extreme in every():
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                how = outcome(MAKES[name], extreme, seed)
            except Exception as error:  # whatever is not expected
                wrong += 1
                how = f"WRONG {type(error).__name__}: {error}"
        found[extreme]["finite" if "Error" not in how else re.findall(r"\w+Error", how)[0]] += 1
        print(f"{extreme} | {name} | {how[:230]} ({time.perf_counter() - started:.1f} s)", flush=True)
    for extreme, counts in found.items():
        print(f"{extreme}: " + ", ".join(f"{count} {how}" for how, count in counts.items()))
    if wrong:
        raise SystemExit(f"{wrong} ended otherwise")


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:]))
