"""Linear maps of the features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from marginflow.base.arguments import as_whole
from marginflow.base.settings import generator_from
from marginflow.base.transform import Transform, of_pixels


class Scaling(Transform):
    """Scale each feature by a trained factor, as the last layer of NICE does, whose couplings preserve the volume.

    z = exp(s) x,  log_det = sum s

    Args:
        features: D, or the number of channels of images.

    Raises:
        ValueError: where `features` is below 1.

    References:
        Dinh, Krueger and Bengio, NICE: Non-linear Independent Components Estimation, 2015 (arXiv 1410.8516),
            section 3.3.

    Examples:
        >>> import torch
        >>> Scaling(2)(torch.ones(1, 2))[0]
        tensor([[1., 1.]], grad_fn=<MulBackward0>)
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = as_whole(features, "features", least=1)
        self.log_scale = nn.Parameter(torch.zeros(self.features))

    def extra_repr(self) -> str:
        return str(self.features)

    def _log_scale_and_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.require_input(x)
        return self.log_scale.view(-1, *[1] * (x.ndim - 2)), of_pixels(self.log_scale.sum(), x)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, log_det = self._log_scale_and_det(x)
        return x * log_scale.exp(), log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, log_det = self._log_scale_and_det(z)
        return z * torch.exp(-log_scale), -log_det


class Conv1x1(Transform):
    """An invertible 1 x 1 convolution: one linear map mixes the features of vectors, or the channels at every pixel.

    z = W x,  W = P L (U + diag(g exp(s))),  log_det = sum s, once for each pixel

    P is a permutation and g are signs, both fixed; L (unit lower triangular), U (strictly upper) and s are trained: the
    lower part, the upper part and the diagonal of `factors`. So the determinant costs nothing and W can always be
    inverted. W is initialised as a random orthogonal matrix, drawn from `seed`.

    Args:
        features: D, or the number of channels of images.
        seed: for the random orthogonal matrix.

    Raises:
        ValueError: where `features` is below 1, or the seed no whole number.

    References:
        Kingma and Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, 2018 (arXiv 1807.03039),
            section 3.2.

    Examples:
        >>> import torch
        >>> conv, x = Conv1x1(3), torch.randn(5, 3, 8, 8)
        >>> torch.allclose(conv.inverse(conv(x)[0])[0], x, atol=1e-5)
        True
    """

    def __init__(self, features: int, seed: int = 0) -> None:
        super().__init__()
        self.features = features = as_whole(features, "features", least=1)
        normal = torch.randn(features, features, dtype=torch.float64, generator=generator_from(seed))
        orthogonal = torch.linalg.qr(normal).Q
        permutation, lower, upper = torch.linalg.lu(orthogonal)
        diagonal, dtype = upper.diagonal(), torch.get_default_dtype()
        self.factors = nn.Parameter((lower.tril(-1) + upper.triu(1) + diagonal.abs().log().diag()).to(dtype))
        self.permutation: Tensor
        self.sign: Tensor
        self.register_buffer("permutation", permutation.argmax(1))  # row i of W is row permutation[i] of L (U + ...)
        self.register_buffer("sign", diagonal.sign().to(dtype))

    def extra_repr(self) -> str:
        return str(self.features)

    def _factors(self) -> tuple[Tensor, Tensor]:
        """L and U + diag(g exp(s))."""
        identity = torch.eye(len(self.sign), dtype=self.sign.dtype, device=self.sign.device)
        diagonal = torch.diag(self.sign * self.factors.diagonal().exp())
        return self.factors.tril(-1) + identity, self.factors.triu(1) + diagonal

    def weight(self) -> Tensor:
        """W, (features, features)."""
        lower, upper = self._factors()
        return (lower @ upper)[self.permutation]

    def inverse_weight(self) -> Tensor:
        """The inverse of W, by two triangular solves."""
        lower, upper = self._factors()
        permuted = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)[torch.argsort(self.permutation)]
        half = torch.linalg.solve_triangular(lower, permuted, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, half, upper=True)

    @staticmethod
    def _apply_to(x: Tensor, weight: Tensor) -> Tensor:
        """The matrix on dimension 1."""
        return (weight @ x.flatten(2) if x.ndim > 2 else x @ weight.T).view_as(x)

    def _log_det(self, x: Tensor) -> Tensor:
        return of_pixels(self.factors.diagonal().sum(), x)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(x)
        return self._apply_to(x, self.weight()), self._log_det(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(z)
        return self._apply_to(z, self.inverse_weight()), -self._log_det(z)
