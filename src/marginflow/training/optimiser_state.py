"""The state of an optimiser by the names of the weights, whatever the bands are in which masked layers hold them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from marginflow.nets.masked.linear import MaskedLinear


class _Place(NamedTuple):
    """Where a parameter stands in a model's state: its name, and in a masked layer which band of its weight it is."""

    name: str
    layer: MaskedLinear | None = None
    band: int = 0


def _places(model: nn.Module) -> dict[Tensor, _Place]:
    places: dict[Tensor, _Place] = {each: _Place(name) for name, each in model.named_parameters()}
    for prefix, layer in model.named_modules():
        if isinstance(layer, MaskedLinear):
            places.update({each: _Place(f"{prefix}.weight", layer, i) for i, each in enumerate(layer.weights)})
    return places


def _groups(places: dict[Tensor, _Place], optimiser: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The groups of an optimiser, with the names of their weights."""
    return [
        {**group, "params": list(dict.fromkeys(places[each].name for each in group["params"]))}
        for group in optimiser.param_groups
    ]


def named_state(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an optimiser over a model's parameters: groups with the names of theirs, and what it keeps of each.

    A masked layer's weight is one, packed as in the model's own state.
    """
    places = _places(model)
    kept: dict[str, list[dict[str, Any]]] = {}
    layers = {}
    for parameter, place in places.items():
        if parameter in optimiser.state:
            kept.setdefault(place.name, []).append(optimiser.state[parameter])
            layers[place.name] = place.layer
    state = {name: _packed(layers[name], each) for name, each in kept.items()}
    return {"groups": _groups(places, optimiser), "state": state}


def load_named_state(model: nn.Module, optimiser: torch.optim.Optimizer, content: dict[str, Any]) -> None:
    """Restore what `named_state` gave, or a state of torch's own, by numbers, as earlier trainings hold it.

    ValueError where it is of other weights.
    """
    if "groups" not in content:
        optimiser.load_state_dict(content)
        _require_shapes(model, optimiser)
        return
    places = _places(model)
    if [group["params"] for group in _groups(places, optimiser)] != [group["params"] for group in content["groups"]]:
        raise ValueError("its optimiser is over other weights")
    numbers = [group["params"] for group in optimiser.state_dict()["param_groups"]]
    groups = [{**group, "params": each} for group, each in zip(content["groups"], numbers, strict=True)]
    parameters = (each for group in optimiser.param_groups for each in group["params"])
    state, of_bands = {}, {}
    for number, parameter in zip((each for group in numbers for each in group), parameters, strict=True):
        name, layer, band = places[parameter]
        if name in content["state"]:
            if name not in of_bands:
                of_bands[name] = _unpacked(layer, content["state"][name])
            state[number] = of_bands[name][band]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    _require_shapes(model, optimiser)


def _require_shapes(model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Refuse what a fused step would read beyond its end: state of other shapes than its weight. ValueError.

    Numbers alone, as of steps, belong to any weight; an optimiser other than Adam may keep what broadcasts to it.
    """
    for name, weight in model.named_parameters():
        for key, kept in optimiser.state.get(weight, {}).items():
            if not isinstance(kept, Tensor) or (kept.ndim == 0 and key == "step"):
                continue
            fits = kept.shape == weight.shape
            if not fits and not isinstance(optimiser, torch.optim.Adam):
                fits = all(a in (1, b) for a, b in zip(reversed(kept.shape), reversed(weight.shape), strict=False))
            if not fits:
                raise ValueError(
                    f"its optimiser keeps {key} of shape {tuple(kept.shape)} for {name}, a weight of shape "
                    f"{tuple(weight.shape)}"
                )


def _packed(layer: MaskedLinear | None, kept: list[dict[str, Any]]) -> dict[str, Any]:
    """What is kept of a weight: of a masked one that of its bands packed, and once what is the same for all."""
    if layer is None:
        return kept[0]
    return {
        name: layer.pack([each[name] for each in kept]) if isinstance(value, Tensor) and value.ndim == 2 else value
        for name, value in kept[0].items()
    }


def _unpacked(layer: MaskedLinear | None, kept: dict[str, Any]) -> list[dict[str, Any]]:
    """What `_packed` packs: of each band, each with tensors of its own."""
    if layer is None:
        return [kept]
    bands: list[dict[str, Any]] = [{} for _ in layer.weights]
    for name, value in kept.items():
        is_packed = isinstance(value, Tensor) and value.ndim == 1
        for band, part in zip(bands, layer.unpack(value) if is_packed else [value] * len(bands), strict=True):
            band[name] = part.clone() if isinstance(part, Tensor) and not is_packed else part
    return bands
