"""Which back end multiplies quickest here: measured once, in a process of its own, and kept on disk."""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marginflow.nets.back_ends import BACK_ENDS, LEAST, has_onednn
from marginflow.storage.files import write_whole

QUICKER = 1.2  # times as quick as torch's own another back end must be
ROWS, SHAPES = 100, ((160, 160), (256, 256), (256, 1024), (256, 3072), (1024, 1024), (2048, 2048))
REPEATS, ROUNDS = 9, 2
EXACT = 1e-5  # the largest error of a float32 product, relative to its size; factors in bfloat16 leave 1e-3
LONGEST = 120.0  # seconds that measuring may take
FILE = "products.json"
CRASHES = signal.SIGABRT, signal.SIGSEGV, signal.SIGILL, signal.SIGFPE  # of the product itself; else it was ended
log = logging.getLogger("marginflow")


@dataclass(frozen=True)
class Choice:
    """Which products a back end other than torch's own serves.

    Attributes:
        back_end: its name, one of `BACK_ENDS`.
        forward: from how many multiplications on it gives the output of a layer, x W^T; None for never.
        input_gradient: likewise the gradient of the input, grad W.
        weight_gradient: likewise the gradient of the weight, grad^T x.
    """

    back_end: str = "torch"
    forward: int | None = None
    input_gradient: int | None = None
    weight_gradient: int | None = None

    @cached_property
    def least(self) -> int | None:
        """From how many multiplications on it serves some kind; None where torch's own products serve everything."""
        starts = (self.forward, self.input_gradient, self.weight_gradient)
        return min((start for start in starts if start is not None), default=None)


TORCH = Choice()


def on_disk(threads: int) -> Choice | None:
    """The choice for this machine, version of torch and number of threads, as far as it was measured and kept."""
    found = _kept().get(_key(threads)) if has_onednn() else None
    return None if found is None else _choice(found)


def measured(threads: int) -> Choice:
    """The choice for this machine, version of torch and number of threads; measured where it was not yet."""
    if not has_onednn():
        _say_once("products of matrices by torch alone: this build of torch has no other, or it is switched off")
        return TORCH
    with _one_at_a_time:
        if threads not in _measured:
            found = _kept().get(_key(threads))
            if found is None:
                log.warning("measuring once which product of matrices is quickest on this machine: some seconds")
                found = _tried_out(threads)
                if not found.get("by_chance"):
                    _keep(_key(threads), found)
            if found["failure"] is not None:
                log.warning("products of matrices by torch alone: oneDNN's is not used, as %s", found["failure"])
            _measured[threads] = _choice(found)
    return _measured[threads]


_one_at_a_time = threading.Lock()
_measured: dict[int, Choice] = {}  # by the number of threads


@cache
def _say_once(line: str) -> None:
    log.info(line)


def _choice(found: dict[str, Any]) -> Choice:
    return TORCH if found["failure"] is not None else Choice(**found["choice"])


def _tried_out(threads: int) -> dict[str, Any]:
    """What `trial` finds in a process of its own, so that nothing that goes wrong there can end this one."""
    if not sys.executable or getattr(sys, "frozen", False):
        return {**_failed("there is no Python to measure it with"), "by_chance": True}
    code = f"import marginflow.nets.product_choice as each; each.print_trial({threads})"
    folders = os.pathsep.join(
        each for each in sys.path if each
    )  # where this process finds modules, but for where it is
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            env={**os.environ, "PYTHONPATH": folders},
            capture_output=True, text=True, timeout=LONGEST, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            return json.loads(done.stdout)
        return {**_failed(f"it ended with {done.returncode}"), "by_chance": -done.returncode not in CRASHES}
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return {**_failed(f"it could not be measured ({type(error).__name__})"), "by_chance": True}


def _failed(why: str) -> dict[str, Any]:
    return {"failure": why, "choice": {}}


def print_trial(threads: int) -> None:
    """Try the other back end and print what was found, as JSON."""
    torch.set_num_threads(threads)
    print(json.dumps(trial("onednn")))


def trial(name: str) -> dict[str, Any]:
    """Whether a back end computes right here, and from which size on it is quicker, kind by kind."""
    error = largest_error(name)
    if not error < EXACT:
        return _failed(f"it differs from float64 by {error:.1e}")
    rounds = [{kind: [_ratio(name, kind, *shape) for shape in SHAPES] for kind in PRODUCTS} for _ in range(ROUNDS)]
    ratios = {kind: list(map(min, *(each[kind] for each in rounds))) for kind in PRODUCTS}  # quicker in every round
    return {"failure": None, "choice": {"back_end": name, **{kind: _start(each) for kind, each in ratios.items()}}}


def _start(ratios: list[float]) -> int | None:
    """The multiplications from which on a back end is always quicker."""
    start = None
    for (rows, columns), ratio in reversed(list(zip(SHAPES, ratios, strict=True))):
        if ratio < QUICKER:
            break
        start = max(ROWS * rows * columns, LEAST)
    return start


def _forward(x: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x, weight.T, torch.empty_like(grad)


def _input_gradient(x: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return grad, weight, torch.zeros_like(x)


def _weight_gradient(x: Tensor, weight: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return grad.T, x, torch.empty_like(weight)


PRODUCTS: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]] = {
    "forward": _forward,
    "input_gradient": _input_gradient,
    "weight_gradient": _weight_gradient,
}


def _operands(rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """x (N, columns), weight (rows, columns) and the gradient of the output (N, rows), slices as bands have them."""
    x, grad = torch.randn(ROWS, columns + 24)[:, :columns], torch.randn(ROWS, 2 * rows)[:, rows:]
    return x, torch.randn(rows, columns), grad


def _ratio(name: str, kind: str, rows: int, columns: int) -> float:
    """Seconds of torch's product over those of a back end's, taken in turns; the least, as other work only adds."""
    a, b, out = PRODUCTS[kind](*_operands(rows, columns))
    accumulate = kind == "input_gradient"
    times: dict[str, list[float]] = {"torch": [], name: []}
    for repeat in range(REPEATS + 2):
        for back_end, found in times.items():
            started = time.perf_counter()
            BACK_ENDS[back_end](a, b, out, accumulate=accumulate)
            if repeat > 1:
                found.append(time.perf_counter() - started)
    return min(times["torch"]) / min(times[name])


def largest_error(name: str) -> float:
    """The largest error of a back end beside float64, relative to its terms' size, over shapes, slices, strides."""
    errors = []
    for n, inside, m in ((1, 1, 1), (3, 7, 5), (17, 33, 1), (1, 64, 65), (100, 257, 129)):
        left, right = torch.randn(n, inside + 3), torch.randn(inside, m + 2)
        for a in (left[:, :inside], left[:, 2 : inside + 2], left[:, :inside].T.contiguous().T):
            for b in (right[:, :m], right[:, :m].T.contiguous().T):
                for accumulate in (False, True):
                    wide = torch.randn(n, m + 4)
                    out = wide[:, 3 : m + 3]
                    before = out.double() if accumulate else torch.zeros_like(out).double()
                    expected = a.double() @ b.double() + before
                    size = a.abs().double() @ b.abs().double() + before.abs()  # without what cancels by chance
                    BACK_ENDS[name](a, b, out, accumulate=accumulate)
                    errors.append(float((out - expected).norm() / size.norm()))
    return float(np.max(errors))  # NaN where one is


@cache
def processor() -> str:
    """The processor's name, family, model and stepping, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = dict(line.replace("\t", "").split(": ", 1) for line in lines if ": " in line)
    return " ".join(told[name] for name in ("model name", "cpu family", "model", "stepping") if name in told)


def _key(threads: int) -> str:
    return f"{processor()}, {threads} threads, torch {torch.__version__}"


def _folder() -> Path:
    """Where numba keeps the compiled loops: where it is told to, beside the code, or with the user."""
    told = os.environ.get("NUMBA_CACHE_DIR")
    beside = Path(__file__).parent / "masked" / "__pycache__"
    if told:
        return Path(told)
    if os.access(beside if beside.exists() else beside.parent, os.W_OK):
        return beside
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "marginflow"


def _kept() -> dict[str, Any]:
    """What was measured before; nothing where the file is not there, or damaged."""
    try:
        found = json.loads((_folder() / FILE).read_text())
        return {key: each for key, each in found.items() if _is_whole(each)}
    except (OSError, ValueError, AttributeError, RuntimeError):
        return {}


def _is_whole(found: Any) -> bool:
    """Whether this is what `trial` finds."""
    try:
        as_choice_of(found["choice"])
    except (KeyError, TypeError, ValueError):
        return False
    return isinstance(found.get("failure", 0), str | None)


def as_choice_of(fields: dict[str, Any]) -> Choice:
    """A choice from its fields as a file holds them; ValueError or TypeError where they are no such."""
    choice = Choice(**fields)
    starts = (choice.forward, choice.input_gradient, choice.weight_gradient)
    if choice.back_end not in list(BACK_ENDS) or not all(each is None or type(each) is int for each in starts):
        raise ValueError(f"no choice of products: {fields}")
    return choice


def _keep(key: str, found: dict[str, Any]) -> None:
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        write_whole(_folder() / FILE, json.dumps({**_kept(), key: found}, indent=2).encode())
    except (OSError, RuntimeError) as error:
        log.info("which product is quicker is measured anew in the next process: it could not be kept (%s)", error)
