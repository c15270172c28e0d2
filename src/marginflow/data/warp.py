"""Smooth increasing maps of columns to about unit scale, and which of them values ask for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from marginflow.data.knots import Knots, bent, slopes_through, unbent
from marginflow.data.quantiles import quantiles

Shape = Literal["standardise", "asinh", "log", "softplus", "logit"]
PROBABILITIES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)  # of the quantiles that a spline brings to those of N(0, 1)
WORTH = 0.02  # nats a row that a map must gain over a simpler one
MOST_VALUES = 20_000  # that are looked at
LEAST_GAP = 1e-3  # between knots, of deviations
LEAST_WIDTH, LARGEST_WIDTH = 1e-280, 1e280  # of a line: products with other numbers stay finite


class Curve(NamedTuple):
    """A smooth increasing function of t = (x - shift) / width onto the line, from the line, t > 0, or 0 < t < 1."""

    of: Callable[[Tensor], Tensor]
    log_slope: Callable[[Tensor], Tensor]
    """The log of its derivative."""
    inverse: Callable[[Tensor], Tensor]


CURVES = {
    "standardise": Curve(lambda t: t, torch.zeros_like, lambda y: y),
    "asinh": Curve(torch.asinh, lambda t: -0.5 * torch.log1p(t.square()), torch.sinh),
    "log": Curve(torch.log, lambda t: -torch.log(t), torch.exp),
    "softplus": Curve(  # its inverse is softplus: the logarithm near 0, t itself far from it
        lambda t: t + torch.log(-torch.expm1(-t)), lambda t: -torch.log(-torch.expm1(-t)), functional.softplus
    ),
    "logit": Curve(torch.logit, lambda t: -torch.log(t) - torch.log1p(-t), torch.sigmoid),
}


@dataclass(frozen=True)
class Warp:
    """A smooth increasing map z = s((c((x - shift) / width) - centre) / scale), c a named curve, s perhaps a spline.

    Args:
        shape: of the curve: "standardise" is the line, "asinh" is logarithmic far from its middle on both sides; "log"
            and "softplus" take x above `shift`, "logit" x between `shift` and `shift + width`.
        shift: of x.
        width: of x; where it is negative so is `scale`, and "log" and "softplus" take x below `shift`.
        centre: of the curve's values.
        scale: of the curve's values.
        knots: of a monotone spline with linear tails; empty without one.
        heights: its values at the knots.
        slopes: its slopes there.

    Examples:
        >>> warp, x = Warp("log", scale=2.0), torch.tensor([1.0, 4.0])
        >>> z, log_slope = warp.forward(x)
        >>> torch.allclose(warp.inverse(z), x), torch.allclose(log_slope.exp(), 1 / (2 * x))
        (True, True)
    """

    shape: Shape
    shift: float = 0.0
    width: float = 1.0
    centre: float = 0.0
    scale: float = 1.0
    knots: tuple[float, ...] = ()
    heights: tuple[float, ...] = ()
    slopes: tuple[float, ...] = ()

    @property
    def numbers(self) -> list[float]:
        """All but its shape: shift, width, centre, scale, then knots, heights and slopes."""
        return [self.shift, self.width, self.centre, self.scale, *self.knots, *self.heights, *self.slopes]

    @property
    def domain(self) -> tuple[float, float]:
        """The ends of the open interval on which it is defined.

        >>> Warp("log", shift=1.0).domain, Warp("softplus", shift=1.0, width=-2.0).domain
        ((1.0, inf), (-inf, 1.0))
        """
        ends = {"log": (0.0, math.inf), "softplus": (0.0, math.inf), "logit": (0.0, 1.0)}
        low, high = sorted(self.shift + self.width * t for t in ends.get(self.shape, (-math.inf, math.inf)))
        return low, high

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z of x (...), and log dz/dx; not finite outside of its domain."""
        z, log_slope = warped(self.shape, x.new_tensor([self.numbers]), x[..., None])
        return z[..., 0], log_slope[..., 0]

    def is_finite_at(self, x: float) -> bool:
        """Whether a number lies within its domain, and not at an end."""
        return bool(self.forward(torch.tensor(x, dtype=torch.float64, device="cpu"))[0].isfinite())

    def inverse(self, z: Tensor) -> Tensor:
        """x of z (...)."""
        return unwarped(self.shape, z.new_tensor([self.numbers]), z[..., None])[..., 0]


def warped(shape: Shape, numbers: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """z of x (..., columns), and log dz/dx, by warps of one shape and number of knots.

    numbers: of each warp, (columns, 4 + 3 M).
    """
    curve, (shift, width, centre, scale) = CURVES[shape], numbers[:, :4].T
    t = (x - shift) / width
    z, log_slope = (curve.of(t) - centre) / scale, curve.log_slope(t) - torch.log(width * scale)
    if numbers.shape[1] > 4:
        z, more = bent(_knots(numbers), z)
        log_slope = log_slope + more
    return z, log_slope


def unwarped(shape: Shape, numbers: Tensor, z: Tensor) -> Tensor:
    """x of z (..., columns), by warps as of `warped`."""
    shift, width, centre, scale = numbers[:, :4].T
    if numbers.shape[1] > 4:
        z = unbent(_knots(numbers), z)
    return shift + width * CURVES[shape].inverse(z * scale + centre)


def _knots(numbers: Tensor) -> Knots:
    return Knots(*numbers[:, 4:].chunk(3, 1))


def warp_of(
    values: Tensor,
    lower: float | None = None,
    upper: float | None = None,
    weights: Tensor | None = None,
    cell: float = 0.0,
    shape: Shape | None = None,
) -> Warp:
    """The warp under which values look most like draws from N(0, 1), by the probability that it then gives them.

    A curve must gain 0.02 nats a row over a simpler one, and a spline over none.

    Args:
        values: (N,), float64, at least one, strictly inside of the bounds.
        lower: where the domain begins; None where it has no beginning.
        upper: where it ends.
        weights: (N,), positive; all 1 by default.
        cell: the width of the cells on whose middles values lie; 0 for real numbers. A warp of cells is defined on the
            whole line, or from `lower` to `upper`, whichever serves better.
        shape: of the curve, where that is settled; the best one by default.

    Returns:
        The warp; of fewer than two different values one that only moves and scales them.

    Raises:
        ValueError: where a curve of that shape does not fit the bounds.

    Examples:
        >>> amounts = torch.linspace(-5, 5, 100, dtype=torch.float64).exp()
        >>> warp_of(amounts, lower=0.0).shape, warp_of(amounts.log()).shape
        ('log', 'standardise')
    """
    sample = _sample(values, weights, cell)
    starts = _starts(sample, lower, upper)
    if shape is not None:
        starts = [each for each in starts if each.shape == shape]
        if not starts:
            raise ValueError(
                f"the transform {shape!r} does not fit the bounds {lower} and {upper}: it may be "
                f"{', '.join(dict.fromkeys(each.shape for each in _starts(sample, lower, upper)))}; log and softplus "
                "need a lower or an upper bound, logit both"
            )
    best, score = starts[0], -math.inf
    for start in starts:
        warp = _standardised(start, sample)
        if (found := _score(warp, sample)) > score + WORTH:
            best, score = warp, found
    spline = _with_spline(best, sample)
    worth = WORTH + 10 * len(PROBABILITIES) / sample.num_rows
    return best if spline is None or not _score(spline, sample) >= score + worth else spline


class _Sample(NamedTuple):
    """Different values, rising, with weights of sum 1; of how many rows; the width of cells."""

    values: Tensor
    weights: Tensor
    num_rows: int
    cell: float

    def quantiles(self, values: Tensor, probabilities: Sequence[float]) -> Tensor:
        """Of values that rise with those here."""
        return torch.from_numpy(quantiles(values.numpy(), self.weights.numpy(), np.array(probabilities)))


def _sample(values: Tensor, weights: Tensor | None, cell: float) -> _Sample:
    weights = torch.ones_like(values) if weights is None else weights / weights.max()
    found = values
    if not bool((values.diff() > 0).all()):
        found, place = torch.unique(values, return_inverse=True)
        weights = torch.zeros_like(found).index_add_(0, place, weights)
    kept = torch.linspace(0, len(found) - 1, min(len(found), MOST_VALUES)).long()
    found, weights = found[kept], weights[kept]
    return _Sample(found, weights / weights.sum(), len(values), cell)


def _starts(sample: _Sample, lower: float | None, upper: float | None) -> list[Warp]:
    """Curves that fit the bounds, the simplest first."""
    middle, spread = _location(sample, lower, upper)
    line = [Warp("standardise", middle, spread), Warp("asinh", middle, spread)]
    bounded = []
    if lower is not None and upper is not None:
        bounded = [Warp("logit", lower, upper - lower)]
    elif lower is not None:
        bounded = [Warp("softplus", lower, spread), Warp("log", lower, max(middle - lower, spread))]
    elif upper is not None:  # the same, mirrored twice
        bounded = [Warp("softplus", upper, -spread), Warp("log", upper, -max(upper - middle, spread))]
    if sample.cell:  # cells at bounds take the tails, so that a map of the line serves as well
        narrow = [Warp("log", lower, max(middle - lower, spread))] if lower is not None and upper is not None else []
        return [*line, *narrow, *bounded]
    return bounded or line


def _location(sample: _Sample, lower: float | None, upper: float | None) -> tuple[float, float]:
    """The median of values, and their spread: positive, finite, and one that a line may have."""
    found = sample.quantiles(sample.values, (0.0, 0.02, 0.25, 0.5, 0.75, 0.98, 1.0)).tolist()
    middle = found[3]
    widths = [found[4] - found[2], (found[5] - found[1]) / 4, (found[6] - found[0]) / 4, sample.cell]
    widths += [abs(middle - bound) for bound in (lower, upper) if bound is not None]
    spread = next((width for width in [*widths, abs(middle)] if width > 0), 1.0)
    return middle, min(max(spread, LEAST_WIDTH), LARGEST_WIDTH)


def _standardised(warp: Warp, sample: _Sample) -> Warp:
    """The same with values of mean 0 and deviation 1."""
    z, _ = warp.forward(sample.values)
    centre = float(sample.weights @ z)
    deviation = math.sqrt(float(sample.weights @ (z - centre).square()))
    if not math.isfinite(centre):
        return warp
    scale = deviation if math.isfinite(deviation) and deviation > 1e-9 else 1.0
    return replace(warp, centre=centre, scale=math.copysign(scale, warp.width))


def _score(warp: Warp, sample: _Sample) -> float:
    """The mean log density of values, or of the cells they stand for, that a standard normal z gives them."""
    z, log_slope = warp.forward(sample.values)
    if sample.cell:
        (low, _), (high, _) = (warp.forward(sample.values + side * sample.cell) for side in (-0.5, 0.5))
        log_slope = torch.log((high - low).clamp_min(1e-300) / sample.cell)
    return float(sample.weights @ (log_slope - 0.5 * z.square()))


def _with_spline(warp: Warp, sample: _Sample) -> Warp | None:
    """The same with a spline that brings some quantiles to those of N(0, 1); None where they are not apart."""
    z, _ = warp.forward(sample.values)
    probabilities = z.new_tensor(PROBABILITIES)
    knots, heights = sample.quantiles(z, PROBABILITIES), torch.special.ndtri(probabilities)
    if not float(knots.diff().min()) >= LEAST_GAP:
        return None
    numbers = (tuple(each.tolist()) for each in (knots, heights, slopes_through(knots, heights)))
    return replace(warp, **dict(zip(("knots", "heights", "slopes"), numbers, strict=True)))
