"""The call that built a model, of public classes with plain arguments, as plain data; and the model built from it."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

ROOMS = ("transforms", "distributions", "nets", "data")  # whose public classes can be described


class RemembersArguments:
    """Remembers the arguments that it was built with."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        built = super().__new__(cls)
        vars(built)["_arguments"] = args, kwargs
        return built


def as_data(model: object) -> Any:
    """The call that built a model, and those that built its arguments, as data that JSON takes.

    Args:
        model: built by a public class, as are its arguments, or plain.

    Returns:
        {"call": "transforms.Planar", "arguments": {"features": 2}}; what occurs more than once is {"same": its number}.

    Raises:
        ValueError: where something is neither built by a public class nor plain.

    Examples:
        >>> from marginflow.transforms import Planar
        >>> as_data(Planar(2))
        {'call': 'transforms.Planar', 'arguments': {'features': 2}}
    """
    return _Writer().data_of(model)


def from_data(data: Any) -> Any:
    """What `as_data` describes, built anew.

    Args:
        data: as `as_data` returns it.

    Returns:
        The model, newly initialised.

    Raises:
        ValueError: where it names something other than public classes.
    """
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
        if isinstance(value, list | tuple | range):
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
            arguments = inspect.signature(cls).bind(*args, **kwargs).arguments
            arguments.update(arguments.pop("options", {}))  # **options
        else:
            assert is_dataclass(value)  # `_public` knows no others
            arguments = {each.name: getattr(value, each.name) for each in fields(value)}
        data = {"call": name, "arguments": {each: self.data_of(given) for each, given in arguments.items()}}
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
        arguments = {name: self.built(each) for name, each in data["arguments"].items()}
        parameters = inspect.signature(make).parameters.values()
        several = [each.name for each in parameters if each.kind is inspect.Parameter.VAR_POSITIONAL]
        parts = [part for name in several for part in arguments.pop(name, ())]
        value = make(*parts, **arguments)
        self.told.append(value)
        return value


def _public(name: str) -> Callable[..., Any] | None:
    """The public class of a room, such as "transforms.Planar", that can be described; None where there is no such."""
    room, _, own = name.partition(".")
    if room not in ROOMS:
        return None
    module = importlib.import_module(f"marginflow.{room}")
    found = getattr(module, own, None) if own in module.__all__ else None
    return found if isinstance(found, type) and (issubclass(found, RemembersArguments) or is_dataclass(found)) else None


def is_as_built(data: Any, model: torch.nn.Module) -> bool:
    """Whether what `as_data` describes is the model, whatever its weights: the same parts, sizes and settings.

    Not so where it was changed since it was built.
    """
    with torch.device("meta"):
        told = from_data(data)
    return [*map(_outline, told.modules())] == [*map(_outline, model.modules())]


def _outline(module: torch.nn.Module) -> tuple[Any, ...]:
    """What kind a module is, the shapes of its parameters, and its settings."""
    settings = {
        name: value
        for name, value in vars(module).items()
        if name not in ("training", "_arguments") and isinstance(value, bool | int | float | str | tuple)
    }
    return type(module), [(name, each.shape) for name, each in module.named_parameters(recurse=False)], settings


def calls_in(data: Any) -> int:
    """How many calls building a described model takes, counting shared parts as often as they occur."""
    costs: list[int] = []

    def cost(data: Any) -> int:
        if isinstance(data, list):
            return sum(map(cost, data))
        if not isinstance(data, dict):
            return 0
        if "same" in data:
            return costs[data["same"]]
        found = 1 + sum(map(cost, data.get("arguments", {}).values()))
        costs.append(found)
        return found

    return cost(data)
