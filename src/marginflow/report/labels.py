"""Text in figures: names as they stand, none of them cut, no glyph missing.

Names of columns, runs and classes come from outside. matplotlib would read `$` as the start of a formula, draw a box
for a character that its font lacks, and let a long title run out of the figure.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager, get_font
from matplotlib.ft2font import FT2Font

from marginflow.base.literal import escaped, literal

FAMILY = "DejaVu Sans"  # comes with matplotlib
INK = "black"
BENEATH = -0.16  # of a panel, under the name of its axis
POINTS_AN_INCH = 72
LARGE = 100  # size in points
ELLIPSIS = "…"
LONGEST = 400  # characters that are looked at


def plain(text: str, inches: float, points: float, lines: int = 2) -> tuple[str, dict[str, Any]]:
    """Text that fits into a width, and the options with which matplotlib takes it word for word.

    It is broken into some lines; what does not fit then is left out in the middle. A character that no installed font
    has is written out as an escape.

    Args:
        text: from anywhere.
        inches: how wide it may be.
        points: size of the font.
        lines: how many at most.
    """
    text = literal(text)
    if len(text) > LONGEST:
        text = text[: LONGEST // 2] + ELLIPSIS + text[-LONGEST // 2 :]
    shown = "".join(each if _family(each) else escaped(each) for each in text)
    families = dict.fromkeys([FAMILY, *(_family(each) or FAMILY for each in shown)])
    options = {"parse_math": False, "usetex": False, "fontsize": points, "fontfamily": list(families), "color": INK}
    return "\n".join(_broken(shown, inches * POINTS_AN_INCH / points, lines)), options


def title(axes: Axes, text: str, points: float, more: str = "") -> None:
    """A title over a panel, as wide as the panel is at least; `more` is a line of its own beneath."""
    inches = width_of(axes)
    shown, options = plain(text, inches, points)
    if more:
        shown = f"{shown}\n{plain(more, inches, points)[0]}".lstrip("\n")
    axes.set_title(shown, **options)


def width_of(axes: Axes) -> float:
    """How wide a panel is with the space about it, in inches."""
    figure, place = axes.get_figure(root=True), axes.get_subplotspec()
    assert figure is not None
    return 0.94 * figure.get_figwidth() / (1 if place is None else place.get_gridspec().ncols)


def heading(figure: Figure, text: str, points: float = 9) -> None:
    """A title over a whole figure."""
    shown, options = plain(text, 0.95 * figure.get_figwidth(), points, lines=4)
    figure.suptitle(shown, **options)


def axis_names(axes: Axes, x: str, y: str, points: float = 8) -> None:
    """What the two axes of a panel are called."""
    for text, put, inches in ((x, axes.set_xlabel, 3.0), (y, axes.set_ylabel, 2.4)):
        shown, options = plain(text, inches, points)
        put(shown, **options)


def legend(figure: Figure, axes: Axes, points: float = 8) -> None:
    """The legend of a panel beneath all panels, where it covers nothing: black on white."""
    handles, names = axes.get_legend_handles_labels()
    look: dict[str, Any] = {"ncols": len(names), "fontsize": points, "frameon": False, "labelcolor": INK}
    if len(figure.axes) == 1:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, BENEATH), **look)
    else:
        figure.legend(handles, names, loc="outside lower center", **look)


def _broken(text: str, ems: float, lines: int) -> list[str]:
    """Text in lines of a width, at spaces where there are some in reach."""
    done: list[str] = []
    while text and len(done) < lines - 1 and _width(text) > ems:
        fits = next(i for i in range(len(text), 0, -1) if i == 1 or _width(text[:i]) <= ems)
        space = text.rfind(" ", fits // 2, fits + 1)
        end = fits if space < 0 else space
        done.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return [*done, _shortened(text, ems)]


def _shortened(text: str, ems: float) -> str:
    """Text without its middle, as much of it as has to go."""
    if _width(text) <= ems:
        return text
    kept = len(text)
    while kept > 1 and _width(text[: kept - kept // 2] + ELLIPSIS + text[len(text) - kept // 2 :]) > ems:
        kept -= 1
    return text[: kept - kept // 2] + ELLIPSIS + text[len(text) - kept // 2 :]


def _width(text: str) -> float:
    """How wide text is, in sizes of its font."""
    return sum(_advance(each) for each in text)


@cache
def _advance(char: str) -> float:
    if unicodedata.combining(char):
        return 0.0
    if _family(char) != FAMILY:  # full width, at most
        return 1.0
    return _default().load_char(ord(char)).horiAdvance / 64 / LARGE


@cache
def _default() -> FT2Font:
    """The font of figures, large enough that widths are not rounded."""
    font = FT2Font(findfont(FontProperties(family=FAMILY)))
    font.set_size(LARGE, POINTS_AN_INCH)
    return font


@cache
def _family(char: str) -> str | None:
    """The family of an installed font that has a character; None where none has."""
    if _default().get_char_index(ord(char)):
        return FAMILY
    return next((each.name for each in fontManager.ttflist if _is_plain(each) and _has(each, char)), None)


def _is_plain(entry: FontEntry) -> bool:
    """Whether a font is upright and regular, and draws characters, not boxes in their place."""
    regular = entry.style == "normal" and entry.weight in (400, "normal", "regular")
    return regular and not entry.name.startswith("Last Resort")


def _has(entry: FontEntry, char: str) -> bool:
    try:
        font = get_font(Path(entry.fname))
        return bool(font.scalable) and bool(font.get_char_index(ord(char)))
    except (OSError, RuntimeError):  # a font that cannot be read, or of bitmaps
        return False
