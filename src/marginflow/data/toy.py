"""Toy densities in two dimensions, drawn as needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from marginflow.base.arguments import as_whole
from marginflow.base.seeds import require_seed
from marginflow.base.settings import as_real
from marginflow.data.dataset import DataSet, Split

HALF_MOONS_ENTROPY = 0.287  # nats, at noise 0.05 in raw coordinates
HALF_MOONS_ENTROPY_ERROR = 0.010
NORMAL_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)  # of N(0, 1)
CHI_SQUARE_ENTROPY = 0.783757  # of the square of N(0, 1): 1/2 + log 2 Gamma(1/2) + 1/2 digamma(1/2)

Draw = Callable[[np.random.Generator, int], np.ndarray]


def half_moons(
    num_train: int = 25_000,
    num_validation: int = 5_000,
    num_test: int = 10_000,
    noise: float = 0.05,
    copies: int = 1,
    seed: int = 0,
) -> DataSet:
    """Two interleaving half circles with normal noise, in raw coordinates: x (N, 2).

    Training, validation and test rows are separate draws, from three seeds derived from `seed`.
    Their entropy at noise 0.05 is 0.287 +- 0.010 nats: no density averages a lower negative log-likelihood.

    Args:
        num_train: training rows.
        num_validation: validation rows.
        num_test: test rows.
        noise: standard deviation of the normal noise.
        copies: how many independent points stand side by side in a row, x (N, 2 copies); their entropies add up.
        seed: of all draws.

    Returns:
        A `DataSet`, whose entropy is known at noise 0.05.

    Raises:
        ValueError: for a split of fewer than 2 rows, negative noise, copies < 1, or a seed out of range.

    Examples:
        >>> half_moons(num_train=100).train.x.shape
        torch.Size([100, 2])
    """
    noise, copies, seed = _as_noise(noise), as_whole(copies, "copies", least=1), require_seed(seed)
    rng = np.random.RandomState(seed)

    def draw(num_rows: int, part: int) -> np.ndarray:
        from sklearn.datasets import make_moons

        seeds = [3 * seed + part, *rng.randint(2**32, size=copies - 1, dtype=np.uint32)]
        return np.concatenate([make_moons(num_rows, noise=noise, random_state=each)[0] for each in seeds], 1)

    entropy = copies * HALF_MOONS_ENTROPY if noise == 0.05 else None
    return _splits("half_moons", draw, (num_train, num_validation, num_test), entropy)


def checkerboard(
    num_train: int = 25_000, num_validation: int = 5_000, num_test: int = 10_000, seed: int = 0
) -> DataSet:
    """Uniform on the eight black squares of a 4 x 4 board over [-4, 4]^2: x (N, 2), entropy log 32 nats.

    Args:
        num_train: training rows.
        num_validation: validation rows.
        num_test: test rows.
        seed: of all draws.

    Returns:
        A `DataSet`, whose entropy is known.

    Raises:
        ValueError: for a split of fewer than 2 rows, or a seed out of range.

    Examples:
        >>> round(checkerboard().entropy, 4)
        3.4657
    """

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        column, row = rng.integers(4, size=n), rng.integers(2, size=n)
        corner = np.stack([column, 2 * row + column % 2], 1)
        return 2 * (corner + rng.random((n, 2))) - 4

    return _drawn("checkerboard", draw, (num_train, num_validation, num_test), seed, math.log(32))


def eight_gaussians(
    num_train: int = 25_000, num_validation: int = 5_000, num_test: int = 10_000, noise: float = 0.2, seed: int = 0
) -> DataSet:
    """Eight normal distributions on a circle of radius 2, each of deviation `noise`: x (N, 2).

    They hardly overlap where noise <= 0.2: the entropy is then log 8 + log(2 pi e noise^2) to 0.001 nats, and known.

    Args:
        num_train: training rows.
        num_validation: validation rows.
        num_test: test rows.
        noise: standard deviation of each normal distribution, at least 1e-6.
        seed: of all draws.

    Returns:
        A `DataSet`, whose entropy is known where noise <= 0.2.

    Raises:
        ValueError: for a split of fewer than 2 rows, noise below 1e-6, or a seed out of range.

    Examples:
        >>> round(eight_gaussians().entropy, 3)
        1.698
    """
    noise = _as_noise(noise, least=1e-6)

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        angle = rng.integers(8, size=n) * (math.pi / 4)
        return 2 * np.stack([np.cos(angle), np.sin(angle)], 1) + noise * rng.standard_normal((n, 2))

    entropy = math.log(8) + 2 * (NORMAL_ENTROPY + math.log(noise)) if noise <= 0.2 else None
    return _drawn("eight_gaussians", draw, (num_train, num_validation, num_test), seed, entropy)


def pinwheel(num_train: int = 25_000, num_validation: int = 5_000, num_test: int = 10_000, seed: int = 0) -> DataSet:
    """Five arms, each a normal distribution bent around the origin: x (N, 2).

    An arm is 2 (1 + 0.3 a, 0.1 b), a and b ~ N(0, 1), turned by its own angle and by exp(1 + 0.3 a) / 4.

    Args:
        num_train: training rows.
        num_validation: validation rows.
        num_test: test rows.
        seed: of all draws.

    Returns:
        A `DataSet`, whose entropy is not known.

    Raises:
        ValueError: for a split of fewer than 2 rows, or a seed out of range.

    References:
        Johnson, Duvenaud, Wiltschko, Datta and Adams, Composing graphical models with neural networks for structured
            representations and fast inference, 2016 (arXiv 1603.06277).

    Examples:
        >>> pinwheel(num_test=100).test.x.shape
        torch.Size([100, 2])
    """

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        along, across = 1 + 0.3 * rng.standard_normal(n), 0.1 * rng.standard_normal(n)
        angle = rng.integers(5, size=n) * (2 * math.pi / 5) + np.exp(along) / 4
        cos, sin = np.cos(angle), np.sin(angle)
        return 2 * np.stack([along * cos - across * sin, along * sin + across * cos], 1)

    return _drawn("pinwheel", draw, (num_train, num_validation, num_test), seed, None)


def spirals(
    num_train: int = 25_000, num_validation: int = 5_000, num_test: int = 10_000, noise: float = 0.1, seed: int = 0
) -> DataSet:
    """Two spirals of one and a half turns, with normal noise: x (N, 2).

    A point is r (cos r, sin r) / 3 or its negative, r = 3 pi sqrt(u), u ~ U(0, 1), plus noise.

    Args:
        num_train: training rows.
        num_validation: validation rows.
        num_test: test rows.
        noise: standard deviation of the normal noise.
        seed: of all draws.

    Returns:
        A `DataSet`, whose entropy is not known.

    Raises:
        ValueError: for a split of fewer than 2 rows, negative noise, or a seed out of range.

    Examples:
        >>> spirals(num_test=100).test.x.shape
        torch.Size([100, 2])
    """
    noise = _as_noise(noise)

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        r = 3 * math.pi * np.sqrt(rng.random(n))
        sign = 2 * rng.integers(2, size=n) - 1
        arm = sign * r / 3
        return np.stack([arm * np.cos(r), arm * np.sin(r)], 1) + noise * rng.standard_normal((n, 2))

    return _drawn("spirals", draw, (num_train, num_validation, num_test), seed, None)


def two_to_one(
    num_train: int = 25_000, num_validation: int = 5_000, num_test: int = 10_000, noise: float = 0.1, seed: int = 0
) -> DataSet:
    """The square of a standard normal variable beside its sign: x = (y^2, sign y + noise), y ~ N(0, 1).

    The example that motivates marginalising flows: y^2 forgets the sign, which a second dimension keeps. The entropy
    is known where the two signs do not overlap, noise <= 0.1: that of y^2, log 2, and that of the noise.

    Args:
        num_train: training rows.
        num_validation: validation rows.
        num_test: test rows.
        noise: standard deviation of the normal noise beside the sign, at least 1e-6.
        seed: of all draws.

    Returns:
        A `DataSet`, whose entropy is known where noise <= 0.1.

    Raises:
        ValueError: for a split of fewer than 2 rows, noise below 1e-6, or a seed out of range.

    References:
        I. Lee, Masked Autoregressive Flows with a Marginalising Flow Framework, 2020, section III.B.

    Examples:
        >>> round(two_to_one().entropy, 4)
        0.5933
    """
    noise = _as_noise(noise, least=1e-6)

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        y = rng.standard_normal(n)
        return np.stack([y**2, np.sign(y) + noise * rng.standard_normal(n)], 1)

    entropy = CHI_SQUARE_ENTROPY + math.log(2) + NORMAL_ENTROPY + math.log(noise) if noise <= 0.1 else None
    return _drawn("two_to_one", draw, (num_train, num_validation, num_test), seed, entropy)


def _as_noise(noise: float, least: float = 0.0) -> float:
    expected = f"be finite and at least {least}" if least else "not be negative, and be finite"
    return as_real(noise, "noise", lambda deviation: least <= deviation < math.inf, expected)


def _drawn(name: str, draw: Draw, sizes: tuple[int, int, int], seed: int, entropy: float | None) -> DataSet:
    """Three separate draws, each from a generator of its own."""
    seed = require_seed(seed)
    return _splits(name, lambda n, part: draw(np.random.default_rng([seed, part]), n), sizes, entropy)


def _splits(name: str, draw: Callable[[int, int], np.ndarray], sizes: Sequence[int], entropy: float | None) -> DataSet:
    """The splits that `draw`, given a number of rows and of the split, makes."""
    names = ("num_train", "num_validation", "num_test")
    sizes = [as_whole(size, name) for size, name in zip(sizes, names, strict=True)]
    if min(sizes) < 2:
        raise ValueError(
            "each split needs at least 2 rows; got num_train={}, num_validation={}, num_test={}".format(*sizes)
        )
    dtype = torch.get_default_dtype()
    train, validation, test = (Split(torch.from_numpy(draw(size, part)).to(dtype)) for part, size in enumerate(sizes))
    return DataSet(name, train, validation, test, entropy=entropy)
