"""Names that are not known, and the one that may be meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def hint_at(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """A question whether the closest of the known names is meant; where none is close `otherwise`, by default all.

    >>> hint_at("planer", ["planar", "radial"])
    'did you mean planar?'
    >>> hint_at("x", ["planar", "radial"])
    'there are planar, radial'
    """
    known = list(known)
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else otherwise or f"there are {', '.join(known)}"
