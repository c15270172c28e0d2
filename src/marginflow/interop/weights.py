"""Trained flows of other libraries, turned into ours weight for weight."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from marginflow.base.transform import Transform, Univariate
from marginflow.distributions import Flow, StandardNormal
from marginflow.transforms import BatchNorm, MaskedAutoregressive, Permutation, SoftclipAffine, SoftplusAffine

_NAMES: dict[Any, str] = {
    torch.relu: "relu",
    functional.relu: "relu",
    torch.tanh: "tanh",
    functional.tanh: "tanh",
    functional.elu: "elu",
    functional.silu: "silu",
    functional.gelu: "gelu",
    functional.softplus: "softplus",
    nn.ReLU: "relu",  # modules without options
    nn.Tanh: "tanh",
    nn.SiLU: "silu",
}


@torch.no_grad()
def maf_from_zuko(flow: nn.Module) -> Flow:
    """A masked autoregressive flow of zuko's, such as `zuko.flows.MAF`, as ours: the same density and samples.

    Tested with Zuko 1.6 by F. Rozet and others, https://github.com/probabilists/zuko. Hidden layers get their degrees
    as explicit lists; a weight that zuko's mask hides and ours does not is zero, and trainable from now on.

    Args:
        flow: fully autoregressive layers (`passes` as many as features), affine, without residual blocks, with or
            without context, on the standard normal; any order and widths; one activation for all hidden layers.

    Returns:
        A `Flow` with the same weights, in the precision and on the device of `flow`; later changes of one do not reach
            the other.

    Raises:
        ValueError: for what cannot be taken over, with what it is and what is expected.
    """
    transforms: list[Transform] = []
    for layer in _parts(flow, "transform.transforms", "zuko.flows.MAF"):
        if type(layer).__name__ != "MaskedAutoregressiveTransform":
            raise _refusal("zuko", f"a {type(layer).__name__}", "masked autoregressive layers only")
        ranks = layer.order
        if ranks is None or layer.passes != len(ranks):
            raise _refusal("zuko", "a layer that is not fully autoregressive", "passes as many as there are features")
        linears = [module for module in layer.hyper if hasattr(module, "mask")]
        activations = [module for module in layer.hyper if not hasattr(module, "mask")]
        if any(type(module).__name__ == "Residual" for module in activations):
            raise _refusal("zuko", "a residual network", "residual=False")
        transforms.append(
            _masked_autoregressive(
                linears, torch.argsort(ranks), _zuko_univariate(layer.univariate), _activation("zuko", activations)
            )
        )
    foreign: Any = flow
    base = foreign.base()
    mean, deviation = base.mean, base.stddev
    if not bool((mean == 0).all() and (deviation == 1).all()):
        raise _refusal("zuko", "another base than N(0, I)", "the default base")
    return _like(Flow(transforms, StandardNormal(len(mean))), flow)


@torch.no_grad()
def maf_from_nflows(flow: nn.Module) -> Flow:
    """A masked autoregressive flow of nflows', such as `nflows.flows.MaskedAutoregressiveFlow`, as ours.

    Tested with nflows 0.14 by C. Durkan, A. Bekasov, I. Murray and G. Papamakarios,
    https://github.com/bayesiains/nflows. The flow is taken as it is in evaluation mode: dropout is off, batch norm
    uses its running statistics. Hidden layers get their degrees as explicit lists.

    Args:
        flow: affine layers with plain blocks (`use_residual_blocks=False`), reversals or permutations, batch norm
            between layers, on the standard normal; any widths, masks and activation. No context, no batch norm within
            layers.

    Returns:
        A `Flow` with the same weights, in the precision and on the device of `flow`; later changes of one do not reach
            the other.

    Raises:
        ValueError: for what cannot be taken over, with what it is and what is expected.
    """
    transforms: list[Transform] = []
    layers = _parts(flow, "_transform._transforms", "nflows.flows.MaskedAutoregressiveFlow")
    if type(flow._embedding_net) is not nn.Identity:
        raise _refusal("nflows", "an embedding network", "none")
    for layer in layers:
        kind = type(layer).__name__
        if kind == "MaskedAffineAutoregressiveTransform":
            transforms.append(_nflows_made(layer.autoregressive_net, layer._epsilon))
        elif kind in ("ReversePermutation", "RandomPermutation", "Permutation") and layer._dim == 1:
            transforms.append(Permutation(len(layer._permutation), layer._permutation.tolist()))
        elif kind == "BatchNorm":
            transforms.append(_nflows_batch_norm(layer))
        else:
            raise _refusal("nflows", f"a {kind}", "affine masked autoregressive layers, permutations and batch norm")
    base: Any = flow._distribution
    if type(base).__name__ != "StandardNormal":
        raise _refusal("nflows", f"the base {type(base).__name__}", "StandardNormal")
    return _like(Flow(transforms, StandardNormal(tuple(base._shape))), flow)


def _refusal(library: str, got: str, expected: str) -> ValueError:
    return ValueError(f"this flow of {library} has {got}, which cannot be taken over; expected {expected}")


def _parts(flow: nn.Module, path: str, expected: str) -> Sequence[Any]:
    """The layers of a foreign flow; ValueError where it is not built as expected."""
    found: Any = flow
    for name in path.split("."):
        found = getattr(found, name, None)
    if found is None:
        raise ValueError(f"got {type(flow).__name__}, expected a flow like {expected}")
    return list(found)


def _like(flow: Flow, original: nn.Module) -> Flow:
    """The flow in the precision and on the device of the original, in evaluation mode."""
    parameter = next(original.parameters(), torch.zeros(()))
    return flow.to(parameter.device, parameter.dtype).eval()


def _zuko_univariate(univariate: Any) -> SoftclipAffine:
    options: dict[str, Any] = {}
    if isinstance(univariate, partial):
        univariate, options = univariate.func, dict(univariate.keywords)
    if getattr(univariate, "__name__", "") != "MonotonicAffineTransform" or set(options) - {"slope"}:
        name = getattr(univariate, "__name__", univariate)
        raise _refusal("zuko", f"the univariate {name}", "MonotonicAffineTransform")
    return SoftclipAffine(**options)


def _nflows_made(made: Any, epsilon: float) -> MaskedAutoregressive:
    if made.use_residual_blocks:
        raise _refusal("nflows", "residual blocks", "use_residual_blocks=False")
    if hasattr(made, "context_layer"):
        raise _refusal("nflows", "a context, which enters through a layer of its own", "no context_features")
    if any(block.batch_norm is not None for block in made.blocks):
        raise _refusal("nflows", "batch norm within its layers", "use_batch_norm=False")
    linears = [made.initial_layer, *(block.linear for block in made.blocks), made.final_layer]
    order = torch.arange(linears[0].in_features)
    return _masked_autoregressive(linears, order, SoftplusAffine(epsilon), _activation("nflows", [made.activation]))


def _nflows_batch_norm(layer: Any) -> BatchNorm:
    if layer.eps != BatchNorm.EPSILON:
        raise _refusal("nflows", f"batch norm with eps={layer.eps}", f"eps={BatchNorm.EPSILON}")
    norm = BatchNorm(len(layer.bias)).to(layer.bias)
    norm.log_gain.copy_(layer.weight.log())
    norm.bias.copy_(layer.bias)
    norm.set_statistics(layer.running_mean, layer.running_var)
    return norm


def _activation(library: str, given: Sequence[Any]) -> str | Callable[[Tensor], Tensor]:
    """The name of an activation, where it has one here, or a copy of it; the same in all hidden layers."""
    if not given:
        return "relu"  # there are no hidden layers
    first = given[0]
    if isinstance(first, nn.Module):
        if len({repr(each) for each in given}) > 1:
            raise _refusal(library, "different activations", "the same in each hidden layer")
        if len(given) > 1 and any(True for _ in first.parameters()):
            raise _refusal(library, "an activation trained for each hidden layer", "one without parameters")
    named = _NAMES.get(type(first) if isinstance(first, nn.Module) else first)
    return named or copy.deepcopy(first)


def _masked_autoregressive(
    linears: Sequence[Any], order: Tensor, univariate: Univariate, activation: str | Callable[[Tensor], Tensor]
) -> MaskedAutoregressive:
    """A stack of masked linear layers, input to output, in normal form.

    The degree of a unit is the number of dimensions that can reach it; sorting by it is what normal form means.

    Args:
        linears: each with weight (O, I), bias (O,) and mask (O, I); the first sees the D dimensions of x, then a
            context. The last gives each dimension its parameters, side by side.
        order: the dimensions first to last.
        univariate: the map of each dimension.
        activation: between the layers, by name or a function.
    """
    features = len(order)
    num_context = linears[0].in_features - features
    columns = torch.cat([features + torch.arange(num_context), order])
    reach = torch.cat([torch.zeros(num_context, dtype=torch.long), torch.arange(1, features + 1)])
    degrees, weights, biases = [], [], []
    for i, linear in enumerate(linears):
        mask = linear.mask.bool().cpu()[:, columns]
        weight = (linear.weight * linear.mask)[:, columns]
        if i < len(linears) - 1:
            reach = torch.where(mask, reach, 0).amax(1)
            columns = torch.argsort(reach, stable=True)
            reach = reach[columns]
            degrees.append(reach.tolist())
        else:
            columns = (order[:, None] * univariate.num_params + torch.arange(univariate.num_params)).flatten()
        weights.append(weight[columns])
        biases.append(linear.bias[columns])
    ours = MaskedAutoregressive(
        features,
        [len(layer) for layer in degrees],
        univariate,
        order=order.tolist(),
        degrees=degrees,
        context_features=num_context,
        activation=activation,
    ).to(weights[0])
    for layer, weight, bias in zip(ours.network.layers, weights, biases, strict=True):
        layer.set_dense_weight(weight)
        layer.bias.copy_(bias)
    return ours
