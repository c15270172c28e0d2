"""Rows to learn, the same for every library: two real tables and a toy whose entropy is integrated."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

TABLES = Path("../shared/data/tables")
HELD_OUT = 0.1  # of a table for validation, and as much for the test
NOISE_SEED, SPLIT_SEED = 20, 21
MOONS, MOONS_NOISE = (16_384, 4_096, 16_384), 0.1  # rows to train on, to validate and to test


@dataclass(frozen=True)
class Rows:
    """Standardised rows, (N, D) in float32.

    log_scale: nats to add to a negative log-likelihood of standardised rows for that of the rows as they were.
    entropy: of what they were drawn from, in nats a row as they were; None where it is not known.
    """

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    log_scale: float
    entropy: float | None = None


def standardised(name: str, parts: Sequence[np.ndarray], entropy: float | None = None) -> Rows:
    """Training, validation and test rows by the mean and deviation of each column of the training rows."""
    mean, deviation = parts[0].mean(0), parts[0].std(0)
    train, validation, test = (torch.from_numpy((part - mean) / deviation).float() for part in parts)
    return Rows(name, train, validation, test, float(np.log(deviation).sum()), entropy)


def table(name: str, folder: Path = TABLES) -> Rows:
    """The numeric columns of a table without missing values, with noise of the last recorded digit.

    Columns of text and rows with an empty cell are left out. FileNotFoundError where there is no such table.
    """
    with gzip.open(folder / f"{name}.csv.gz", "rt", newline="") as file:
        lines = [line for line in csv.reader(file) if all(line)]
    if not all(map(_is_number, lines[0][:1])):
        lines = lines[1:]  # a header
    columns = [column for column in zip(*lines, strict=True) if all(map(_is_number, column))]
    rng = np.random.default_rng(NOISE_SEED)
    rows = np.stack([smoothed(column, rng) for column in columns], 1)
    rows = rows[np.random.default_rng(SPLIT_SEED).permutation(len(rows))]
    held_out = round(HELD_OUT * len(rows))
    return standardised(name, [rows[2 * held_out :], rows[:held_out], rows[held_out : 2 * held_out]])


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def smoothed(column: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """A column of numbers, each with noise uniform over one unit of its last recorded digit, centred on it."""
    unit = 10.0 ** last_digits(column)
    return np.array(column, float) + unit * (rng.random(len(column)) - 0.5)


def last_digits(column: Sequence[str]) -> np.ndarray:
    """The power of ten of each number's last recorded digit.

    Zeros at the end are not written, so the column tells: no number has more decimals or more digits than the one in it
    that has most.

    >>> last_digits(["0.25", "3", "12.5"]).tolist()
    [-2, -2, -1]
    """
    parts = [_recorded(cell).as_tuple() for cell in column]
    least = min(int(part.exponent) for part in parts)
    most = max(len(part.digits) for part in parts)
    return np.array([max(least, len(part.digits) + int(part.exponent) - most) for part in parts])


def _recorded(cell: str) -> Decimal:
    """A number in the digits that it is written with, but for zeros at the end of a fraction."""
    number = Decimal(cell)
    whole = "e" not in cell.lower() and number == number.to_integral_value()
    return number.quantize(Decimal(1)) if whole else number.normalize()


def moons() -> Rows:
    """Two half circles of radius 1 with normal noise, as in both peers' tutorials, drawn anew for each part."""
    rng = np.random.default_rng(SPLIT_SEED)
    parts = []
    for num_rows in MOONS:
        angle, upper = math.pi * rng.random(num_rows), rng.random(num_rows) < 0.5
        points = _moons(angle, upper)
        parts.append(points + MOONS_NOISE * rng.standard_normal(points.shape))
    return standardised("half moons", parts, moons_entropy())


def _moons(angle: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Points of the upper moon, around the origin, and of the lower one, around (1, 0.5)."""
    x, y = np.cos(angle), np.sin(angle)
    return np.stack([np.where(upper, x, 1 - x), np.where(upper, y, 0.5 - y)], 1)


def moons_density(points: np.ndarray, noise: float = MOONS_NOISE, num_angles: int = 1000) -> np.ndarray:
    """p(x) of the moons, the mean over both of the normal densities around their points: (N, 2) -> (N,)."""
    angle = np.tile(math.pi * (np.arange(num_angles) + 0.5) / num_angles, 2)
    centres = _moons(angle, np.arange(2 * num_angles) < num_angles)
    squares = (points**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * points @ centres.T
    return np.exp(-0.5 * squares / noise**2).mean(1) / (2 * math.pi * noise**2)


def moons_entropy(noise: float = MOONS_NOISE, step: float = 0.02) -> float:
    """-∫ p log p over a grid, in nats."""
    x, y = np.arange(-2, 3, step), np.arange(-1.5, 2, step)
    total = 0.0
    for each in x:
        density = moons_density(np.stack([np.full_like(y, each), y], 1), noise)
        positive = density[density > 0]
        total -= float((positive * np.log(positive)).sum()) * step**2
    return total
