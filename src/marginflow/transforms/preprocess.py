"""Pixels to unbounded reals: dequantisation and logit, part of the density."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.nn import functional

from marginflow.base.arguments import as_whole, shown
from marginflow.base.constants import HoldsConstants
from marginflow.base.distribution import Distribution
from marginflow.base.noise_sites import NoiseSite, Sites, site_of
from marginflow.base.not_finite import warn_of_diverged
from marginflow.base.settings import as_real
from marginflow.base.shapes import require_real, sum_event
from marginflow.base.support import of_events
from marginflow.base.surroundings import in_torch_func
from marginflow.base.transform import Transform
from marginflow.base.units import GRID, log_volume_of_levels

EDGE = 0.5 / GRID  # how near to 0 and 1 that noise may come


def dequantisation_noise(pixels: Tensor, dtype: torch.dtype, generator: torch.Generator | None = None) -> Tensor:
    """u ~ U[0, 1) on the grid (k + 1/2) / 2^12, so that float32 never rounds pixels + u to the next level."""
    steps = torch.empty(pixels.shape, dtype=torch.int16, device=pixels.device)
    steps = steps.random_(GRID) if generator is None else steps.random_(GRID, generator=generator)  # for torch.compile
    return steps.to(dtype).add_(0.5).div_(GRID)


class Dequantise(HoldsConstants, Transform):
    """Dequantisation of grey levels to reals in [0, 1), by uniform noise or a model of the noise, new at every call.

    z = (x + u) / levels,  u ~ q(u | x) on [0, 1)^D,  log_det = -D log levels - log q(u | x), which is -D log levels
    where q is uniform
    inverse: floor(levels z), as uint8

    x holds whole numbers 0 ... levels - 1 as uint8 (another integer type will do).

    Args:
        levels: number of grey levels, 2 ... 256.
        noise: variational dequantisation: a distribution of v on the whole line, in the shape of x, with
            u = d + (1 - 2 d) sigmoid(v), d = 2^-13, so that u never rounds up to the next level. Where it takes a
            context it sees the levels, scaled to (-1, 1). None is uniform noise.

    Raises:
        ValueError: where `levels` is out of range, the noise is not exact or does not have the shape of x, or x is
            floating point or bool or has levels out of range.

    References:
        Uria, Murray and Larochelle, RNADE: The Real-Valued Neural Autoregressive Density-Estimator, 2013
            (arXiv 1306.0186).
        Theis, van den Oord and Bethge, A note on the evaluation of generative models, 2016 (arXiv 1511.01844).
        Ho, Chen, Srinivas, Duan and Abbeel, Flow++: Improving Flow-Based Generative Models with Variational
            Dequantization and Architecture Design, 2019 (arXiv 1902.00275): with a model of the noise.

    Examples:
        >>> import torch
        >>> z, log_det = Dequantise(256)(torch.tensor([[0, 255]], dtype=torch.uint8))
        >>> Dequantise(256).inverse(z)[0]
        tensor([[  0, 255]], dtype=torch.uint8)
    """

    def __init__(self, levels: int = 256, noise: Distribution | None = None) -> None:
        super().__init__()
        levels = as_whole(levels, "levels", least=2)
        if levels > 256:
            raise ValueError(
                f"levels must be a whole number between 2 and 256; got {levels}: rows of more levels are real numbers"
            )
        if noise is not None and (not isinstance(noise, Distribution) or not noise.exact):
            raise ValueError(
                f"the noise must be an exact distribution with the shape of the images; got {shown(noise)}"
            )
        self.levels, self.noise = levels, noise
        self._like: Tensor
        self.register_buffer("_like", torch.zeros(()), persistent=False)  # carries the dtype of z

    def _constants(self) -> dict[str, Tensor]:
        return {"_like": torch.zeros((), device="cpu")}

    @property
    def exact(self) -> bool:
        return False

    @property
    def takes_pixels(self) -> bool:
        return True

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        noise, log_q = self._site(x).draw()
        z, log_det = self._dequantised(x, noise)
        return z, log_det - log_q

    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[tuple[Tensor, Tensor]]:
        return self._dequantised(x, (yield self._site(x)))

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        noise = self.noise
        if noise is not None and noise.event_shape != shape:
            raise ValueError(
                f"the dequantisation noise was built for shape {tuple(noise.event_shape or ())}; got {tuple(shape)}: "
                "build it for the shape of the data"
            )
        if noise is not None and noise.context_features not in (0, shape[0]):
            raise ValueError(
                f"the dequantisation noise takes a context of {noise.context_features} features, and sees x, which has "
                f"{shape[0]}: build it with context_features={shape[0]}"
            )
        return shape

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return self.forward_shape(shape)

    def _site(self, x: Tensor) -> NoiseSite:
        """Where u is drawn, or v of which a model makes it."""
        if x.is_floating_point() or x.dtype == torch.bool:
            raise ValueError(f"Dequantise takes whole grey levels as uint8; got {x.dtype}: pass the raw pixels")
        every_value_fits = x.dtype == torch.uint8 and self.levels == 256
        without_values = torch.compiler.is_compiling() or in_torch_func() or x.is_meta
        unseen = every_value_fits or without_values or x.numel() == 0
        if not unseen and not 0 <= int(x.min()) <= int(x.max()) < self.levels:
            raise ValueError(f"grey levels must lie in 0 ... {self.levels - 1}; got {int(x.min())} ... {int(x.max())}")
        if self.noise is None:
            none = self._like.new_zeros(x.shape[0])
            return NoiseSite(
                x.shape,
                lambda: (dequantisation_noise(x, self._like.dtype), none),
                lambda u: none.where(((u >= 0) & (u < 1)).flatten(1).all(1), -math.inf),
                of_events(constraints.unit_interval, x.shape[1:]),
            )
        self.forward_shape(x.shape[1:])
        seen = (2 * x.to(self._like.dtype) + 1) / self.levels - 1
        return site_of(self.noise, x.shape[0], seen if self.noise.context_features else None)

    def _dequantised(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """z of levels and the noise of their site, and log_det without the -log q of that noise."""
        log_volume = log_volume_of_levels(math.prod(x.shape[1:]), self.levels)
        if self.noise is None:
            return (x + noise.clamp(EDGE, 1 - EDGE)) / self.levels, noise.new_full((x.shape[0],), log_volume)
        width = 1 - 2 * EDGE
        log_slope = functional.logsigmoid(noise) + functional.logsigmoid(-noise) + math.log(width)
        return (x + (EDGE + width * torch.sigmoid(noise))) / self.levels, log_volume + sum_event(log_slope)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        warn_of_diverged(z)  # not a number would become black
        pixels = (z * self.levels).floor().clamp(0, self.levels - 1).to(torch.uint8)
        return pixels, z.new_full((z.shape[0],), -log_volume_of_levels(math.prod(z.shape[1:]), self.levels))

    def _inverse_with_noise(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Where z leaves the unit interval, which no grey level reaches, the noise is not a number."""
        pixels, _ = self.inverse(z, context)
        u = z * self.levels - pixels
        u = u.masked_fill((u < 0) | (u >= 1), math.nan)
        return pixels, [u if self.noise is None else torch.logit((u - EDGE) / (1 - 2 * EDGE))]

    def inverse_support(self, each: Constraint) -> Constraint:
        return constraints.integer_interval(0, self.levels - 1)

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


class Logit(Transform):
    """The logit, from the unit interval to the whole line, element by element.

    z = logit(s),  s = alpha + (1 - 2 alpha) x,  log dz/dx = log(1 - 2 alpha) - log s - log(1 - s)

    Where s is not between 0 and 1 the density is 0: there log_det = -inf, and z = 0, so that what follows is finite.

    Args:
        alpha: holds s away from 0 and 1, 0 <= alpha < 1/2; 1e-6 for MNIST and 0.05 for CIFAR-10 in Papamakarios,
            Pavlakou and Murray, after Dinh, Sohl-Dickstein and Bengio.

    Raises:
        ValueError: where `alpha` is out of range, or x holds whole numbers.

    References:
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).
        Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2017 (arXiv 1605.08803).

    Examples:
        >>> import torch
        >>> Logit(0.05)(torch.tensor([[0.5]]))[0]
        tensor([[0.]])
    """

    def __init__(self, alpha: float = 1e-6) -> None:
        super().__init__()
        self.alpha = as_real(alpha, "alpha", lambda value: 0 <= value < 0.5, "lie in [0, 1/2)")

    @property
    def any_precision(self) -> bool:
        return True

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        require_real(x)
        s = self.alpha + (1 - 2 * self.alpha) * x
        rest = self.alpha + (1 - 2 * self.alpha) * (1 - x)  # 1 - x first: exact where x is near 1
        outside = (s <= 0) | (rest <= 0)
        log_s, log_rest = (torch.log(each.masked_fill(outside, 0.5)) for each in (s, rest))
        log_slope = math.log(1 - 2 * self.alpha) - log_s - log_rest
        return log_s - log_rest, sum_event(log_slope.masked_fill(outside, -math.inf))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = (torch.sigmoid(z) - self.alpha) / (1 - 2 * self.alpha)
        return x, sum_event(functional.logsigmoid(z) + functional.logsigmoid(-z) - math.log(1 - 2 * self.alpha))

    def inverse_support(self, each: Constraint) -> Constraint:
        outside = self.alpha / (1 - 2 * self.alpha)
        return constraints.interval(-outside, 1 + outside)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"
