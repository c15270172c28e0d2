"""Orders and degrees: who may see whom in a masked network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from marginflow.base.arguments import shown
from marginflow.base.devices import on_cpu
from marginflow.base.settings import as_choice, as_sizes
from marginflow.nets.activations import as_hidden

ORDERS = ("sequential", "reversed", "random")
DEGREES = ("sequential", "even", "random")


@on_cpu
def resolve_order(order: str | Sequence[int], features: int, generator: torch.Generator) -> Tensor:
    """The dimensions first to last that `order` means: (features,), a permutation.

    order: "sequential", "reversed", "random" (drawn from `generator`), or the list itself.

    >>> resolve_order("reversed", 3, torch.Generator())
    tensor([2, 1, 0])
    """
    if not isinstance(order, str):
        listed = as_sizes(order, "order", least=None)
        if sorted(listed) != list(range(features)):
            raise ValueError(f"order must hold each of 0 ... {features - 1} once; got {shown(listed)}")
        return torch.tensor(listed)
    as_choice(order, ORDERS, "order", ", or a list of the dimensions first to last")
    if order == "sequential":
        return torch.arange(features)
    if order == "reversed":
        return torch.arange(features - 1, -1, -1)
    return torch.randperm(features, generator=generator)


@on_cpu
def resolve_degrees(
    degrees: str | Sequence[Sequence[int]],
    features: int,
    hidden: Sequence[int],
    has_context: bool,
    generator: torch.Generator,
    residual: bool = False,
) -> list[Tensor]:
    """The sorted degrees of each hidden layer, (width,) each.

    A unit of degree d sees the first d dimensions and is seen by those after them. Degrees run from 1
    to features - 1; with a context from 0, so that the first dimension sees the context too, and with
    one dimension they are all 0.

    degrees: "sequential", "even", "random" (drawn from `generator`), or a list for each layer, in which 0 is
        allowed without a context too: such a unit is constant. ValueError where no dimension would see another.
    residual: the third, fifth ... layer has the degrees of the first, as its units are added to those of the first.

    >>> resolve_degrees("even", 9, [4], False, torch.Generator())
    [tensor([1, 3, 5, 7])]
    """
    hidden = as_hidden(hidden, residual=residual)
    low = 0 if has_context or features == 1 else 1
    span = max(features - low, 1)  # how many degrees there are
    if not isinstance(degrees, str):
        if not isinstance(degrees, Sequence):
            raise ValueError(f"degrees must be {', '.join(DEGREES)} or a list for each layer; got {shown(degrees)}")
        if len(degrees) != len(hidden):
            raise ValueError(f"degrees must be one list a hidden layer, {len(hidden)} in all; got {len(degrees)}")
        layers = [_given(layer, width, features) for layer, width in zip(degrees, hidden, strict=True)]
        _require_reach(layers, features)
        if residual and any(not torch.equal(layer, layers[0]) for layer in layers[::2]):
            raise ValueError("residual=True needs the same degrees in the first, third, fifth ... hidden layer")
        return layers
    as_choice(degrees, DEGREES, "degrees", ", or a list for each hidden layer")
    if degrees == "sequential":
        layers = [low + torch.arange(width) % span for width in hidden]
    elif degrees == "even":
        layers = [low + torch.arange(width) * span // width for width in hidden]
    else:
        layers, least = [], low
        for width in hidden:  # none below the least of the layer before: such a unit would see nothing
            drawn = torch.randint(least, low + span, (width,), generator=generator)
            if has_context:
                drawn[0] = low  # chance must not hide the context from the first dimension
            layers.append(drawn)
            least = int(drawn.min())
    if residual:
        layers = [layers[0] if i % 2 == 0 else layer for i, layer in enumerate(layers)]
    return [layer.sort().values for layer in layers]


def _given(layer: Sequence[int], width: int, features: int) -> Tensor:
    """One layer's explicit degrees, checked and sorted."""
    layer = as_sizes(layer, "degrees", least=None)
    if len(layer) != width or not all(0 <= degree < features for degree in layer):
        raise ValueError(
            f"a hidden layer of {width} units needs {width} degrees between 0 and {features - 1}; "
            f"got {list(layer)[:8]}{' ...' if len(layer) > 8 else ''} ({len(layer)})"
        )
    return torch.tensor(layer).sort().values


def _require_reach(layers: Sequence[Tensor], features: int) -> None:
    """Refuse degrees through which no dimension sees another."""
    seen = torch.arange(1, features + 1)  # of each unit, how many dimensions reach it
    below = seen
    for layer in layers:
        seen = torch.where(below <= layer[:, None], seen, 0).amax(1)
        below = layer
    if layers and features > 1 and not bool(seen.any()):
        raise ValueError(
            f"these degrees hide all {features} dimensions from all others: a unit sees those below it whose degree is "
            f"at most its own, so let some path have degrees between 1 and {features - 1}, none after a larger one"
        )
