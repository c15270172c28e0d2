"""Numbers as tables and pages show them."""

from __future__ import annotations

import math

NONE = "-"
LARGE = 1e7  # from here on with an exponent
MOST_DIGITS = 9


def number(value: float, digits: int = 3) -> str:
    """A number with so many decimals, in words where it is none.

    >>> number(2.0), number(1.5e13), number(math.nan), number(-math.inf)
    ('2.000', '1.500e+13', 'undefined', '-infinity')
    """
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    if abs(value) >= LARGE:
        return f"{value:.{digits}e}"
    return f"{round(value, digits) + 0.0:.{digits}f}"  # never -0.000


def with_error(value: float, error: float, digits: int = 3) -> str:
    """A mean and its standard error with the same decimals, as many more as an error below them needs.

    >>> with_error(1.23456, 0.01), with_error(1.23456, 0.00002), with_error(1.0, math.nan)
    ('1.235 ± 0.010', '1.23456 ± 0.00002', '1.000 ± unknown')
    """
    if not math.isfinite(value):
        return number(value)
    if math.isnan(error):
        return f"{number(value, digits)} ± unknown"
    if 0 < error < 0.5 * 10**-digits:
        digits = min(MOST_DIGITS, -math.floor(math.log10(error)))
    return f"{number(value, digits)} ± {number(error, digits)}"
