"""The call that built a model, of public classes with plain arguments, as plain data; and the model built again."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

ROOMS = ("transforms", "distributions", "nets")  # whose public classes can be told


class RemembersArguments:
    """Remembers what it was built with."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        built = super().__new__(cls)
        vars(built)["_arguments"] = args, kwargs
        return built


def as_data(model: object) -> Any:
    """The call that built a model, and those that built its arguments, as data that JSON takes.

    {"call": "transforms.Planar", "args": [2], "kwargs": {}}; what stands in several places is {"same": its number}.

    ValueError where something is neither built by a public class nor plain.

    >>> from marginflow.transforms import Planar
    >>> as_data(Planar(2))
    {'call': 'transforms.Planar', 'args': [2], 'kwargs': {}}
    """
    return _Writer().data_of(model)


def from_data(data: Any) -> Any:
    """What `as_data` tells of, built anew; ValueError where it names something else than public classes."""
    return _Reader().built(data)


class _Writer:
    def __init__(self) -> None:
        self.told: list[object] = []

    def data_of(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": str(value)}
        if isinstance(value, int | float):
            return value
        if isinstance(value, np.ndarray | np.generic | Tensor):
            return self.data_of(value.tolist())
        if isinstance(value, list | tuple):
            return [self.data_of(each) for each in value]
        return self._call_of(value)

    def _call_of(self, value: object) -> dict[str, Any]:
        for number, each in enumerate(self.told):
            if each is value:
                return {"same": number}
        cls = type(value)
        name = next((name for room in ROOMS if _public(name := f"{room}.{cls.__name__}") is cls), None)
        if name is None:
            raise ValueError(f"{cls.__name__} is no public class of marginflow's, nor plain data")
        if isinstance(value, RemembersArguments):
            args, kwargs = vars(value)["_arguments"]
        else:
            args, kwargs = (), {each.name: getattr(value, each.name) for each in fields(value)}  # pyright: ignore
        data = {
            "call": name,
            "args": [self.data_of(each) for each in args],
            "kwargs": {name: self.data_of(each) for name, each in kwargs.items()},
        }
        self.told.append(value)
        return data


class _Reader:
    def __init__(self) -> None:
        self.told: list[object] = []

    def built(self, data: Any) -> Any:
        if isinstance(data, list):
            return [self.built(each) for each in data]
        if not isinstance(data, dict):
            return data
        if "float" in data:
            return float(data["float"])
        if "same" in data:
            return self.told[data["same"]]
        make = _public(str(data["call"]))
        if make is None:
            raise ValueError(f"{data['call']} is no public class of marginflow's")
        args = [self.built(each) for each in data["args"]]
        kwargs = {name: self.built(each) for name, each in data["kwargs"].items()}
        value = make(*args, **kwargs)
        self.told.append(value)
        return value


def _public(name: str) -> Callable[..., Any] | None:
    """The public class of a room, such as "transforms.Planar", that can be told; None where there is no such."""
    room, _, own = name.partition(".")
    if room not in ROOMS:
        return None
    module = importlib.import_module(f"marginflow.{room}")
    found = getattr(module, own, None) if own in module.__all__ else None
    return found if isinstance(found, type) and (issubclass(found, RemembersArguments) or is_dataclass(found)) else None


def same_parameters(data: Any, model: torch.nn.Module) -> bool:
    """Whether what `as_data` tells of has the parameters of the model: not where it was changed since."""
    with torch.device("meta"):
        told = from_data(data)
    shapes = [{name: each.shape for name, each in module.named_parameters()} for module in (told, model)]
    return shapes[0] == shapes[1]
