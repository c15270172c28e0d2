"""The loop inside a group of the incremental inverse, compiled by numba."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba import config, njit, prange, set_num_threads

UNIVARIATES = {
    "affine": 0, "softclip_affine": 1, "softplus_affine": 2, "additive": 3, "rational_quadratic": 4,
    "gaussian_mixture": 5,
}  # fmt: skip
SERIES = tuple(1 / math.factorial(i) for i in range(13, -1, -1))  # of exp, the highest power first
LEAST = 1e-3  # of a spline's bins, as a share of the interval, and of its slopes


def _compiled(**options: Any) -> Callable[[Any], Any]:
    """numba's njit, with its result kept on disk where there is a place for it."""
    options.update(fastmath={"contract"}, error_model="numpy")

    def decorate(function: Any) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # no folder to keep it in
            return njit(**options)(function)

    return decorate


@_compiled()
def _exp(x):
    """exp in float64 to the last bit or two, in operations that the compiler can vectorise; NaN stays NaN.

    exp(x) = 2^n exp(r) with n the whole number nearest to x / log 2, rounded by adding a number so large that its
    last bit counts ones; |r| <= log(2) / 2, where 14 terms of the series are enough.
    """
    x = max(min(x, 709.0), -708.0) if x == x else x
    shifted = x * 1.4426950408889634 + 6755399441055744.0
    n = shifted - 6755399441055744.0
    r = x - n * 0.6931471803691238 - n * 1.9082149292705877e-10  # log 2 in two parts
    p = 0.0
    for term in SERIES:
        p = p * r + term
    exponent = np.int64((np.float64(shifted).view(np.int64) + 1023) << 52)
    return p * np.int64(exponent).view(np.float64)


@_compiled()
def _tanh(x):
    return 1.0 - 2.0 / (1.0 + _exp(2.0 * x))


@_compiled()
def _activate(kind, units, row):
    """units[row] <- activation of itself; kind is its code in `nets/activations.py`."""
    u = units[row]
    if kind == 0:
        for n in range(len(u)):
            u[n] = max(u[n], units.dtype.type(0))
    elif kind == 1:
        for n in range(len(u)):
            u[n] = _tanh(u[n])
    elif kind == 2:
        for n in range(len(u)):
            u[n] = u[n] if u[n] > 0 else math.expm1(u[n])
    elif kind == 3:
        for n in range(len(u)):
            u[n] = u[n] / (1 + _exp(-u[n]))
    elif kind == 4:
        for n in range(len(u)):
            u[n] = u[n] if u[n] > 20 else math.log1p(_exp(u[n]))  # as in torch
    else:
        for n in range(len(u)):
            u[n] = u[n] * 0.5 * (1 + math.erf(u[n] * math.sqrt(0.5)))


@_compiled()
def _normaliser(params, first, last, n):
    """log sum exp of params[first ... last - 1, n]."""
    most = params[first, n]
    for k in range(first + 1, last):
        most = max(most, params[k, n])
    total = 0.0
    for k in range(first, last):
        total += _exp(params[k, n] - most)
    return most + math.log(total)


@_compiled()
def _slope(params, k, first, bins, n):
    """The slope of a spline at its knot k."""
    if k == 0 or k == bins:
        return 1.0
    raw = params[first + k - 1, n] + math.log(math.expm1(1 - LEAST))
    return max(raw, 0.0) + math.log1p(_exp(-abs(raw))) + LEAST


@_compiled()
def _unbend(y, bound, params, p, bins, n):
    """x and log dx/dy of a rational-quadratic spline whose parameters stand in params[p ..., n]."""
    if not abs(y) < bound:
        return y, 0.0
    widths, heights = _normaliser(params, p, p + bins, n), _normaliser(params, p + bins, p + 2 * bins, n)
    rest, left, bottom, width, height, k = 1 - LEAST * bins, -bound, -bound, 0.0, 0.0, 0
    for k in range(bins):
        height = 2 * bound * (LEAST + rest * _exp(params[p + bins + k, n] - heights))
        width = 2 * bound * (LEAST + rest * _exp(params[p + k, n] - widths))
        if y < bottom + height or k == bins - 1:
            break
        left += width
        bottom += height
    s, d, d_end = height / width, _slope(params, k, p + 2 * bins, bins, n), _slope(params, k + 1, p + 2 * bins, bins, n)
    up, bend = (y - bottom) / width, d_end + d - 2 * s
    a, b, c = s * (s - d) + up * bend, s * d - up * bend, s * up
    t = min(max(2 * c / (b + math.sqrt(max(b * b + 4 * a * c, 1e-300))), 0.0), 1.0)
    between = t * (1 - t)
    slope = d_end * t * t + 2 * s * between + d * (1 - t) * (1 - t)
    return left + t * width, -2 * math.log(s / (s + bend * between)) - math.log(slope)


@_compiled()
def _log_upper(t):
    """log(1 - Phi(t)) of the standard normal for t >= 0."""
    if t < 36:
        return math.log(0.5 * math.erfc(t * math.sqrt(0.5)))
    return -0.5 * t * t - math.log(t + 1 / (t + 2 / (t + 3 / t))) - 0.5 * math.log(2 * math.pi)


@_compiled()
def _mixture_logit(x, bound, params, p, components, normaliser, reach, n):
    """y and log dy/dx of a mixture of Gaussians whose parameters stand in params[p ..., n]."""
    lower, upper, density = -math.inf, -math.inf, -math.inf
    for k in range(components):
        log_weight = params[p + k, n] - normaliser
        mean = params[p + components + k, n] - reach + (2 * reach * k / (components - 1) if components > 1 else 0.0)
        log_scale = bound * _tanh(params[p + 2 * components + k, n] / bound)
        a = (x - mean) * _exp(-log_scale)
        tail = _log_upper(abs(a))
        body = math.log1p(-_exp(tail))
        lower = np.logaddexp(lower, log_weight + (body if a > 0 else tail))
        upper = np.logaddexp(upper, log_weight + (tail if a > 0 else body))
        density = np.logaddexp(density, log_weight - log_scale - 0.5 * a * a)
    return lower - upper, density - 0.5 * math.log(2 * math.pi) - lower - upper


@_compiled()
def _unmix(y, bound, params, p, components, n, tolerance):
    """x and log dx/dy where the logit of a mixture's cumulative distribution is y, as `roots` solves it."""
    normaliser, reach = _normaliser(params, p, p + components, n), 2.0 if components > 1 else 0.0
    low, high, far = math.inf, -math.inf, math.sqrt(2 * abs(y))
    sound = normaliser + y
    for k in range(components):
        mean = params[p + components + k, n] - reach + (2 * reach * k / (components - 1) if components > 1 else 0.0)
        end = mean + math.copysign(far, y) * _exp(bound * _tanh(params[p + 2 * components + k, n] / bound))
        low, high, sound = min(low, mean, end), max(high, mean, end), sound + mean + end
    if not math.isfinite(sound):  # comparisons would hide it
        return math.nan, math.nan
    room = 1e-6 * (1 + abs(low) + abs(high))
    low, high = low - room, high + room
    x, step = 0.5 * (low + high), high - low
    for _ in range(200):
        value, log_slope = _mixture_logit(x, bound, params, p, components, normaliser, reach, n)
        if value <= y:
            low = x
        if value >= y:
            high = x
        following = x - (value - y) * _exp(-log_slope)
        if not (low <= following <= high and abs(following - x) <= 0.5 * abs(step)):
            following = 0.5 * (low + high)
        step = following - x
        x = following
        if abs(step) <= tolerance * abs(x) or step == 0:
            break
    return x, -_mixture_logit(x, bound, params, p, components, normaliser, reach, n)[1]


@_compiled()
def _invert(kind, constant, units, row, p, end, log_det):
    """units[row] <- the inverse of a scalar function there, parameters units[p ... end - 1]; log_det += log dx/dz."""
    out, first, second = units[row], units[p], units[end - 1]
    if kind == 0:
        for n in range(len(out)):
            log_scale = constant * _tanh(second[n] / constant)
            out[n] = out[n] * _exp(log_scale) + first[n]
            log_det[n] += log_scale
    elif kind == 1:
        for n in range(len(out)):
            log_scale = second[n] / (1 + abs(second[n]) / constant)
            out[n] = (out[n] - first[n]) * _exp(-log_scale)
            log_det[n] -= log_scale
    elif kind == 3:
        for n in range(len(out)):
            out[n] = out[n] + first[n]
    elif kind == 4:
        for n in range(len(out)):
            out[n], log_slope = _unbend(out[n], constant, units, p, (end - p + 1) // 3, n)
            log_det[n] += log_slope
    elif kind == 5:
        tolerance = 1e-8 if units.itemsize == 4 else 1e-14
        for n in range(len(out)):
            out[n], log_slope = _unmix(out[n], constant, units, p, (end - p) // 3, n, tolerance)
            log_det[n] += log_slope
    else:
        for n in range(len(out)):
            scale = max(first[n], 0.0) + math.log1p(_exp(-abs(first[n]))) + constant
            out[n] = (out[n] - second[n]) / scale
            log_det[n] -= math.log(scale)


@_compiled()
def _enter(units, row, total, unit, first):
    """`plan.Residual.enter` for one unit."""
    u, s = units[row], total[unit]
    for n in range(len(u)):
        if not first:
            u[n] += s[n]
        s[n] = u[n]


@_compiled()
def _accumulate(units, row, weights, at, first, last):
    """units[row] += weights[at: at + last - first] @ units[first: last], four rows at a time."""
    t = units[row]
    k = first
    while k + 4 <= last:
        w0, w1, w2, w3 = weights[at], weights[at + 1], weights[at + 2], weights[at + 3]
        s0, s1, s2, s3 = units[k], units[k + 1], units[k + 2], units[k + 3]
        for n in range(len(t)):
            t[n] += w0 * s0[n] + w1 * s1[n] + (w2 * s2[n] + w3 * s3[n])
        k += 4
        at += 4
    while k < last:
        w0, s0 = weights[at], units[k]
        for n in range(len(t)):
            t[n] += w0 * s0[n]
        k += 1
        at += 1


@_compiled()
def _resolve_columns(all_units, all_logs, weights, all_ends, activation, univariate, constant, residual, left, right):
    """`resolve` for some columns, in arrays of its own: threads that shared them would be in each other's way."""
    output, num_steps = len(all_ends) - 1, all_ends.shape[1] - 1
    tops, bottoms, ends = all_ends[:, 0], all_ends[:, num_steps], all_ends.copy()
    sizes = bottoms - tops
    units, log_det = np.empty((sizes.sum(), right - left), all_units.dtype), all_logs[left:right].copy()
    for layer in range(output + 1):
        ends[layer] += sizes[:layer].sum() - tops[layer]
        units[ends[layer, 0] : ends[layer, num_steps]] = all_units[tops[layer] : bottoms[layer], left:right]
    output_weights = (sizes[1:output] * sizes[: output - 1]).sum()
    total = np.empty((sizes[1] if residual and output > 1 else 0, right - left), units.dtype)
    for j in range(num_steps):
        for row in range(ends[output, j], ends[output, j + 1]):
            at = output_weights + (row - ends[output, 0]) * sizes[output - 1]
            _accumulate(units, row, weights, at, ends[output - 1, 0], ends[output - 1, j])
        _invert(univariate, constant, units, ends[0, j], ends[output, j], ends[output, j + 1], log_det)
        layer_weights = 0
        for layer in range(1, output):
            for row in range(ends[layer, j], ends[layer, j + 1]):
                at = layer_weights + (row - ends[layer, 0]) * sizes[layer - 1]
                _accumulate(units, row, weights, at, ends[layer - 1, 0], ends[layer - 1, j + 1])
                if residual and layer % 2 == 1:
                    _enter(units, row, total, row - ends[layer, 0], layer == 1)
                _activate(activation, units, row)
            layer_weights += sizes[layer] * sizes[layer - 1]
    for layer in range(output):
        all_units[tops[layer] : bottoms[layer], left:right] = units[ends[layer, 0] : ends[layer, num_steps]]
    all_logs[left:right] = log_det


@_compiled(parallel=True)
def _resolve_in_parallel(units, log_det, weights, ends, activation, univariate, constant, residual, num_parts):
    n = units.shape[1]
    for part in prange(num_parts):
        left, right = part * n // num_parts, (part + 1) * n // num_parts
        _resolve_columns(units, log_det, weights, ends, activation, univariate, constant, residual, left, right)


_one_at_a_time = threading.Lock()  # not every pool of threads that numba may find here can be entered twice
_process = os.getpid()  # in a forked process such a pool ends the process


def resolve(
    activation: int,
    univariate: int,
    constant: float,
    units: np.ndarray,
    log_det: np.ndarray,
    weights: np.ndarray,
    ends: np.ndarray,
    residual: bool,
) -> None:
    """Compute the inputs and the hidden units of a group, one step after the other.

    units (U, N): z, all hidden units, and below them the parameters of the group. Those of the group hold their sums
        over the units known before it; x is written over z, hidden units over their sums.
    log_det (N,), float64: log|det dx/dz|, to which the group's is added.
    weights: those between units of the group, layer after layer, row after row. ends: see `plan.Group`.
    activation, univariate: their codes, in `nets/activations.py` and above. constant: of the univariate.
    """
    num_columns, threads = units.shape[1], torch.get_num_threads()
    num_threads = min(threads, config.NUMBA_NUM_THREADS)  # pyright: ignore[reportAttributeAccessIssue]
    num_parts = max(num_threads if num_columns >= 16 * num_threads else 1, num_columns // 64)
    arrays = units, log_det, weights, ends, activation, univariate, constant, residual
    if os.getpid() != _process or num_threads == 1 or num_parts == 1:
        for left, right in pairwise(part * num_columns // num_parts for part in range(num_parts + 1)):
            _resolve_columns(*arrays, left, right)
        return
    with _one_at_a_time:
        set_num_threads(num_threads)
        _resolve_in_parallel(*arrays, num_parts)
    if torch.get_num_threads() != threads:  # numba starts its threads by setting the number of OpenMP's
        torch.set_num_threads(threads)
