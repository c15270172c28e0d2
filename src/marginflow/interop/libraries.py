"""Densities of zuko, torch, nflows and normflows: marginalised, trained and sampled like our own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from marginflow.base.shapes import Shape
from marginflow.interop.foreign import Calls, Foreign, Maps, built_for_others, require_methods, shape_of


def _lazy_sample(module: Any, num_samples: int, context: Tensor | None) -> Tensor:
    return module(context).sample() if context is not None else module(None).sample((num_samples,))


def _lazy_draw(module: Any, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
    distribution = module(context)
    if not distribution.has_rsample:
        raise ValueError(f"{type(distribution).__name__} has no reparameterised draws: use sample and log_prob")
    shape = () if context is not None else (num_samples,)
    if hasattr(distribution, "rsample_and_log_prob"):
        return distribution.rsample_and_log_prob(shape)
    x = distribution.rsample(shape)
    return x, distribution.log_prob(x)


def _support_of(distribution: torch.distributions.Distribution) -> Constraint | None:
    """The support that a distribution of torch's states; None where it states none."""
    try:
        support = distribution.support
    except NotImplementedError:
        return None
    return support if isinstance(support, Constraint) and not constraints.is_dependent(support) else None


def _lazy_log_prob(module: Any, x: Tensor, context: Tensor | None) -> Tensor:
    """log p of rows, -inf of those outside the support, which many distributions refuse, or give a number all the same.

    Of rows that are no numbers it is none either.
    """
    distribution = module(context)
    support = None if torch.compiler.is_compiling() else _support_of(distribution)
    inside = None if support is None else support.check(x)
    if inside is None or inside.shape != x.shape[:1] or bool(inside.all()):
        return distribution.log_prob(x)
    outside = torch.where(x.flatten(1).isnan().any(1), torch.nan, -torch.inf).to(x.dtype)
    if not bool(inside.any()):
        return outside
    those = module(None if context is None else context[inside])
    log_prob = those.log_prob(x[inside])
    return outside.to(log_prob).masked_scatter(inside, log_prob)


def _lazy(library: str, maps: Maps | None = None) -> Calls:
    """Modules that are called with a context, or None, and return a torch.distributions.Distribution."""
    return Calls(library, _lazy_log_prob, _lazy_sample, _lazy_draw, maps)


_ZUKO = _lazy(
    "zuko",
    Maps(
        "transform",
        lambda module, x, context: module.transform(context).call_and_ladj(x),
        lambda module, z, context: module.transform(context).inv.call_and_ladj(z),
    ),
)
_TORCH = _lazy("torch")


def _from_lazy(module: nn.Module, calls: Calls, context_features: int) -> Foreign:
    like = next(module.parameters(), torch.zeros(()))
    with built_for_others(calls.library, context_features):
        distribution = module(like.new_zeros(1, context_features) if context_features else None)
    if not isinstance(distribution, torch.distributions.Distribution):
        raise ValueError(
            f"{type(module).__name__} returns {type(distribution).__name__}; expected a distribution, which has "
            "log_prob"
        )
    if context_features and distribution.batch_shape != (1,):
        raise ValueError(
            f"{type(module).__name__} makes a distribution of batch shape {tuple(distribution.batch_shape)} for a "
            "context of one row, (1,) expected: let its parameters depend on the context, or give no context_features"
        )
    if not context_features and distribution.batch_shape != ():
        raise ValueError(
            f"the distribution has batch shape {tuple(distribution.batch_shape)}; expected one event a row: wrap it in "
            "torch.distributions.Independent"
        )
    if len(distribution.event_shape) == 0:
        raise ValueError(
            "the distribution is over numbers; expected events of shape (D,): expand it to (1,), Independent"
        )
    return Foreign(module, calls, distribution.event_shape, context_features, _support_of(distribution))


def from_zuko(flow: nn.Module, *, context_features: int = 0) -> Foreign:
    """A flow, or any lazy distribution, of zuko's, wrapped as it is.

    Tested with Zuko 1.6 by F. Rozet and others, https://github.com/probabilists/zuko. `maf_from_zuko` turns a MAF into
    ours.

    Args:
        flow: such as `zuko.flows.NSF(features, context)`.
        context_features: the width of the context that it was built for; 0 without one.

    Returns:
        A `Foreign` density that shares the flow.

    Raises:
        ValueError: for what has no log_prob, or was built for another context.
    """
    require_methods(flow, "zuko", "forward")
    return _from_lazy(flow, _ZUKO, context_features)


class _Fixed(nn.Module):
    """A distribution that is there already, as a module that returns it."""

    def __init__(self, distribution: torch.distributions.Distribution) -> None:
        super().__init__()
        self.distribution = distribution

    def forward(self, context: Tensor | None) -> torch.distributions.Distribution:
        return self.distribution


def from_torch(distribution: torch.distributions.Distribution | nn.Module, *, context_features: int = 0) -> Foreign:
    """A torch.distributions.Distribution, or a module that returns one, as a density.

    Args:
        distribution: one with events of shape (D,) and no batch shape (`Independent` makes one), whose parameters are
            then neither trained nor moved; or a module, called with the context (N, C), or None, that returns one,
            with the parameters to train.
        context_features: C, the width of the context of the module; 0 without one.

    Returns:
        A `Foreign` density that shares the module.

    Raises:
        ValueError: for a batch shape, for events without a shape, and for a context where the distribution is given
            itself.

    Examples:
        >>> import torch
        >>> from torch.distributions import Independent, Laplace
        >>> laplace = from_torch(Independent(Laplace(torch.zeros(2), torch.ones(2)), 1))
        >>> laplace.log_prob(torch.zeros(1, 2)), laplace.sample(3).shape
        (tensor([-1.3863]), torch.Size([3, 2]))
    """
    if isinstance(distribution, torch.distributions.Distribution):
        if context_features:
            raise ValueError(
                f"{type(distribution).__name__} is there already and takes no context: give a module that makes one "
                f"from a context, or no context_features; got {context_features}"
            )
        return _from_lazy(_Fixed(distribution), _TORCH, 0)
    require_methods(distribution, "torch", "forward")
    return _from_lazy(distribution, _TORCH, context_features)


def _nflows_sample(module: Any, num_samples: int, context: Tensor | None) -> Tensor:
    return module.sample(num_samples) if context is None else module.sample(1, context)[:, 0]


def _nflows_draw(module: Any, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
    if context is None:
        return module.sample_and_log_prob(num_samples)
    x, log_prob = module.sample_and_log_prob(1, context)
    return x[:, 0], log_prob[:, 0]


def _nflows_map(module: Any, x: Tensor, context: Tensor | None, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
    call = module._transform.inverse if inverse else module._transform
    return call(x, context=module._embedding_net(context))


_NFLOWS = Calls(
    "nflows",
    lambda module, x, context: module.log_prob(x, context),
    _nflows_sample,
    _nflows_draw,
    Maps("_transform", _nflows_map, lambda module, z, context: _nflows_map(module, z, context, inverse=True)),
)


def from_nflows(flow: nn.Module, *, shape: Shape | None = None, context_features: int = 0) -> Foreign:
    """A flow or distribution of nflows', wrapped as it is.

    Tested with nflows 0.14 by C. Durkan, A. Bekasov, I. Murray and G. Papamakarios,
    https://github.com/bayesiains/nflows. `maf_from_nflows` turns a MAF into ours.

    Args:
        flow: such as `nflows.flows.Flow(transform, distribution)`.
        shape: of one row, where its base does not say.
        context_features: the width of the context that it was built for, before any embedding network; 0 without one.

    Returns:
        A `Foreign` density that shares the flow.

    Raises:
        ValueError: for what has no log_prob or sample, for another shape than the flow's, and for another context than
            it was built for.
    """
    require_methods(flow, "nflows", "log_prob", "sample", "sample_and_log_prob")
    takes = any(hasattr(part, "context_layer") or getattr(part, "context_features", None) for part in flow.modules())
    if takes and not context_features:
        raise ValueError("this flow of nflows was built for a context: give context_features, its width")
    base: Any = getattr(flow, "_distribution", flow)
    said = getattr(base, "_shape", None)
    return Foreign(flow, _NFLOWS, shape_of(said, shape, "nflows"), context_features)


def _normflows_context(context: Tensor | None) -> dict[str, Tensor]:
    return {} if context is None else {"context": context}


_NORMFLOWS = Calls(
    "normflows",
    lambda module, x, context: module.log_prob(x, **_normflows_context(context)),
    lambda module, num_samples, context: module.sample(num_samples, **_normflows_context(context))[0],
    lambda module, num_samples, context: module.sample(num_samples, **_normflows_context(context)),
    Maps(
        "inverse_and_log_det",
        lambda module, x, context: module.inverse_and_log_det(x, **_normflows_context(context)),
        lambda module, z, context: module.forward_and_log_det(z, **_normflows_context(context)),
    ),
)


def from_normflows(flow: nn.Module, *, shape: Shape | None = None, context_features: int = 0) -> Foreign:
    """A flow of normflows', wrapped as it is.

    Tested with normflows 1.7.

    Args:
        flow: a `normflows.NormalizingFlow`, or with a context a `normflows.ConditionalNormalizingFlow`.
        shape: of one row, where its base does not say.
        context_features: the width of the context that it was built for; 0 without one.

    Returns:
        A `Foreign` density that shares the flow.

    Raises:
        ValueError: for what has no log_prob or sample, for another shape than the flow's, and for another context than
            it was built for.

    References:
        Stimper and others, normflows: A PyTorch Package for Normalizing Flows, 2023 (arXiv 2302.12014).
    """
    require_methods(flow, "normflows", "log_prob", "sample")
    if type(flow).__name__ == "ConditionalNormalizingFlow" and not context_features:
        raise ValueError("this flow of normflows was built for a context: give context_features, its width")
    base: Any = getattr(flow, "q0", flow)
    said = next((getattr(base, name) for name in ("shape", "d", "n_dim", "dim") if hasattr(base, name)), None)
    return Foreign(flow, _NORMFLOWS, shape_of(said, shape, "normflows"), context_features)
