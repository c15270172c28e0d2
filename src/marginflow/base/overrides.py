"""Settings as they are typed behind --set: SECTION.KEY=VALUE, and schema.COLUMN.OPTION=VALUE of any column."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Mapping
from typing import Any

_PLAIN = re.compile(r"[^\s\"'\\=](?:[^\"'\\=]*[^\s\"'\\=])?")  # a name that is itself
_QUOTED = re.compile(r"""\s*schema\s*\.\s*("(?:[^"\\]|\\.)*"|'[^']*')\s*\.\s*([^."'=]+?)\s*=(.*)""", re.DOTALL)


def of_column(name: str, options: Mapping[str, Any]) -> str:
    r"""Options of a column as they are typed behind a command, whatever its name.

    >>> print(of_column("age", {"kind": "integer"}), of_column("shop name", {"atoms": []}))
    --set schema.age.kind=integer --set 'schema.shop name.atoms=[]'
    >>> print(of_column('a "b" = c', {"format": "%d/%m/%Y"}))
    --set 'schema."a \"b\" = c".format=%d/%m/%Y'
    """
    return " ".join(
        f"--set {shlex.quote(f'schema.{_name(name)}.{key}={typed(each)}')}" for key, each in options.items()
    )


def typed(value: Any) -> str:
    """A value as TOML has it; text that is no other value without quotation marks.

    >>> typed(True), typed("real"), typed("12"), typed(["a", 2.5])
    ('true', 'real', '"12"', '["a", 2.5]')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value if value == value.strip() and value.isprintable() and not _is_toml(value) else quoted(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(quoted(each) if isinstance(each, str) else typed(each) for each in value)}]"
    return str(value)


def quoted(text: str) -> str:
    r"""Text in the quotation marks of TOML, all of it printable.

    >>> print(quoted('a "b"\n'))
    "a \"b\"\u000a"
    """
    return f'"{"".join(_escaped(each) for each in text)}"'


def column_option(override: str) -> tuple[str, str, str] | None:
    """Column, option and value of an override whose column stands in quotation marks; None for any other.

    >>> column_option("schema.'a=b'.kind=real"), column_option("train.lr=1")
    (('a=b', 'kind', 'real'), None)
    """
    found = _QUOTED.fullmatch(override)
    if found is None:
        return None
    try:
        return tomllib.loads(f"name = {found[1]}")["name"], found[2], found[3]
    except tomllib.TOMLDecodeError:
        return found[1][1:-1], found[2], found[3]


def _name(name: str) -> str:
    return name if _PLAIN.fullmatch(name) and name.isprintable() else quoted(name)


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    return char if char.isprintable() else f"\\u{ord(char):04x}" if ord(char) < 2**16 else f"\\U{ord(char):08x}"


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return False
    return True
