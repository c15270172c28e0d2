"""Units: nats and bits/dim, grey levels, and the grid of the noise that dequantises them."""

from __future__ import annotations

import math

GRID = 2**12  # steps of dequantisation noise a grey level: float32 holds level + u exactly
LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)


def bits_per_nat(features: int) -> float:
    """The factor from nats per row to bits/dim.

    Args:
        features: number of features D of a row.

    Returns:
        1 / (D log 2).

    Examples:
        >>> bits_per_nat(1)
        1.4426950408889634
    """
    return 1 / (features * math.log(2))


def log_volume_of_levels(features: int, levels: int) -> float:
    """Nats to add to the log density of rows scaled to [0, 1), which give that of their grey levels.

    Args:
        features: number of features D of a row.
        levels: number of grey levels.

    Returns:
        -D log levels, in nats.

    Examples:
        >>> log_volume_of_levels(1, 2)
        -0.6931471805599453
    """
    return -features * math.log(levels)
