"""Class labels as a caller has them, by name or by number, as the one-hot vectors that a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marginflow.base.arguments import Values, as_tensor, is_text
from marginflow.base.names import did_you_mean


def as_one_hot(labels: Values, names: Sequence[str], num_rows: int | None) -> Values:
    """Labels as one-hot vectors (N, C); what is no label, as one-hot vectors are, as it is.

    Args:
        labels: one for all rows, or one for each: names, or whole numbers. A number is the name of a class where some
            name is a whole number, otherwise the place of the class among the names, counted from 0.
        names: of the C classes.
        num_rows: number of rows N; None takes as many as there are.

    Returns:
        The one-hot vectors, (1, C) or (N, C), in torch's default precision.

    Raises:
        ValueError: where there is no such class, there are labels for another number of rows, or it cannot be told
            whether C numbers are labels or a one-hot vector.

    Examples:
        >>> as_one_hot(["dog", "cat"], ["cat", "dog"], 2)
        tensor([[0., 1.],
                [1., 0.]])
    """
    places = _places_of_names(labels, names) if is_text(labels) else _places_of_numbers(labels, names, num_rows)
    if places is None:
        return labels
    if num_rows is not None and len(places) not in (1, num_rows):
        raise ValueError(f"labels must be one for all {num_rows} rows, or one for each; got {len(places)}")
    return torch.eye(len(names), device=places.device)[places]


def _places_of_names(labels: Any, names: Sequence[str]) -> Tensor:
    given = np.asarray(labels)
    if given.ndim > 1:
        raise ValueError(f"labels must be one a row, (N,); got shape {given.shape}")
    return torch.tensor([_place(str(each), names) for each in given.reshape(-1)], device="cpu", dtype=torch.long)


def _places_of_numbers(labels: Any, names: Sequence[str], num_rows: int | None) -> Tensor | None:
    """Of whole numbers (N,), or of one; None where they are real, more than one a row, or a one-hot vector."""
    given = as_tensor(labels, "context")
    if given.is_floating_point() or given.ndim > 1:
        return None
    numbers = given.reshape(-1).tolist()
    if given.ndim and given.dtype != torch.bool and sorted(numbers) == [0] * (len(names) - 1) + [1]:
        if num_rows != len(names) or num_rows == 1:
            return None
        raise ValueError(
            f"{numbers} may be labels of {num_rows} rows, or one one-hot vector for all: give model.one_hot(labels), "
            "names, or real numbers"
        )
    if given.dtype == torch.bool or any(_is_whole(name) for name in names):
        places = [_place(str(each), names) for each in numbers]
    else:
        wrong = [each for each in numbers if not 0 <= each < len(names)]
        if wrong:
            raise ValueError(
                f"labels must lie in 0 ... {len(names) - 1}; got {wrong[0]}: the classes are {', '.join(names)}"
            )
        places = [int(each) for each in numbers]
    return torch.tensor(places, device=given.device, dtype=torch.long)


def _place(name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise ValueError(f"label {name!r} is not one of the model's: {', '.join(names)}{did_you_mean(name, names)}")
    return list(names).index(name)


def _is_whole(name: str) -> bool:
    return name.removeprefix("-").isdecimal()
