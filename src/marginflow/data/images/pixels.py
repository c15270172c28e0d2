"""Images held as bytes and made when they are read: mirrored, and with noise that was drawn once."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from marginflow.base.seeds import require_seed
from marginflow.base.settings import as_choice, as_flag
from marginflow.base.units import GRID
from marginflow.data.dataset import DataSet, Split

Noise = Literal["fresh", "once"]
Flips = Literal["none", "stored", "drawn"]

SMALL = 2**23  # numbers in a split that are made once and held, where making them again and again saves little
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # the odd number next to 2^64 over the golden ratio


class Pixels:
    """Rows of images, a tensor in all that a `Split` asks of one: `len`, `shape`, `dtype`, rows by slice or index.

    Args:
        pixels: uint8 (N, C, H, W), the only thing held in memory.
        flips: "stored" has 2 N rows, the last N the mirror images (left to right) of the first; "drawn" mirrors each
            row with probability one half every time that it is taken; "none" does not.
        levels: grey levels.
        seed: of noise that is drawn once: rows are then (pixels + u) / levels in [0, 1). Each u is a function of seed,
            row and position alone, so that it is always the same without being held; a mirror image has that of its
            original, mirrored, as in the MAF paper. None: rows are uint8.
    """

    def __init__(self, pixels: Tensor, *, flips: Flips = "none", levels: int = 256, seed: int | None = None) -> None:
        self.pixels, self.flips, self.levels, self.seed = pixels, flips, levels, seed
        self.dtype = torch.uint8 if seed is None else torch.get_default_dtype()
        self.shape = torch.Size([len(pixels) * (2 if flips == "stored" else 1), *pixels.shape[1:]])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        index = torch.arange(len(self))[rows]
        source = index % len(self.pixels)
        images = self.pixels[source]
        if self.seed is not None:
            u = torch.from_numpy(noise_steps(source.numpy(), images[:1].numel(), self.seed)).view(images.shape)
            images = u.to(self.dtype).add_(0.5).div_(GRID).add_(images).div_(self.levels)
        if self.flips == "none":
            return images
        mirrored = index >= len(self.pixels) if self.flips == "stored" else torch.rand(len(index)) < 0.5
        return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)


def noise_steps(rows: np.ndarray, features: int, seed: int) -> np.ndarray:
    """A random whole number below 2^12 for each feature of each row, (rows, features) int16.

    By SplitMix64: a generator for each row, of whose every 64 bits four numbers are made.

    References:
        Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014.
    """
    words = -(-features // 4)
    starts = _mix(_mix(np.array([seed], np.uint64)) + rows.astype(np.uint64) * GOLDEN)
    bits = _mix(starts[:, None] + np.arange(1, words + 1, dtype=np.uint64) * GOLDEN)
    return (bits.view(np.uint16)[:, :features] >> 4).astype(np.int16)


def _mix(state: np.ndarray) -> np.ndarray:
    """The output of SplitMix64 for each state."""
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def image_set(
    name: str,
    pixels: Tensor,
    target: Tensor,
    *,
    cuts: tuple[int, int],
    levels: int,
    noise: Noise,
    labels: bool,
    seed: int,
    classes: tuple[str, ...],
    flips: Flips = "none",
) -> DataSet:
    """Pixels (N, C, H, W) cut into splits at two rows, with noise, labels and, in the training split, flips."""
    as_choice(noise, ("fresh", "once"), "noise")
    as_choice(flips, ("none", "stored", "drawn"), "flips")
    labels, seed = as_flag(labels, "labels"), require_seed(seed)
    parts = []
    for part, (start, stop) in enumerate(((0, cuts[0]), cuts, (cuts[1], len(pixels)))):
        rows: Tensor | Pixels = pixels[start:stop]
        own_flips = "none" if part else flips
        if noise == "once" or own_flips != "none":
            own_seed = 3 * seed + part if noise == "once" else None
            rows = Pixels(pixels[start:stop], flips=own_flips, levels=levels, seed=own_seed)
            if own_flips != "drawn" and rows.shape.numel() <= SMALL:
                rows = rows[:]
        context = functional.one_hot(target[start:stop].long(), len(classes)).float() if labels else None
        if context is not None and own_flips == "stored":
            context = torch.cat([context, context])
        parts.append(Split(rows, context))
    train, validation, test = parts
    return DataSet(
        name, train, validation, test, levels=levels, dequantised=noise == "once", labels=classes if labels else ()
    )
