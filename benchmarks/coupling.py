"""Coupling flows beside nflows' of the same size: `python -m benchmarks.coupling [OUTPUT.json]`."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.sizes import ROWS
from benchmarks.timing import interleaved

OUTPUT = Path("benchmarks/results/coupling.json")
BINS, BOUND = 8, 5.0


@dataclass(frozen=True)
class Size:
    """`blocks` couplings over `features`, each with a network of these hidden widths."""

    features: int
    hidden: tuple[int, ...]
    scalar: Literal["affine", "spline"]
    repeats: int
    blocks: int = 5

    @property
    def name(self) -> str:
        return f"{self.scalar}, D = {self.features}, {self.blocks} x ({len(self.hidden)} x {self.hidden[0]})"


SIZES = [
    Size(2, (64, 64), "affine", 200),
    Size(43, (512, 512), "affine", 60),
    Size(784, (1024, 1024), "affine", 15),
    Size(2, (64, 64), "spline", 100),
    Size(43, (256, 256), "spline", 40),
    Size(784, (256, 256), "spline", 10),
]


def ours(size: Size) -> nn.Module:
    from marginflow import models

    if size.scalar == "affine":
        return models.realnvp(size.features, hidden=size.hidden, blocks=size.blocks)
    return models.nsf(
        size.features, structure="coupling", bins=BINS, bound=BOUND, hidden=size.hidden, blocks=size.blocks
    )


def theirs(size: Size) -> nn.Module:
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.nn.nets import MLP
    from nflows.transforms import (
        AffineCouplingTransform,
        CompositeTransform,
        PiecewiseRationalQuadraticCouplingTransform,
    )

    def network(inputs: int, outputs: int) -> nn.Module:
        return _WithoutContext(MLP([inputs], [outputs], list(size.hidden), nn.functional.relu))

    layers = []
    for block in range(size.blocks):
        mask = [float(i % 2 != block % 2) for i in range(size.features)]  # there 1 marks what is transformed
        if size.scalar == "affine":
            layers.append(AffineCouplingTransform(mask, network))
        else:
            layers.append(
                PiecewiseRationalQuadraticCouplingTransform(
                    mask, network, num_bins=BINS, tails="linear", tail_bound=BOUND
                )
            )
    return Flow(CompositeTransform(layers), StandardNormal([size.features]))


class _WithoutContext(nn.Module):
    """nflows calls its networks with a context, which its MLP does not take."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.network(x)


def measure(size: Size) -> dict[str, Any]:
    """Medians of seconds, taken in turns, of a training step, log_prob and 100 samples; the parameters."""
    torch.manual_seed(0)
    flows: dict[str, Any] = {"marginflow": ours(size), "nflows": theirs(size)}
    x = torch.randn(ROWS, size.features)
    result: dict[str, Any] = {
        name: {"parameters": sum(p.numel() for p in flow.parameters())} for name, flow in flows.items()
    }
    optimisers = {name: torch.optim.Adam(flow.parameters(), 1e-5, fused=True) for name, flow in flows.items()}

    def step(name: str) -> None:
        optimisers[name].zero_grad()
        (-flows[name].log_prob(x).mean()).backward()
        optimisers[name].step()

    seconds = {"step": interleaved({name: (lambda n=name: step(n)) for name in flows}, size.repeats)}
    with torch.no_grad():
        for key, call in (("log_prob", lambda f: f.log_prob(x)), ("sample", lambda f: f.sample(ROWS))):
            calls = {name: (lambda f=flow, c=call: c(f)) for name, flow in flows.items()}
            seconds[key] = interleaved(calls, size.repeats)
    for name in flows:
        result[name] |= {key: each[name] for key, each in seconds.items()}
    return result


def main(output: Path) -> None:
    record: dict[str, Any] = {"rows": ROWS, "threads": torch.get_num_threads(), "models": {}}
    print("| ours (nflows) | train step | log_prob | sample 100 | nflows' step / ours |")
    print("|---|---:|---:|---:|---:|")
    for size in SIZES:
        result = record["models"][size.name] = measure(size)
        a, b = result["marginflow"], result["nflows"]
        cells = [f"{a[key] * 1e3:.3g} ms ({b[key] * 1e3:.3g} ms)" for key in ("step", "log_prob", "sample")]
        print(f"| {size.name} | {' | '.join(cells)} | {b['step'] / a['step']:.2f} |", flush=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT)
