"""The same masked autoregressive flow in three libraries, behind one interface."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.sizes import Size


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

    def step(self, x: Tensor, log_prob: Callable[[Tensor], Tensor] | None = None) -> None:
        """One training step. log_prob: another way to come by it, such as compiled."""
        self.optimiser.zero_grad()
        (-(log_prob or self.log_prob)(x).mean()).backward()
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
        z, seconds = torch.randn(self.size.rows, self.size.features), 0.0
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
        z, seconds = torch.randn(self.size.rows, self.size.features), 0.0
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
