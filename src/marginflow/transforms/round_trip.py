"""Inverses that are verified by a round trip."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from marginflow.base.transform import Transform
from marginflow.transforms.sequential import Sequential

TOLERANCE = 1e-3  # of a round trip in float32, of values of size one


def miss(z: Tensor, back: Tensor) -> Tensor:
    """The error of a round trip, (N,): the largest difference between its ends, infinite where it is no number.

    Of values below one it is absolute, of larger ones relative to their size.
    """
    difference = (back - z).abs() / z.abs().clamp_min(1)
    return difference.flatten(1).nan_to_num(torch.inf, torch.inf).amax(1)


@torch.no_grad()
def inverse_and_flag(transform: Transform, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x of noise z, and which rows are flagged, (N,): x is not finite, or its round trip misses z by more than 1e-3.

    Where a part draws noise, such as `Augment`, which has no round trip, the parts before and after it are verified.
    """
    flagged = torch.zeros(z.shape[0], dtype=torch.bool, device=z.device)
    for part in _parts(transform):
        x, _ = part.inverse(z, context)
        flagged |= ~torch.isfinite(x.flatten(1)).all(1)
        if part.exact:
            there = torch.where(flagged.view(-1, *[1] * (x.ndim - 1)), torch.zeros_like(x), x)
            flagged |= miss(z, part(there, context)[0]) > TOLERANCE
        z = x
    return z, flagged


def _parts(transform: Transform) -> Iterator[Transform]:
    """A transform, last part first: parts that draw noise alone, what lies between them together."""
    if transform.exact or not isinstance(transform, Sequential):
        yield transform
        return
    together: list[Transform] = []
    for part in reversed(list(transform)):
        if part.exact:
            together.insert(0, part)
            continue
        if together:
            yield Sequential(*together)
            together = []
        yield from _parts(part)
    if together:
        yield Sequential(*together)
