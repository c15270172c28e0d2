"""Configurations: settings that are checked when they are given, and mistakes in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from torch import Tensor

from marginflow.base.arguments import shown
from marginflow.base.names import did_you_mean


class _InWords(type(BaseModel)):
    """Lets a call that builds a configuration refuse mistakes by a ValueError in words, all of them at once."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if args:
            raise ValueError(
                f"{cls.__name__} takes settings by name, such as {cls.__name__}("
                f"{next(iter(getattr(cls, 'model_fields', {})), 'name')}=...); got {shown(args[0])}"
            )
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            known = getattr(cls, "model_fields", {})
            raise ValueError(f"{cls.__name__}: {'; '.join(mistakes(error, known))}") from None


class Configuration(BaseModel, metaclass=_InWords):
    """Settings by name, which stay as they are once given; unknown names and values of other types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def __setattr__(self, name: str, value: Any) -> None:
        kind = type(self).__name__
        raise ValueError(f"a {kind} stays as it is once given: build another, {kind}({name}={shown(value)}, ...)")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        """Numbers of numpy's and torch's as Python's."""
        if not isinstance(given, Mapping):
            return given
        return {name: each.item() if _is_scalar(each) else each for name, each in given.items()}


def _is_scalar(value: Any) -> bool:
    return isinstance(value, np.generic) or (isinstance(value, np.ndarray | Tensor) and value.ndim == 0)


C = TypeVar("C", bound=Configuration)


def as_config(given: C | Mapping[str, Any] | None, kind: type[C]) -> C:
    """A configuration of a kind, also from a dict of its settings; None takes its defaults.

    Args:
        given: the configuration, as a caller has it.
        kind: the class of it.

    Returns:
        The configuration.

    Raises:
        ValueError: where it is neither, or holds unknown names or values that do not fit.
    """
    if isinstance(given, kind):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"config must be a {kind.__name__}, or a dict of its settings; got {shown(given)}")
    return kind(**{str(name): each for name, each in (given or {}).items()})


def mistakes(error: ValidationError, known: Iterable[str]) -> list[str]:
    """The mistakes that pydantic found in a configuration with these names, each in words."""
    known, found = list(known), {}
    for each in error.errors():
        name = str(each["loc"][0]) if each["loc"] else ""
        if each["type"] == "extra_forbidden":
            hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            found[name] = f"unknown setting {name}{hint}"
        elif each["type"] == "value_error":
            found[name] = f"{each.get('ctx', {}).get('error')}"
        else:  # one that may be of several types has a message for each
            message = each["msg"][0].lower() + each["msg"][1:]
            before = found.get(name)
            found[name] = f"{before}, or {message}" if before else f"{name} = {shown(each['input'])}: {message}"
    return list(found.values())
