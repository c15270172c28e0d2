"""The error of a table that cannot be used: all that is wrong, and the options that leave it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Options = Mapping[str, Any]


class DataError(ValueError):
    """All that is wrong with data, line by line, and what mends it, as options of the function that reads them.

    The command line writes the same options in its own form.

    Args:
        lines: what is wrong; one, or a heading and a line for each problem.
        remedies: pairs of words and options, such as ("leave it out", {"drop": ["a"]}).
    """

    def __init__(self, lines: Sequence[str], remedies: Sequence[tuple[str, Options]] = ()) -> None:
        super().__init__(lines, remedies)
        self.lines, self.remedies = tuple(lines), tuple(remedies)

    def told(self, options_as_typed: Callable[[Options], str]) -> str:
        """The message, its options written by a function."""
        remedies = [f"{words}: {options_as_typed(options)}" for words, options in self.remedies]
        if len(self.lines) == 1:
            return ": ".join([*self.lines, *(["; ".join(remedies)] if remedies else [])])
        return "\n".join([*self.lines, *remedies])

    def without_remedies(self) -> DataError:
        """The same, where the options are no longer free."""
        return DataError(self.lines)

    def __str__(self) -> str:
        return self.told(in_python)


def in_python(options: Options) -> str:
    """Options as the arguments of a call; those of a training, under "train", as of its own.

    >>> in_python({"drop": ["a"], "decimal": ","}), in_python({"train": {"drop": ["a"]}})
    ("drop=['a'], decimal=','", "drop=['a']")
    """
    return ", ".join(in_python(value) if name == "train" else f"{name}={value!r}" for name, value in options.items())
