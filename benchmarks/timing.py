"""Timing: interleaved, medians, the machine's own rate beside them."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks.candidates import CANDIDATES, PEERS, ROWS, Candidate, Marginflow, Size

LONG = 60.0  # seconds above which a peer's sampling is extrapolated
SLOW = 5.0  # seconds above which it is measured once


def interleaved(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each call, taken in turns after one call each that does not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(each) for name, each in times.items()}


def matrix_rate(repeats: int = 30) -> float:
    """Operations a second of the product (100, 3072) x (3072, 3072), bias included."""
    x, weight, bias = torch.randn(ROWS, 3072), torch.randn(3072, 3072), torch.randn(3072)
    seconds = interleaved({"product": lambda: torch.nn.functional.linear(x, weight, bias)}, repeats)["product"]
    return 2 * ROWS * 3072 * 3072 / seconds


def time_size(size: Size) -> dict[str, dict[str, Any]]:
    """Seconds of a training step, of log_prob and of 100 samples, and the stored parameters, of each library."""
    candidates = {name: candidate(size) for name, candidate in CANDIDATES.items()}
    x = torch.randn(ROWS, size.features)
    results: dict[str, dict[str, Any]] = {
        name: {"parameters": each.num_parameters} for name, each in candidates.items()
    }
    steps = interleaved({name: (lambda c=c: c.step(x)) for name, c in candidates.items()}, size.repeats)
    with torch.no_grad():
        for candidate in candidates.values():
            candidate.model.eval()
        log_probs = interleaved({name: (lambda c=c: c.log_prob(x)) for name, c in candidates.items()}, size.repeats)
        samples = _time_sampling(candidates, size, log_probs)
    for name, result in results.items():
        result.update(step=steps[name], log_prob=log_probs[name], **samples[name])
    candidates.clear()
    gc.collect()
    return results


def _time_sampling(
    candidates: Mapping[str, Candidate], size: Size, log_probs: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Seconds of 100 samples; a peer that would need more than a minute is extrapolated from a few passes."""
    results: dict[str, dict[str, Any]] = {}
    short = {}
    for name, candidate in candidates.items():
        expected = size.features * log_probs[name] if name in PEERS else 0.0  # a pass costs what log_prob costs
        if expected > LONG:
            passes = max(2, round(SLOW / log_probs[name]))
            candidate.seconds_by_passes(1)
            results[name] = {"sample": candidate.seconds_by_passes(passes), "extrapolated_from_passes": passes}
        elif expected > SLOW:
            started = time.perf_counter()
            candidate.sample(ROWS)
            results[name] = {"sample": time.perf_counter() - started, "measured_once": True}
        else:
            short[name] = lambda c=candidate: c.sample(ROWS)
    slowest = max((size.features * log_probs[name] for name in short if name in PEERS), default=0.0)
    repeats = size.repeats if slowest < 0.1 else 5
    results |= {name: {"sample": seconds} for name, seconds in interleaved(short, repeats).items()}
    return results


def sweep(dimensions: list[int]) -> dict[str, Any]:
    """Seconds of 100 samples of one block of width D over D, and the exponent of a fit through them."""
    seconds: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for features in dimensions:
        size = Size("sweep", features, (features,), 5, blocks=1)
        ours = Marginflow(size)
        with torch.no_grad():
            seconds["marginflow"].append(interleaved({"sample": lambda m=ours: m.sample(ROWS)}, 7)["sample"])
            for name in PEERS:
                peer = CANDIDATES[name](size)
                peer.seconds_by_passes(2)  # does not count
                seconds[name].append(peer.seconds_by_passes(min(features, 20)))
        gc.collect()
    return {
        "dimensions": dimensions,
        "seconds": seconds,
        "exponent": {name: slope(dimensions, each) for name, each in seconds.items()},
        "exponent_from_512": {name: slope(dimensions[3:], each[3:]) for name, each in seconds.items()},
    }


def slope(x: list[int], y: list[float]) -> float:
    """The exponent of y ~ x^exponent by least squares in logarithms."""
    return statistics.linear_regression([math.log(each) for each in x], [math.log(each) for each in y]).slope
