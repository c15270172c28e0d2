"""Quantiles of a column, of which its factor says how likely points are and where logistics lie."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from marginflow.data.schema import Column
from marginflow.distributions.columns.pieces import ROWS
from marginflow.distributions.columns.reader import FAR

HALVINGS = 90  # of an interval of 4 FAR: down to the spacing of float64
ROUNDING = 1e-6  # of a cell of a grid, by which its end may be missed


def level_quantiles(column: Column, shares: Tensor, levels: Tensor) -> Tensor:
    """The least level (N, Q) up to which lie shares (N, levels) of so much; of a category, the most probable one."""
    if column.kind == "category":
        return shares.argmax(1)[:, None].expand(-1, len(levels)).double()
    upto = shares.cumsum(1)
    found = torch.searchsorted(upto, levels.to(upto).expand(len(upto), -1).contiguous() * upto[:, -1:])
    return found.clamp_max(shares.shape[1] - 1).double()


def number_quantiles(
    column: Column, atoms: Tensor, weights: Tensor, means: Tensor, scales: Tensor, levels: Tensor
) -> Tensor:
    """Quantiles (N, Q) of a column of numbers, by bisection of its cumulative probability.

    F(z) = sum of the atoms up to z + sum over logistics of w sigma((z - m) / s),  z warped, at the end of a cell

    atoms: the probabilities of these (N, atoms). weights, means, scales: of logistics (N, K), the weights with the
        atoms adding up to any number. levels: (Q,).
    """
    parts = zip(*(each.split(ROWS // 8) for each in (atoms, weights, means, scales)), strict=True)
    return torch.cat([_of_some(column, a, w, m, s, levels) for a, w, m, s in parts])


def _of_some(column: Column, atoms: Tensor, weights: Tensor, means: Tensor, scales: Tensor, levels: Tensor) -> Tensor:
    ends = _ends(column, means)
    target = levels.to(means) * (atoms.sum(1) + weights.sum(1))[:, None]
    low, high = (torch.full_like(target, sign * 2 * FAR) for sign in (-1, 1))
    for _ in range(HALVINGS):
        z = (low + high) / 2
        upto = (atoms[:, None] * (ends <= z[..., None])).sum(2)
        upto = upto + (weights[:, None] * torch.sigmoid((z[..., None] - means[:, None]) / scales[:, None])).sum(2)
        low, high = torch.where(upto < target, z, low), torch.where(upto < target, high, z)
    assert column.warp is not None
    value = column.warp.inverse(high)
    if column.grid is not None:
        value = torch.ceil(value - 0.5 - ROUNDING)
    for atom, end in zip(column.atoms, ends.tolist(), strict=True):  # where F jumps
        value = torch.where((end > low) & (end <= high), atom, value)
    lower = -math.inf if column.lower is None else column.lower
    upper = math.inf if column.upper is None else column.upper
    return value.clamp(lower, upper)


def _ends(column: Column, like: Tensor) -> Tensor:
    """Where atoms are counted in, warped: at the ends of their cells on a grid; those beyond a warp's end, at FAR."""
    assert column.warp is not None
    half = 0.5 * (column.grid is not None)
    atoms = torch.tensor(column.atoms, dtype=torch.float64, device=like.device)
    first, last = column.warp.domain
    z = column.warp.forward((atoms + half).clamp(first, last))[0]
    return torch.where(atoms + half <= first, -FAR, torch.where(atoms + half >= last, FAR, z)).clamp(-FAR, FAR)
