"""Names in messages: those that are not known, the one that may be meant, and lists of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def hint_at(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """A question whether the closest of the known names is meant; where none is close `otherwise`, by default all.

    >>> hint_at("planer", ["planar", "radial"])
    'did you mean planar?'
    >>> hint_at("x", ["planar", "radial"])
    'there are planar, radial'
    """
    known = list(known)
    return did_you_mean(name, known).removeprefix("; ") or otherwise or f"there are {', '.join(known)}"


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The question alone, to stand behind what was got; empty where no known name is close.

    >>> did_you_mean("rellu", ["relu", "tanh"]), did_you_mean("x", ["relu", "tanh"])
    ('; did you mean relu?', '')
    """
    close = get_close_matches(name, list(known), 1, cutoff)
    return f"; did you mean {close[0]}?" if close else ""


def listed(names: Sequence[str]) -> str:
    """Names for a message, not too many of them."""
    shown = ", ".join(repr(name) for name in list(names)[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
