"""The warnings that the command line shows as a line each, before torch is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from marginflow.base.data_error import Options, in_python


class DataWarning(UserWarning):
    """Something odd about data that may still be meant, and what mends it, as options of what reads the data.

    The command line writes the same options in its own form.

    Args:
        line: what is odd.
        remedies: pairs of words and options, such as ("leave it out", {"drop": ["a"]}).

    Examples:
        >>> print(DataWarning("column 'a' counts the rows", [("leave it out", {"drop": ["a"]})]))
        column 'a' counts the rows; leave it out: drop=['a']
    """

    def __init__(self, line: str = "", remedies: Sequence[tuple[str, Options]] = ()) -> None:
        super().__init__(line, remedies)
        self.line, self.remedies = line, tuple(remedies)

    def told(self, options_as_typed: Callable[[Options], str]) -> str:
        """The message, its options written by a function."""
        return "; ".join([self.line, *(f"{words}: {options_as_typed(each)}" for words, each in self.remedies)])

    def __str__(self) -> str:
        return self.told(in_python)


class LeftOut(DataWarning):
    """Columns that are left out for what they are; nothing is wrong with them."""


class TrainingWarning(RuntimeWarning):
    """A training that will go wrong, or has."""


def reworded(message: Warning | str, change: Callable[[str], str]) -> Warning | str:
    """A warning whose words are changed, and whose remedies are kept.

    >>> print(reworded(DataWarning("a line is odd", [("skip it", {"skip": 1})]), str.upper))
    A LINE IS ODD; skip it: skip=1
    """
    if isinstance(message, DataWarning):
        return type(message)(change(message.line), message.remedies)
    return type(message)(change(str(message)))
