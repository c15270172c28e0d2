"""Where a training step of ours goes: `python -m benchmarks.profile [OUTPUT.json]`.

A step is what `fit` does: take a batch, loss, gradients, clip, Adam. Its seconds are the median without the profiler.
The shares are seconds of torch's profiler by the kind of operation, its own time without that of what it calls, less
what the profiler adds to each; views and allocations count as dispatch, and so does what the operations leave of the
step. Page faults happen inside operations, where memory is written first, so they stand beside the shares and not among
them.
"""

from __future__ import annotations

import json
import mmap
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.candidates import Marginflow
from benchmarks.limits import Product, wrapped
from benchmarks.sizes import SIZES, Size
from marginflow.nets.product_choice import measured

OUTPUT = Path("benchmarks/results/profile.json")
BATCHES = 40  # of the data set
CLASSES = ("products", "elementwise", "optimiser", "Python and dispatch", "loader")
LOADER, OPTIMISER, PRODUCT = "benchmark: loader", "benchmark: optimiser", "benchmark: product"
MULTIPLY = ("mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "_linear_pointwise", "einsum", "mv", "addmv", "dot")
# that compute nothing
NO_WORK = {
    "alias", "as_strided", "chunk", "contiguous", "detach", "empty", "empty_like", "empty_strided", "expand",
    "expand_as", "item", "_local_scalar_dense", "narrow", "new_empty", "numpy_T", "permute", "_reshape_alias",
    "reshape", "resolve_conj", "resolve_neg", "result_type", "select", "slice", "split", "split_with_sizes", "squeeze",
    "t", "to", "transpose", "unbind", "unflatten", "_unsafe_view", "unsqueeze", "view", "view_as",
}  # fmt: skip
# spans of the profiler and of autograd, whose own time is Python's or the dispatcher's
SPANS = ("autograd::", "Optimizer.", "ProfilerStep", "torch/", "Torch-Compiled", "## ", "[")


@dataclass(frozen=True)
class Timed:
    """An operation as the profiler saw it: its name, its own seconds, and the spans that it was called from."""

    name: str
    seconds: float
    inside: tuple[str, ...] = ()


def kind(operation: Timed) -> str:
    """The class of an operation.

    >>> kind(Timed("aten::addmm", 1.0)), kind(Timed("aten::exp", 1.0)), kind(Timed("_PassBackward", 1.0))
    ('products', 'elementwise', 'Python and dispatch')
    """
    inside = (operation.name, *operation.inside)
    if LOADER in inside:
        return "loader"
    if OPTIMISER in inside:
        return "optimiser"
    if PRODUCT in inside:
        return "products"
    library, _, name = operation.name.rpartition("::")
    if not library or operation.name.startswith(SPANS):
        return "Python and dispatch"
    if name.removesuffix("_") in MULTIPLY or library in ("mkldnn", "onednn"):
        return "products"
    return "Python and dispatch" if name in NO_WORK else "elementwise"


def shares(operations: list[Timed], step: float, profiled: float) -> dict[str, float]:
    """Each class's share of steps of so many seconds; they add up to 1, Python and dispatch being the rest.

    profiled: seconds of these steps under the profiler, which adds the difference, as much to each operation.
    Where the operations still take longer than the steps, none is left for the rest, and all are scaled.
    """
    found: dict[str, float] = dict.fromkeys(CLASSES, 0.0)
    added = max(profiled - step, 0.0) / max(len(operations), 1)
    for operation in operations:
        found[kind(operation)] += operation.seconds - added
    found = {name: max(seconds, 0.0) for name, seconds in found.items()}
    found["Python and dispatch"] = 0.0
    whole = max(step, sum(found.values()))
    found["Python and dispatch"] = whole - sum(found.values())
    return {name: seconds / whole for name, seconds in found.items()}


class Step:
    """A training step of a model of ours, with what `fit` does around it."""

    def __init__(self, size: Size) -> None:
        from marginflow.base.devices import fabric_on
        from marginflow.data import Split
        from marginflow.data.loader import Loader
        from marginflow.training import TrainConfig
        from marginflow.training.objective import Objective
        from marginflow.training.optimiser import adam

        config = TrainConfig(batch_size=size.rows, device="cpu", lr=1e-5)
        self.config, self.fabric = config, fabric_on("cpu", "32-true")
        torch.manual_seed(0)
        self.loader = Loader(Split(torch.randn(BATCHES * size.rows, size.features)), size.rows, seed=0)
        self.model: Any = Marginflow(size).model
        self.objective, self.optimiser = self.fabric.setup(Objective(self.model).train(), adam(self.model, config))
        self.parameters = list(self.model.parameters())
        self.batches, self.epoch = iter(()), 0

    def __call__(self) -> None:
        from marginflow.data.require import bring_to
        from marginflow.training.optimiser import clip

        with record_function(LOADER):
            batch = next(self.batches, None)
            if batch is None:
                self.epoch += 1
                self.batches = self.loader.epoch(self.epoch)
                batch = next(self.batches)
            batch = bring_to(self.model, cast("Any", batch))
        loss = -self.objective(batch.x, batch.context).mean()
        loss.item()
        self.fabric.backward(loss)
        with record_function(OPTIMISER):
            clip(self.fabric, self.objective, self.optimiser, self.parameters, None, self.config.clip_norm)
            self.optimiser.step()
            self.optimiser.zero_grad()


def spanned(product: Product) -> Product:
    """A product as a span of its own, whatever library multiplies."""

    def call(*given: Any, **named: Any) -> Any:
        with record_function(PRODUCT):
            return product(*given, **named)

    return call


def seen(step: Callable[[], None], repeats: int) -> tuple[list[Timed], float]:
    """All operations of some steps, and the seconds that a step took meanwhile."""
    with wrapped(spanned), profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
        started = time.perf_counter()
        for _ in range(repeats):
            step()
        seconds = (time.perf_counter() - started) / repeats
    return [_timed(event) for event in profiler.events() or ()], seconds


def _timed(event: Any) -> Timed:
    inside, parent = [], event.cpu_parent
    while parent is not None:
        inside.append(parent.name)
        parent = parent.cpu_parent
    return Timed(event.name, event.self_cpu_time_total * 1e-6, tuple(inside))


def faults() -> int:
    """Page faults of this process so far that needed no disk."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def seconds_a_fault(megabytes: int = 256) -> float:
    """What a page fault costs here: of writing to memory for the first time over writing to it again."""
    with mmap.mmap(-1, megabytes << 20) as memory:
        pages = torch.frombuffer(memory, dtype=torch.uint8)
        before, started = faults(), time.perf_counter()
        pages.fill_(1)
        first, count = time.perf_counter() - started, faults() - before
        started = time.perf_counter()
        pages.fill_(2)
        again = time.perf_counter() - started
        del pages
    return max(first - again, 0.0) / max(count, 1)


def measure(size: Size, repeats: int, a_fault: float) -> dict[str, Any]:
    """Seconds of a step, the shares in it, and its page faults."""
    step = Step(size)
    for _ in range(3):
        step()
    seconds, before = [], faults()
    for _ in range(repeats):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    count, median = (faults() - before) / repeats, statistics.median(seconds)
    profiled = max(2, repeats // 3)
    operations, under_profiler = seen(step, profiled)
    return {
        "step": median,
        "shares": shares(operations, median * profiled, under_profiler * profiled),
        "step_under_profiler": under_profiler,
        "faults": count,
        "seconds_of_faults": count * a_fault,
    }


def row(name: str, found: Mapping[str, Any]) -> str:
    """A row of the table."""
    cells = " | ".join(f"{found['shares'][each]:.0%}" for each in CLASSES)
    part = found["seconds_of_faults"] / found["step"]
    return f"| {name} | {found['step'] * 1e3:.3g} ms | {cells} | {found['faults']:.0f}, about {part:.0%} |"


def main(output: Path, sizes: list[Size]) -> None:
    """All sizes; print the table, write the JSON."""
    measured(torch.get_num_threads())  # as a training does before it starts
    a_fault = seconds_a_fault()
    record: dict[str, Any] = {
        "threads": torch.get_num_threads(), "torch": torch.__version__, "seconds_a_fault": a_fault, "models": {},
    }  # fmt: skip
    print(f"| model | step | {' | '.join(CLASSES)} | of which page faults |")
    print(f"|---|---:|{'---:|' * len(CLASSES)}---:|")
    for size in sizes:
        found = record["models"][size.name] = measure(size, size.repeats, a_fault)
        print(row(size.name, found), flush=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    timed = [replace(size, repeats=max(size.repeats, 15)) for size in SIZES if size.floors]
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT, timed)
