"""Remedies that are typed behind a command, as the arguments of an estimator."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from marginflow.base.data_error import DataError
from marginflow.base.data_warning import reworded
from marginflow.runs.read_toml import overridden

_OPTION = r"--set (?:'(?:[^']|'\"'\"')*'|[^\s,;]+)"
_TYPED = re.compile(f"{_OPTION}(?: {_OPTION})*")


def in_python(message: str) -> str:
    """A message in which options of columns are arguments.

    >>> in_python("to use it give --set schema.id.kind=integer, or drop it")
    "to use it give schema={'id': {'kind': 'integer'}}, or drop it"
    >>> in_python("give --set schema.id.kind=integer --set schema.day.blank=true")
    "give schema={'id': {'kind': 'integer'}, 'day': {'blank': True}}"
    """
    return _TYPED.sub(_argument, message)


def _argument(found: re.Match[str]) -> str:
    overrides = shlex.split(found[0])[1::2]
    return ", ".join(f"{name}={value!r}" for name, value in overridden({}, overrides).items())


@contextmanager
def told_in_python(stacklevel: int) -> Iterator[None]:
    """Inside, warnings and what is wrong with data are told in the words of Python.

    stacklevel: of the warnings, from inside the function that is called with it.
    """
    with warnings.catch_warnings(record=True) as caught:
        try:
            yield
        except DataError as error:
            lines = [in_python(line) for line in error.lines]
            raise DataError(lines, error.remedies).with_traceback(error.__traceback__) from None
        finally:
            told = list(caught)
    for each in told:
        warnings.warn(reworded(each.message, in_python), each.category, stacklevel=stacklevel + 2)
