"""Options as they are typed: names in a list, and remedies that can be typed as they stand."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Sequence
from typing import Any

from marginflow.base.data_error import Options
from marginflow.base.overrides import of_column

FLAGS = (
    "drop",
    "columns",
    "labels",
    "context",
    "weights",
    "delimiter",
    "keep",
)  # options that commands take by themselves
ASKS_FOR_A_SCHEMA = "--model mixed"


def names_in(text: str) -> list[str]:
    """The names in a list such as a,b or a,"b, c".

    >>> names_in('a,"b, c"')
    ['a', 'b, c']
    """
    return [name for row in csv.reader(io.StringIO(text, newline="")) for name in row]


def as_list(names: Sequence[str]) -> str:
    r"""Names in a list as `names_in` reads it.

    >>> as_list(["a", "b, c"])
    'a,"b, c"'
    """
    line = io.StringIO(newline="")
    csv.writer(line).writerow(names)  # quotes the characters that end a line, too
    return line.getvalue().removesuffix("\r\n")


def in_shell(options: Options) -> str:
    """Options of data as they are typed behind marginflow train; those of another training, under "train", with it.

    >>> print(in_shell({"delimiter": ";", "decimal": ","}))
    --delimiter ';' --set 'data.decimal=","'
    >>> print(in_shell({"train": {"drop": ["a", "b"]}}))
    marginflow train ... --drop a,b
    """
    return " ".join(_argument(name, value) for name, value in options.items())


def _argument(name: str, value: Any) -> str:
    if name == "schema":
        return " ".join(of_column(each, options) for each, options in value.items()) or ASKS_FOR_A_SCHEMA
    if name == "train":
        return f"marginflow train ... {in_shell(value)}"
    if name not in FLAGS:
        return f"--set {shlex.quote(override(name, value))}"
    text = as_list(value) if isinstance(value, list | tuple) else str(value)
    return f"--{name}={shlex.quote(text)}" if text.startswith("-") else f"--{name} {shlex.quote(text)}"


def override(name: str, value: object) -> str:
    """An option of data as --set takes it."""
    return f"data.{name}={json.dumps(value, ensure_ascii=False).replace(chr(127), chr(92) + 'u007f')}"
