"""Invertible networks of FrEIA as transforms and flows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from marginflow.base.arguments import require_context
from marginflow.base.shapes import as_shape, require_rows
from marginflow.base.transform import Transform
from marginflow.distributions import Flow, StandardNormal
from marginflow.interop.foreign import require_methods, try_once


def _call(inn: Any, x: Tensor, context: Tensor | None, *, rev: bool = False) -> tuple[Tensor, Tensor]:
    return inn(x, c=None if context is None else [context], rev=rev)


class ForeignTransform(Transform):
    """An invertible network of FrEIA's as a `Transform`.

    Made by `from_freia`.

    Args:
        inn: the network; called with (x, c=[context] or None, rev=False), it returns z and the log-determinant.
        shape: of one x.
        latent_shape: of one z.
        context_features: the width of its condition; 0 without one.

    Raises:
        ValueError: where the network cannot be called with rows of that shape and a condition of that width.
    """

    def __init__(self, inn: nn.Module, shape: torch.Size, latent_shape: torch.Size, context_features: int = 0) -> None:
        super().__init__()
        self.inn, self.shape, self.latent_shape = inn, shape, latent_shape
        self._context_features = context_features
        try_once("FrEIA", _call, inn, shape, context_features)

    @property
    def context_features(self) -> int:
        return self._context_features

    def _run(self, x: Tensor, context: Tensor | None, *, rev: bool) -> tuple[Tensor, Tensor]:
        require_rows(x.shape, self.latent_shape if rev else self.shape)
        require_context(context, self._context_features, x.shape[0])
        if x.shape[0] == 0:  # which not every layer there can take
            return x.new_empty(0, *(self.shape if rev else self.latent_shape)), x.new_empty(0)
        z, log_det = _call(self.inn, x, context if self._context_features else None, rev=rev)
        return z, torch.as_tensor(log_det, dtype=x.dtype, device=x.device).expand(x.shape[0])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._run(x, context, rev=False)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._run(z, context, rev=True)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return self._other(shape, self.shape, self.latent_shape)

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return self._other(shape, self.latent_shape, self.shape)

    @staticmethod
    def _other(shape: torch.Size, expected: torch.Size, other: torch.Size) -> torch.Size:
        if shape != expected:
            raise ValueError(f"this network of FrEIA takes events of shape {tuple(expected)}; got {tuple(shape)}")
        return other


def from_freia(inn: nn.Module, *, context_features: int = 0) -> Flow:
    """A `SequenceINN` or `GraphINN` of FrEIA's as a flow over N(0, I).

    Tested with FrEIA 0.2 by Ardizzone and others, https://github.com/vislearn/FrEIA. `ForeignTransform` takes the
    network over another base.

    Args:
        inn: the network, with one input and one output, and one condition (N, C) at most.
        context_features: C, the width of the condition; 0 without one.

    Returns:
        A `Flow` that shares the network.

    Raises:
        ValueError: for other networks, and for another width than that of the condition.
    """
    require_methods(inn, "FrEIA", "forward")
    found: Any = inn
    if hasattr(found, "global_out_shapes"):
        ends = [node.dims for node in found.in_nodes], found.global_out_shapes
    elif hasattr(found, "shapes"):
        ends = [found.shapes[0]], [found.shapes[-1]]
    else:
        raise ValueError(f"got {type(inn).__name__}, expected a SequenceINN or GraphINN of FrEIA")
    if len(ends[0]) != 1 or len(ends[1]) != 1:
        raise ValueError(
            f"this network of FrEIA has {len(ends[0])} inputs and {len(ends[1])} outputs; expected one of each"
        )
    conditions = getattr(found, "condition_nodes", None)
    takes = bool(conditions) if conditions is not None else any(each is not None for each in found.conditions)
    if takes != bool(context_features):
        raise ValueError(
            f"this network of FrEIA {'takes a condition' if takes else 'takes no condition'}; got "
            f"context_features={context_features}: give the width that it was built for, or none"
        )
    shape, latent_shape = as_shape(ends[0][0]), as_shape(ends[1][0])
    return Flow(ForeignTransform(inn, shape, latent_shape, context_features), StandardNormal(latent_shape))
