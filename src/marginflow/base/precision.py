"""A warning of rows whose digits a less precise type cannot hold."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from marginflow.base.data_warning import DataWarning
from marginflow.base.surroundings import values_are_visible

HELD = 1e-3  # rounding that moves a column by less than this share of its standard deviation loses nothing


def warn_of_lost_digits(
    x: Tensor, dtype: torch.dtype, remedy: str, *, names: Sequence[str] = (), what: str = "x", stacklevel: int = 2
) -> None:
    """Warn of columns that a less precise type cannot hold: where rounding moves values by 1e-3 of their deviation.

    A `DataWarning` names the columns. Rows that are whole, as precise as the type, or not to be looked at are not.

    Args:
        x: rows (N, D), before they are converted.
        dtype: what they become.
        remedy: what to do, in the words of the caller.
        names: of the columns, by default their numbers.
        what: what messages call the rows.
        stacklevel: of the warning, as `warnings.warn` takes it.

    Examples:
        >>> x = torch.tensor([[1e9], [1e9 + 1]], dtype=torch.float64)
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn_of_lost_digits(x, torch.float32, "subtract an offset")
        >>> len(caught)
        1
    """
    if x.dtype != torch.float64 or dtype == torch.float64 or len(x) < 2 or not values_are_visible(x):
        return
    rows = x.detach().flatten(1)
    rounding = (rows.to(dtype).double() - rows).abs().amax(0)
    held = max(HELD, 8 * torch.finfo(dtype).eps)  # bfloat16 has no more digits for any row
    lost = (rounding > held * rows.std(0)) & (rows.amin(0) < rows.amax(0))
    for i in lost.nonzero().flatten().tolist()[:1]:
        size, spread = float(rows[:, i].abs().max()), float(rows[:, i].std())
        others = int(lost.sum()) - 1
        more = f", as {others} more do{'es' if others == 1 else ''}" if others else ""
        warnings.warn(
            f"column {repr(names[i]) if names else i} of {what} varies little beside its size (by about {spread:.1g} "
            f"at {size:.1g}){more}: {str(dtype).removeprefix('torch.')} cannot hold that, and digits are lost: "
            f"{remedy}",
            DataWarning,
            stacklevel=stacklevel + 1,
        )
