"""Monotone rational-quadratic splines through given knots, with linear tails."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Knots(NamedTuple):
    """Splines of columns: places, values and slopes of their knots, each (columns, M), rising.

    Beyond its first and last knot a spline continues as a line of the slope there. Between two knots it is the quotient
    of two quadratics of which values and slopes are given, smooth, increasing, and with an inverse in closed form
    (Gregory and Delbourgo 1982; Durkan and others, Neural Spline Flows, 2019, arXiv 1906.04032).
    """

    x: Tensor
    y: Tensor
    slopes: Tensor


def bent(knots: Knots, x: Tensor) -> tuple[Tensor, Tensor]:
    """y of x (..., columns), and log dy/dx."""
    left, width, low, height, slope, slope_left, slope_right = _piece(knots, knots.x, x)
    t = ((x - left) / width).clamp(0, 1)
    rest = t * (1 - t)
    below = slope + (slope_left + slope_right - 2 * slope) * rest
    y = low + height * (slope * t.square() + slope_left * rest) / below
    along = slope.square() * (slope_right * t.square() + 2 * slope * rest + slope_left * (1 - t).square())
    first, last = knots.x[:, 0], knots.x[:, -1]
    y = torch.where(x < first, knots.y[:, 0] + (x - first) * knots.slopes[:, 0], y)
    y = torch.where(x > last, knots.y[:, -1] + (x - last) * knots.slopes[:, -1], y)
    return y, torch.log(along) - 2 * torch.log(below)


def unbent(knots: Knots, y: Tensor) -> Tensor:
    """x of y (..., columns)."""
    left, width, low, height, slope, slope_left, slope_right = _piece(knots, knots.y, y)
    up = (y - low).clamp_min(0).minimum(height)
    curve = slope_left + slope_right - 2 * slope
    a = height * (slope - slope_left) + up * curve
    b = height * slope_left - up * curve
    c = -slope * up
    t = 2 * c / (-b - torch.sqrt((b.square() - 4 * a * c).clamp_min(0)))
    first, last = knots.y[:, 0], knots.y[:, -1]
    x = left + t * width
    x = torch.where(y < first, knots.x[:, 0] + (y - first) / knots.slopes[:, 0], x)
    return torch.where(y > last, knots.x[:, -1] + (y - last) / knots.slopes[:, -1], x)


def _piece(knots: Knots, places: Tensor, at: Tensor) -> tuple[Tensor, ...]:
    """Of the piece in which each value lies: left, width, low, height, mean slope, and the slopes at its ends."""
    inner = places[:, 1:-1]
    number = (at[..., None] >= inner).sum(-1)

    def taken(values: Tensor, more: int = 0) -> Tensor:
        return values.expand(*at.shape, -1).gather(-1, number[..., None] + more)[..., 0]

    left, low = taken(knots.x), taken(knots.y)
    width, height = taken(knots.x, 1) - left, taken(knots.y, 1) - low
    return left, width, low, height, height / width, taken(knots.slopes), taken(knots.slopes, 1)


def slopes_through(x: Tensor, y: Tensor) -> Tensor:
    """Slopes (M,) of a smooth increasing spline through points, each rising: the harmonic mean of those beside."""
    secants = y.diff() / x.diff()
    between = 2 / (1 / secants[:-1] + 1 / secants[1:])
    return torch.cat([secants[:1], between, secants[-1:]])
