"""Class labels in any form, by name or by number: which of a model's they are, and the one-hot vectors it takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marginflow.base.arguments import Values, as_tensor, is_text
from marginflow.base.names import hint_at, listed
from marginflow.base.surroundings import values_are_visible

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_TRUTH = {"true": 1.0, "false": 0.0}


def as_one_hot(labels: Values, names: Sequence[str], num_rows: int | None) -> Values:
    """Labels as one-hot vectors (N, C); what is no label, as one-hot vectors are, as it is.

    Args:
        labels: one for all rows, or one for each: names, or whole numbers, also in a float array. A number is the name
            of a class where some name is a whole number, otherwise its place among the names, counted from 0.
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
    return torch.tensor(
        [require_place(each, names, "label ") for each in given.reshape(-1)], device="cpu", dtype=torch.long
    )


def _places_of_numbers(labels: Any, names: Sequence[str], num_rows: int | None) -> Tensor | None:
    """Of whole numbers (N,), or of one; None where they are real, more than one a row, or a one-hot vector."""
    given = as_tensor(labels, "context")
    if given.ndim > 1 or (given.is_floating_point() and not _holds_whole_numbers(given)):
        return None
    numbers = [int(each) if isinstance(each, float) else each for each in given.reshape(-1).tolist()]
    are_truths = given.dtype == torch.bool and any(name.strip().casefold() in _TRUTH for name in names)
    if given.ndim and not are_truths and sorted(numbers) == [0] * (len(names) - 1) + [1]:
        if num_rows != len(names) or num_rows == 1 or given.is_floating_point():
            return None
        raise ValueError(
            f"{numbers} may be labels of {num_rows} rows, or one one-hot vector for all: give model.one_hot(labels), "
            "names, or real numbers"
        )
    if given.dtype == torch.bool or any(_is_whole(name) for name in names):
        places = [require_place(each, names, "label ") for each in numbers]
    else:
        wrong = [each for each in numbers if not 0 <= each < len(names)]
        if wrong:
            raise ValueError(
                f"labels must lie in 0 ... {len(names) - 1}; got {wrong[0]}: the classes are {', '.join(names)}"
            )
        places = [int(each) for each in numbers]
    return torch.tensor(places, device=given.device, dtype=torch.long)


def _holds_whole_numbers(given: Tensor) -> bool:
    """Whether real numbers are all whole, as labels are that a float array holds; False where they cannot be seen."""
    return values_are_visible(given) and bool((given.isfinite() & (given == given.round())).all())


def require_one_hot(context: Tensor, names: Sequence[str]) -> None:
    """Refuse a context of labels, (N, C), that is no one-hot vector in a row: ValueError. It looks at visible values.

    >>> require_one_hot(torch.tensor([[0.0, 1.0]]), ["cat", "dog"])
    """
    if not values_are_visible(context):
        return
    each = context.flatten(2) if context.ndim > 2 else context[:, :, None]
    wrong = (((each != 0) & (each != 1)).any(1) | (each.sum(1) != 1)).any(1)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        entries = context[row].flatten().tolist()
        found = f"[{', '.join(f'{entry:.3g}' for entry in entries[:5])}{', ...' if len(entries) > 5 else ''}]"
        raise ValueError(
            f"labels are one-hot vectors, one 1 and else 0; got {found} in row {row} (counted from 0): give the labels "
            f"themselves, of {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
        )


def _is_whole(name: str) -> bool:
    return name.removeprefix("-").isdecimal()


def place_of(value: object, labels: Sequence[str]) -> int | None:
    """Which of a model's labels a value is, written in any form; None where it is none of them.

    >>> place_of("1.0", ["0", "1"]), place_of(True, ["False", "True"]), place_of("c", ["a", "b"])
    (1, 1, None)
    """
    text = str(value)
    if text in labels:
        return labels.index(text)
    same = _sense(text)
    found = [i for i, label in enumerate(labels) if _sense(label) == same]
    return found[0] if len(found) == 1 else None


def _sense(text: str) -> float | str:
    """What a label says: a number, however it is written, a truth value as 1 or 0, or its text."""
    bare = text.strip()
    if bare.casefold() in _TRUTH:
        return _TRUTH[bare.casefold()]
    return float(bare) if _NUMBER.fullmatch(bare) else bare


def require_place(value: object, labels: Sequence[str], source: str) -> int:
    """Which of a model's labels a value is; ValueError that hints at the one that may be meant."""
    place = place_of(value, labels)
    if place is None:
        raise ValueError(unknown([str(value)], labels, source))
    return place


def unknown(values: Sequence[str], labels: Sequence[str], source: str) -> str:
    """The message of labels that a model does not know."""
    every = f"it knows {', '.join(repr(each) for each in labels[:20])}{', ...' if len(labels) > 20 else ''}"
    hint = every if isinstance(_sense(values[0]), float) else hint_at(values[0], labels, every)
    return f"{source}{listed(values)}, which the model does not know; {every if hint == every else f'{hint} {every}'}"
