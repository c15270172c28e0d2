"""The same masked autoregressive flow in three libraries, behind one interface."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

ROWS = 100


@dataclass(frozen=True)
class Size:
    """A model: `blocks` masked autoregressive layers over `features`, each with these hidden widths.

    repeats: how often its step and log_prob are timed. floors: what was asked for, see `report`.
    """

    name: str
    features: int
    hidden: tuple[int, ...]
    repeats: int
    blocks: int = 5
    floors: tuple[float, float, float, float] | None = None  # step, log_prob, sample, memory

    @property
    def triangle(self) -> int:
        """Weights that the masks leave, counted for degrees spread evenly: half of each layer."""
        widths = [self.features, *self.hidden, 2 * self.features]
        return self.blocks * sum(a * b for a, b in pairwise(widths)) // 2


SIZES = [
    Size("MNIST 5 x (2 x 1024)", 784, (1024, 1024), 15, floors=(3, 2, 500, 0.5)),
    Size("CIFAR 5 x 3072", 3072, (3072,), 7, floors=(5.5, 4.5, 4000, 0.5)),
    Size("CIFAR 5 x (3 x 1024)", 3072, (1024, 1024, 1024), 7, floors=(4, 3, 2000, 0.5)),
    Size("CIFAR + 512 noise, 5 x 3584", 3584, (3584,), 5),
    Size("CIFAR + 512 noise, 5 x (3 x 1024)", 3584, (1024, 1024, 1024), 5),
    Size("tabular D = 43, 5 x (2 x 512)", 43, (512, 512), 60, floors=(1.2, 1.2, 10, 1)),
    Size("tiny D = 2, 5 x (2 x 64)", 2, (64, 64), 200, floors=(1, 1, 1, 1)),
]


class Candidate(ABC):
    """A model of one library, with fused Adam."""

    def __init__(self, size: Size) -> None:
        torch.manual_seed(0)
        self.size = size
        self.model = self.build(size)
        self.optimiser = torch.optim.Adam(self.model.parameters(), 1e-5, fused=True)

    @abstractmethod
    def build(self, size: Size) -> nn.Module: ...

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def sample(self, num_samples: int) -> Tensor: ...

    def step(self, x: Tensor) -> None:
        """One training step."""
        self.optimiser.zero_grad()
        (-self.log_prob(x).mean()).backward()
        self.optimiser.step()

    def seconds_by_passes(self, num_passes: int) -> float:
        """Seconds that `sample` would take, from `num_passes` passes of each layer."""
        raise NotImplementedError

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())


class Marginflow(Candidate):
    def build(self, size: Size) -> nn.Module:
        from marginflow import models

        return models.maf(size.features, hidden=size.hidden, blocks=size.blocks)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.model(x)

    def sample(self, num_samples: int) -> Tensor:
        return self.model.sample(num_samples)  # pyright: ignore[reportCallIssue]


class Zuko(Candidate):
    def build(self, size: Size) -> nn.Module:
        import zuko

        return zuko.flows.MAF(size.features, transforms=size.blocks, hidden_features=size.hidden)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.model().log_prob(x)

    def sample(self, num_samples: int) -> Tensor:
        return self.model().sample((num_samples,))

    def seconds_by_passes(self, num_passes: int) -> float:
        z, seconds = torch.randn(ROWS, self.size.features), 0.0
        layers: Any = self.model.transform.transforms  # pyright: ignore[reportAttributeAccessIssue]
        for layer in layers:
            transform = layer()
            transform.passes = num_passes
            started = time.perf_counter()
            transform.inv(z)
            seconds += time.perf_counter() - started
        return seconds / num_passes * self.size.features


class Nflows(Candidate):
    def build(self, size: Size) -> nn.Module:
        from nflows.flows import MaskedAutoregressiveFlow

        if len(set(size.hidden)) != 1:
            raise ValueError("nflows has layers of one width")
        return MaskedAutoregressiveFlow(
            size.features, size.hidden[0], size.blocks, len(size.hidden) - 1, use_residual_blocks=False
        )

    def log_prob(self, x: Tensor) -> Tensor:
        return self.model.log_prob(x)  # pyright: ignore[reportCallIssue]

    def sample(self, num_samples: int) -> Tensor:
        return self.model.sample(num_samples)  # pyright: ignore[reportCallIssue]

    def seconds_by_passes(self, num_passes: int) -> float:
        z, seconds = torch.randn(ROWS, self.size.features), 0.0
        layers: Any = self.model._transform._transforms  # pyright: ignore[reportAttributeAccessIssue]
        for layer in layers:
            if not hasattr(layer, "autoregressive_net"):
                continue
            started, x = time.perf_counter(), torch.zeros_like(z)
            for _ in range(num_passes):
                x, _ = layer._elementwise_inverse(z, layer.autoregressive_net(x, None))
            seconds += time.perf_counter() - started
        return seconds / num_passes * self.size.features


CANDIDATES: dict[str, type[Candidate]] = {"marginflow": Marginflow, "zuko": Zuko, "nflows": Nflows}
PEERS: Sequence[str] = ("zuko", "nflows")
