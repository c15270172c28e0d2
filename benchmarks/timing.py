"""Timing: interleaved, medians."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from benchmarks.candidates import CANDIDATES, PEERS, Candidate, Marginflow
from benchmarks.limits import ProductsAlone
from benchmarks.sizes import ROWS, Size
from benchmarks.ways import AS_IT_COMES, Way, left_out, ways

LIMIT = "limit"
LONG = 60.0  # seconds above which a peer's sampling is extrapolated
TURN = 0.02  # seconds that a turn takes at least
SLOW = 5.0  # seconds above which it is measured once
Name = TypeVar("Name", str, tuple[str, str])


def interleaved(calls: Mapping[Name, Callable[[], object]], repeats: int) -> dict[Name, float]:
    """Median seconds of each call, taken in turns after one call each that does not count.

    Calls of a few milliseconds are repeated for some time in each turn, and the first does not count: a training finds
    its own weights in the cache, not those of another library.
    """
    times: dict[Name, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            times[name] += _turn(call)
    return {name: statistics.median(each) for name, each in times.items()}


def _turn(call: Callable[[], object]) -> list[float]:
    """Seconds of the calls of one turn."""
    seconds: list[float] = []
    while sum(seconds) < TURN:
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return seconds[1:] or seconds


def time_size(size: Size) -> dict[str, dict[str, Any]]:
    """Seconds of a training step, of log_prob and of sampling, and the stored parameters, of each library.

    "step" and "log_prob" are those of the library as it comes, "ways" those of every way to run it, "limits" those of
    the products alone, and of Adam in a step, "left_out" the reasons why a way was not timed.
    """
    candidates = {name: candidate(size) for name, candidate in CANDIDATES.items()}
    x = torch.randn(size.rows, size.features)
    results: dict[str, dict[str, Any]] = {
        name: {"parameters": each.num_parameters, "ways": {}, "limits": {}, "left_out": {}}
        for name, each in candidates.items()
    }
    by_library = {
        name: ways(each) if size.floors else {AS_IT_COMES: Way(each, each.log_prob)}
        for name, each in candidates.items()
    }
    for candidate in candidates.values():
        candidate.model.eval()
    _time_ways(results, by_library, x, "log_prob", Way.evaluate)
    with torch.no_grad():
        samples = _time_sampling(candidates, size, {name: each["log_prob"] for name, each in results.items()})
    for candidate in candidates.values():
        candidate.model.train()
    _time_ways(results, by_library, x, "step", Way.step)
    for name, result in results.items():
        result.update(samples[name])
    candidates.clear()
    by_library.clear()
    torch.compiler.reset()
    gc.collect()
    return results


def _time_ways(
    results: dict[str, dict[str, Any]],
    by_library: dict[str, dict[str, Way]],
    x: Tensor,
    key: str,
    call: Callable[[Way, Tensor], Tensor | None],
) -> None:
    """Time a call of every library in every way, all in turns, and enter the medians; ways that fail are taken out."""
    calls: dict[tuple[str, str], Callable[[], object]] = {}
    for library, found in by_library.items():
        for name, reason in left_out(found, x, call).items():
            results[library]["left_out"][f"{key}, {name}"] = reason
            del found[name]
        calls |= {(library, name): lambda way=way: call(way, x) for name, way in found.items()}
    ours = by_library["marginflow"][AS_IT_COMES]
    calls["marginflow", LIMIT] = _limit(ours, x, key, call)
    for (library, name), seconds in interleaved(calls, ours.candidate.size.repeats).items():
        found = results[library]["limits"] if name == LIMIT else results[library]["ways"].setdefault(key, {})
        found[key if name == LIMIT else name] = seconds
    for each in results.values():
        each[key] = each["ways"][key][AS_IT_COMES]


def _limit(ours: Way, x: Tensor, key: str, call: Callable[[Way, Tensor], Tensor | None]) -> Callable[[], None]:
    """What a call of ours cannot do without."""
    products = ProductsAlone(lambda: call(ours, x))

    def limit() -> None:
        products()
        if key == "step":
            ours.candidate.optimiser.step()

    return limit


def _time_sampling(
    candidates: Mapping[str, Candidate], size: Size, log_probs: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Seconds of as many samples as a batch has rows; more than a minute of a peer is extrapolated."""
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
            candidate.sample(size.rows)
            results[name] = {"sample": time.perf_counter() - started, "measured_once": True}
        else:
            short[name] = lambda c=candidate: c.sample(size.rows)
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
