"""Glow beside normflows' of the same size, on 32 x 32 x 3: `python -m benchmarks.images [OUTPUT.json]`.

Also what `train.checkpoint` saves: peak memory and seconds of a step with and without, at two depths.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.memory import in_a_process_of_its_own, peak_of_process
from benchmarks.timing import interleaved

OUTPUT = Path("benchmarks/results/images.json")
SHAPE, BATCH = (3, 32, 32), 32
LEVELS, HIDDEN = 3, 256
BLOCKS, DEEP = 8, 32
REPEATS, STEPS = 7, 3
NAMES = ("marginflow", "marginflow, checkpoint", "normflows")


class Ours:
    """Our Glow, without the learned prior, which normflows' has not."""

    def __init__(self, blocks: int, *, checkpoint: bool = False) -> None:
        from marginflow import models
        from marginflow.transforms import Sequential

        self.model = models.glow(SHAPE, levels=LEVELS, blocks=blocks, hidden=[HIDDEN, HIDDEN], learned_prior=False)
        for module in self.model.modules():
            if isinstance(module, Sequential):
                module.recompute = checkpoint

    def loss(self, x: Tensor) -> Tensor:
        return -self.model.log_prob(x).mean()

    def sample(self) -> Tensor:
        return self.model.sample(BATCH)


class Theirs:
    """normflows' Glow: the same convolutions, LU form, a Gaussian base for each level."""

    def __init__(self, blocks: int) -> None:
        import normflows as nf

        bases, flows, merges = [], [], []
        for i in range(LEVELS):
            channels, side = 3 * 2 ** (LEVELS + 1 - i), 32 // 2 ** (LEVELS - i)
            steps = [
                nf.flows.GlowBlock(channels, HIDDEN, split_mode="channel", scale=True, use_lu=True)
                for _ in range(blocks)
            ]
            flows.append([*steps, nf.flows.Squeeze()])
            if i > 0:
                merges.append(nf.flows.Merge())
            bases.append(nf.distributions.DiagGaussian((channels if i == 0 else channels // 2, side, side)))
        self.model = nf.MultiscaleFlow(bases, flows, merges, class_cond=False)

    def loss(self, x: Tensor) -> Tensor:
        return self.model.forward_kld(x)

    def sample(self) -> Tensor:
        return self.model.sample(BATCH)[0]


def build(name: str, blocks: int) -> Ours | Theirs:
    torch.manual_seed(0)
    return Theirs(blocks) if name == "normflows" else Ours(blocks, checkpoint=name.endswith("checkpoint"))


def stepping(candidate: Ours | Theirs, x: Tensor) -> Any:
    """A call that takes one training step."""
    optimiser = torch.optim.Adam(candidate.model.parameters(), 1e-4, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        candidate.loss(x).backward()
        optimiser.step()

    return step


def timed(names: tuple[str, ...], blocks: int, repeats: int) -> dict[str, dict[str, Any]]:
    """Medians of seconds, taken in turns, of a training step and of a batch of samples."""
    x = torch.randn(BATCH, *SHAPE)
    candidates = {name: build(name, blocks) for name in names}
    steps = interleaved({name: stepping(each, x) for name, each in candidates.items()}, repeats)
    samples = {}
    with torch.no_grad():
        for each in candidates.values():
            each.model.eval()
        calls = {name: each.sample for name, each in candidates.items() if not name.endswith("checkpoint")}
        samples = interleaved(calls, repeats)
    return {
        name: {
            "parameters": sum(p.numel() for p in candidates[name].model.parameters()),
            "step": steps[name],
            "sample": samples.get(name),
        }
        for name in names
    }


def peak_above_imports(name: str, blocks: int) -> float:
    """Megabytes that some training steps add at their peak to what the process holds after its imports."""
    stepping(build(name, 1), torch.randn(2, *SHAPE))()
    before = peak_of_process()
    step = stepping(build(name, blocks), torch.randn(BATCH, *SHAPE))
    for _ in range(STEPS):
        step()
    return peak_of_process() - before


def main(output: Path) -> None:
    record: dict[str, Any] = {
        "batch": BATCH, "levels": LEVELS, "hidden": HIDDEN, "threads": torch.get_num_threads(), "blocks": {},
    }  # fmt: skip
    print("| steps a level | flow | parameters | train step | 32 samples | memory of training |")
    print("|---:|---|---:|---:|---:|---:|")
    for blocks, repeats in ((BLOCKS, REPEATS), (DEEP, 3)):
        results = record["blocks"][blocks] = timed(NAMES, blocks, repeats)
        for name, each in results.items():
            each["megabytes"] = in_a_process_of_its_own("benchmarks.images", "--memory", name, str(blocks))
            sample = "" if each["sample"] is None else f"{each['sample']:.3f} s"
            print(
                f"| {blocks} | {name} | {each['parameters']} | {each['step']:.3f} s | {sample} | "
                f"{each['megabytes']:.0f} MB |",
                flush=True,
            )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        print(json.dumps(peak_above_imports(sys.argv[2], int(sys.argv[3]))))
    else:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT)
