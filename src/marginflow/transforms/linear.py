"""Linear maps of the features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from marginflow.shapes import check_at_least_one
from marginflow.transforms.base import Transform


class Scaling(Transform):
    """Each feature by a factor of its own, trained: what ends NICE, whose couplings keep the volume.

    z = exp(s) x,  log_det = sum s

    features: D, or the number of channels of images.

    Dinh, Krueger, Bengio, NICE: Non-linear Independent Components Estimation, 2015 (arXiv 1410.8516), section 3.3.

    >>> import torch
    >>> Scaling(2)(torch.ones(1, 2))[0]
    tensor([[1., 1.]], grad_fn=<MulBackward0>)
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        check_at_least_one(features)
        self.features = features
        self.log_scale = nn.Parameter(torch.zeros(features))

    def _log_scale_and_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.check_input(x)
        elements = x[0, 0].numel() if len(x) else 1
        return self.log_scale.view(-1, *[1] * (x.ndim - 2)), (self.log_scale.sum() * elements).expand(len(x))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, log_det = self._log_scale_and_det(x)
        return x * log_scale.exp(), log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, log_det = self._log_scale_and_det(z)
        return z * torch.exp(-log_scale), -log_det
