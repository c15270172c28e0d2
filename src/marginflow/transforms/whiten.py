"""Whitening: a triangular linear map, initialised so that z is white."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from marginflow.base.transform import of_pixels
from marginflow.transforms.normalise import InitialisedOnce


class Whiten(InitialisedOnce):
    """A triangular linear map of the features, the same at each pixel, initialised so that z has covariance I.

    z = L x + t,  log_det = sum log L_ii, once for each pixel;  L lower triangular with positive diagonal

    It is an `ActNorm` that also takes the covariance between features: the identity until `calibrate`, or `fit`
    before its first step, initialises it once from the mean and the covariance of the data; from then on it is trained
    like other weights. Directions in which the data hardly vary, by less than 10^-6 of their mean variance, are taken
    to vary by that much.

    Args:
        features: D, or the number of channels of images.

    Raises:
        ValueError: where `features` is below 1.

    References:
        Kessy, Lewin and Strimmer, Optimal Whitening and Decorrelation, 2018 (arXiv 1512.00809): whitening by Cholesky.
        Kingma and Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, 2018 (arXiv 1807.03039):
            initialised from data.

    Examples:
        >>> import torch
        >>> whiten = Whiten(2)
        >>> whiten.set_statistics(torch.tensor([3.0, 0.0]), torch.tensor([[4.0, 0.0], [0.0, 1.0]]))
        >>> whiten(torch.tensor([[5.0, 1.0]]))[0].detach().round(decimals=3)
        tensor([[1., 1.]])
    """

    uses_covariance = True
    RIDGE = 1e-6

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.factor = nn.Parameter(torch.zeros(features, features))  # below the diagonal L, on it log L_ii
        self.shift = nn.Parameter(torch.zeros(features))

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, variance: Tensor) -> None:
        mean, variance = self.require_statistics(mean, variance)
        scale = variance.diagonal().mean()
        ridge = self.RIDGE * scale if scale > 0 else 1.0
        identity = torch.eye(len(mean), dtype=torch.float64, device=mean.device)
        root = torch.linalg.cholesky(variance.double() + ridge * identity)
        matrix = torch.linalg.solve_triangular(root, identity, upper=False)
        self.factor.copy_(matrix.tril(-1) + matrix.diagonal().log().diag())
        self.shift.copy_(-matrix @ mean.double())
        self.mark_initialised()

    def matrix(self) -> Tensor:
        """L, (features, features)."""
        return self.factor.tril(-1) + self.factor.diagonal().exp().diag()

    def _columns(self, x: Tensor) -> Tensor:
        """The features of each pixel beside each other: (N, features, pixels)."""
        return x.reshape(x.shape[0], self.num_features, x.shape[2:].numel())

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(x)
        z = self.matrix() @ self._columns(x) + self.shift[:, None]
        return z.view(x.shape), of_pixels(self.factor.diagonal().sum(), x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(z)
        columns = self._columns(z) - self.shift[:, None]
        x = torch.linalg.solve_triangular(self.matrix(), columns, upper=False)
        return x.reshape(z.shape), of_pixels(-self.factor.diagonal().sum(), z)
