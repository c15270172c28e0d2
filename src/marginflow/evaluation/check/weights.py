"""The weights themselves: that they are numbers, and 0 where masks hide them."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from marginflow.base.distribution import Distribution
from marginflow.evaluation.check.findings import Finding
from marginflow.nets.masked.linear import MaskedLinear


def not_finite_weights(model: Distribution) -> Finding | None:
    """That weights are NaN or infinite, of which nothing more can be asked; None where all are numbers."""
    broken, layers = 0, []
    for name, weight in model.named_parameters():
        count = int((~torch.isfinite(weight)).sum())
        broken += count
        if count:
            layers.append(name.rpartition(".weights.")[0] or name.rpartition(".")[0] or name)
    if not broken:
        return None
    every = sum(weight.numel() for weight in model.parameters())
    first = f"layer {layers[0]}" + (" and others" if len(set(layers)) > 1 else "")
    found = f"{broken:,} of {every:,} weights are not finite, of {first}"
    return Finding(
        "weights", "fail", found, "train again from the last good file, with a lower lr or clipped gradients"
    )


@torch.no_grad()
def hidden_weights(model: Distribution) -> Iterator[Finding]:
    """Of masked linear layers: that weights which masks hide are 0, as what is fast does not mask them again."""
    layers = [each for each in model.modules() if isinstance(each, MaskedLinear)]
    if not layers:
        return
    wrong = hidden = 0
    for layer in layers:
        for weight, edge in zip(layer.tensors[1:], layer.edges, strict=True):
            ends = weight[:, weight.shape[1] - edge.shape[1] :]
            hidden += int((edge == 0).sum())
            wrong += int(((ends != 0) & (edge == 0)).sum())
    yield Finding(
        "masked weights",
        "fail" if wrong else "pass",
        f"{wrong:,} of {hidden:,} stored weights that masks hide are not 0",
        "in-place changes wrote over them; model.load_state_dict(model.state_dict()) sets them to 0 again"
        if wrong
        else "",
    )
