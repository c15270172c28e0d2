"""Text from outside, such as the name of a column or a file, as it may be shown."""

from __future__ import annotations

import unicodedata


def literal(text: object) -> str:
    r"""Text in one line, in which what a terminal would obey is written out: control characters and line breaks.

    Args:
        text: anything; its `str` is taken.

    Returns:
        Printable characters only, with an escape as Python writes it in the place of each other one.

    Examples:
        >>> print(literal("a\x1b[31m red\n line"))
        a\x1b[31m red\n line
    """
    return "".join(_shown(each) for each in str(text))


def escaped(char: str) -> str:
    r"""A character as Python would write it in ASCII.

    Args:
        char: one character.

    Returns:
        Its escape, or itself where it needs none.

    Examples:
        >>> print(escaped("é"))
        \xe9
    """
    return char.encode("unicode_escape").decode("ascii")


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    return " " if unicodedata.category(char) == "Zs" else escaped(char)
