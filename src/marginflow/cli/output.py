"""Output that any terminal can print: what its encoding lacks is written in ASCII, and nothing is lost."""

from __future__ import annotations

import codecs
import io
import sys

_NAME = "marginflow.readable"
# marks that our own words use, and those that tables and progress bars are drawn with; all else is told by its number
_IN_ASCII = {
    "\u00b1": "+/-", "\u00d7": "x", "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u2026": "...", "\u00b7": "*",
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2022": "*", "\u2192": "->", "\u2190": "<-",
    "\u2264": "<=", "\u2265": ">=", "\u2248": "~", "\u221a": "sqrt", "\u221e": "inf", "\u00b2": "^2", "\u00b3": "^3",
    "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u03b5": "eps", "\u03b1": "alpha", "\u03bc": "mu", "\u00b5": "u",
    "\u03c3": "sigma", "\u2713": "ok", "\u2714": "ok", "\u2717": "x", "\u2718": "x",
}  # fmt: skip
_BOX = range(0x2500, 0x25A0)  # lines, and blocks of bars
_ACROSS = "\u2500\u2501\u2504\u2505\u2508\u2509\u254c\u254d\u2550\u2574\u2576\u2578\u257a\u257c\u257e"
_DOWN = "\u2502\u2503\u2506\u2507\u250a\u250b\u254e\u254f\u2551\u2575\u2577\u2579\u257b\u257d\u257f"
_BRAILLE = range(0x2800, 0x2900)  # of spinners


def readable(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that cannot be encoded, as `codecs.register_error` asks for it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    number = ord(character)
    if character in _IN_ASCII:
        return _IN_ASCII[character]
    if number in _BOX:
        return "-" if character in _ACROSS else "|" if character in _DOWN else "#" if number >= 0x2580 else "+"
    if number in _BRAILLE:
        return "*"
    return character.encode("ascii", "backslashreplace").decode()


def print_anywhere() -> None:
    """Let the standard streams write what they cannot encode in ASCII, rather than end the command."""
    codecs.register_error(_NAME, readable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_NAME)


def say(text: object, *, err: bool = False) -> None:
    """Write a line to the standard output, or to the standard error, as `print_anywhere` has prepared them."""
    print(text, file=sys.stderr if err else sys.stdout, flush=True)
