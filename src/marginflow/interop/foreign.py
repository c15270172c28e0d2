"""Densities and transforms of other libraries behind our contracts: marginalised, trained and sampled like our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from marginflow.distributions import Distribution, StandardNormal, check_num_samples
from marginflow.flow import Flow
from marginflow.shapes import Shape, as_shape, check_context, check_event
from marginflow.transforms import Transform


@dataclass(frozen=True)
class Calls:
    """How a library's densities are called; each is given the module first, then as in `Distribution`."""

    library: str
    log_prob: Callable[[Any, Tensor, Tensor | None], Tensor]
    sample: Callable[[Any, int, Tensor | None], Tensor]
    sample_and_log_prob: Callable[[Any, int, Tensor | None], tuple[Tensor, Tensor]]


class Foreign(Distribution):
    """A density of another library as a `Distribution`; its parameters are trained, moved and saved with it.

    module: the density. calls: how it is called. event_shape: of one row. context_features: the width of its context.

    Made by `from_zuko`, `from_nflows`, `from_normflows` and `from_torch`.
    """

    def __init__(self, module: nn.Module, calls: Calls, event_shape: torch.Size, context_features: int = 0) -> None:
        super().__init__()
        self.module, self.calls = module, calls
        self._shape, self._context_features = event_shape, context_features

    @property
    def event_shape(self) -> torch.Size:
        return self._shape

    @property
    def context_features(self) -> int:
        return self._context_features

    def _given(self, context: Tensor | None, num_rows: int) -> Tensor | None:
        check_context(context, self._context_features, num_rows)
        return context if self._context_features else None

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        check_event(x, self._shape)
        log_prob = self.calls.log_prob(self.module, x, self._given(context, len(x)))
        if log_prob.shape != (len(x),):
            raise ValueError(
                f"this density of {self.calls.library} gives log_prob of shape {tuple(log_prob.shape)} for "
                f"{len(x)} rows; expected ({len(x)},): its events may be of another shape than {tuple(self._shape)}"
            )
        return log_prob

    @torch.no_grad()
    def sample(self, num_samples: int, context: Tensor | None = None) -> Tensor:
        check_num_samples(num_samples)
        given = self._given(context, num_samples)
        if num_samples == 0:  # which not every library can draw
            return torch.empty(0, *self._shape)
        return self.calls.sample(self.module, num_samples, given)

    def sample_and_log_prob(self, num_samples: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_num_samples(num_samples)
        return self.calls.sample_and_log_prob(self.module, num_samples, self._given(context, num_samples))


def _insist(flow: object, library: str, *methods: str) -> None:
    """Refuse what is not a module, or lacks one of the methods."""
    missing = [f"no {name}" for name in methods if not callable(getattr(flow, name, None))]
    if not isinstance(flow, nn.Module):
        missing = ["no parameters, as it is not a module"]
    if missing:
        raise ValueError(
            f"{type(flow).__name__} has {' and '.join(missing)}; expected a density of {library}, a module with "
            f"{' and '.join(methods)}"
        )


def _shape_of(said: Shape | None, given: Shape | None, library: str) -> torch.Size:
    """The event shape that the flow says, or the caller does; ValueError where they differ or neither does."""
    if said is None and given is None:
        raise ValueError(f"this density of {library} does not say the shape of its events: give shape=...")
    shape = as_shape(cast(Shape, said if given is None else given))
    if said is not None and as_shape(said) != shape:
        raise ValueError(
            f"this density of {library} has events of shape {tuple(as_shape(said))}; got shape={given}: leave it out"
        )
    return shape


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


def _lazy(library: str) -> Calls:
    """Modules that are called with a context, or None, and return a torch.distributions.Distribution."""
    return Calls(library, lambda module, x, context: module(context).log_prob(x), _lazy_sample, _lazy_draw)


_ZUKO, _TORCH = _lazy("zuko"), _lazy("torch")


def _from_lazy(module: nn.Module, calls: Calls, context_features: int) -> Foreign:
    like = next(module.parameters(), torch.zeros(()))
    try:
        distribution = module(like.new_zeros(1, context_features) if context_features else None)
        if calls is _ZUKO and hasattr(
            distribution, "log_prob"
        ):  # which looks at a context only when it is asked for a density
            with torch.no_grad():
                distribution.log_prob(like.new_zeros(1, *distribution.event_shape))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{type(module).__name__} cannot be called with {context_features} context features ({error}): give the "
            "context_features that it was built for"
        ) from error
    if not isinstance(distribution, torch.distributions.Distribution):
        raise ValueError(
            f"{type(module).__name__} returns {type(distribution).__name__}; expected a distribution, which has "
            "log_prob"
        )
    if distribution.batch_shape not in ((), (1,)) or (distribution.batch_shape == (1,) and not context_features):
        raise ValueError(
            f"the distribution has batch shape {tuple(distribution.batch_shape)}; expected one event a row: wrap it in "
            "torch.distributions.Independent"
        )
    if len(distribution.event_shape) == 0:
        raise ValueError(
            "the distribution is over numbers; expected events of shape (D,): expand it to (1,), Independent"
        )
    return Foreign(module, calls, distribution.event_shape, context_features)


def from_zuko(flow: nn.Module, *, context_features: int = 0) -> Foreign:
    """A flow, or any lazy distribution, of zuko's, wrapped as it is.

    flow: such as `zuko.flows.NSF(features, context)`. context_features: the width of the context it was built for.

    ValueError for what has no log_prob, or was built for another context. `maf_from_zuko` turns a MAF into ours.

    F. Rozet and others, Zuko, https://github.com/probabilists/zuko (1.6).
    """
    _insist(flow, "zuko", "forward")
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

    distribution: one with events of shape (D,) and no batch shape (`Independent` makes one), whose parameters are then
        neither trained nor moved; or a module, called with the context (N, C), or None, that returns one, with the
        parameters to train. context_features: C.

    ValueError for a batch shape, or events without a shape.

    >>> import torch
    >>> from torch.distributions import Independent, Laplace
    >>> laplace = from_torch(Independent(Laplace(torch.zeros(2), torch.ones(2)), 1))
    >>> laplace.log_prob(torch.zeros(1, 2)), laplace.sample(3).shape
    (tensor([-1.3863]), torch.Size([3, 2]))
    """
    if isinstance(distribution, torch.distributions.Distribution):
        return _from_lazy(_Fixed(distribution), _TORCH, 0)
    _insist(distribution, "torch", "forward")
    return _from_lazy(distribution, _TORCH, context_features)


def _nflows_sample(module: Any, num_samples: int, context: Tensor | None) -> Tensor:
    return module.sample(num_samples) if context is None else module.sample(1, context)[:, 0]


def _nflows_draw(module: Any, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
    if context is None:
        return module.sample_and_log_prob(num_samples)
    x, log_prob = module.sample_and_log_prob(1, context)
    return x[:, 0], log_prob[:, 0]


_NFLOWS = Calls("nflows", lambda module, x, context: module.log_prob(x, context), _nflows_sample, _nflows_draw)


def from_nflows(flow: nn.Module, *, shape: Shape | None = None, context_features: int = 0) -> Foreign:
    """A flow or distribution of nflows', wrapped as it is.

    flow: such as `nflows.flows.Flow(transform, distribution)`. shape: of one row, where its base does not say.
    context_features: the width of the context that it was built for, before any embedding network.

    ValueError for what has no log_prob or sample, and for another shape than the flow's. `maf_from_nflows` turns a MAF
    into ours.

    C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, nflows, https://github.com/bayesiains/nflows (0.14).
    """
    _insist(flow, "nflows", "log_prob", "sample", "sample_and_log_prob")
    base: Any = getattr(flow, "_distribution", flow)
    said = getattr(base, "_shape", None)
    return Foreign(flow, _NFLOWS, _shape_of(said, shape, "nflows"), context_features)


def _normflows_context(context: Tensor | None) -> dict[str, Tensor]:
    return {} if context is None else {"context": context}


_NORMFLOWS = Calls(
    "normflows",
    lambda module, x, context: module.log_prob(x, **_normflows_context(context)),
    lambda module, num_samples, context: module.sample(num_samples, **_normflows_context(context))[0],
    lambda module, num_samples, context: module.sample(num_samples, **_normflows_context(context)),
)


def from_normflows(flow: nn.Module, *, shape: Shape | None = None, context_features: int = 0) -> Foreign:
    """A flow of normflows', wrapped as it is.

    flow: a `normflows.NormalizingFlow`, or with a context a `normflows.ConditionalNormalizingFlow`.
    shape: of one row, where its base does not say. context_features: the width of the context it was built for.

    ValueError for what has no log_prob or sample, and for another shape than the flow's.

    V. Stimper and others, normflows: A PyTorch Package for Normalizing Flows, 2023 (arXiv 2302.12014; 1.7).
    """
    _insist(flow, "normflows", "log_prob", "sample")
    base: Any = getattr(flow, "q0", flow)
    said = next((getattr(base, name) for name in ("shape", "d", "n_dim", "dim") if hasattr(base, name)), None)
    return Foreign(flow, _NORMFLOWS, _shape_of(said, shape, "normflows"), context_features)


class ForeignTransform(Transform):
    """An invertible network of FrEIA's as a `Transform`.

    inn: called with (x, c=[context] or None, rev=False), returns z and the log-determinant. shape, latent_shape: of
    one x and one z. context_features: the width of its condition.

    Made by `from_freia`.
    """

    def __init__(self, inn: nn.Module, shape: torch.Size, latent_shape: torch.Size, context_features: int = 0) -> None:
        super().__init__()
        self.inn, self.shape, self.latent_shape = inn, shape, latent_shape
        self._context_features = context_features

    @property
    def context_features(self) -> int:
        return self._context_features

    def _run(self, x: Tensor, context: Tensor | None, *, rev: bool) -> tuple[Tensor, Tensor]:
        check_event(x, self.latent_shape if rev else self.shape)
        check_context(context, self._context_features, len(x))
        if len(x) == 0:  # which not every layer there can take
            return x.new_empty(0, *(self.shape if rev else self.latent_shape)), x.new_empty(0)
        z, log_det = self.inn(x, c=[context] if self._context_features else None, rev=rev)
        return z, torch.as_tensor(log_det, dtype=x.dtype, device=x.device).expand(len(x))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._run(x, context, rev=False)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._run(z, context, rev=True)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return self._other(shape, self.shape, self.latent_shape)

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return self._other(shape, self.latent_shape, self.shape)

    @staticmethod
    def _other(shape: torch.Size, expected: torch.Size, other: torch.Size) -> torch.Size:
        if shape != expected:
            raise ValueError(f"this network of FrEIA takes events of shape {tuple(expected)}; got {tuple(shape)}")
        return other


def from_freia(inn: nn.Module, *, context_features: int = 0) -> Flow:
    """A `SequenceINN` or `GraphINN` of FrEIA's as a flow over N(0, I).

    inn: with one input and one output, and one condition (N, C) at most. context_features: C.

    ValueError for other networks. `ForeignTransform` takes it over another base.

    Ardizzone and others, FrEIA, https://github.com/vislearn/FrEIA (0.2).
    """
    _insist(inn, "FrEIA", "forward")
    found: Any = inn
    if hasattr(found, "global_out_shapes"):
        ends = [node.dims for node in found.in_nodes], found.global_out_shapes
    elif hasattr(found, "shapes"):
        ends = [found.shapes[0]], [found.shapes[-1]]
    else:
        raise ValueError(f"got {type(inn).__name__}, expected a SequenceINN or GraphINN of FrEIA")
    if len(ends[0]) != 1 or len(ends[1]) != 1:
        raise ValueError(
            f"this network of FrEIA has {len(ends[0])} inputs and {len(ends[1])} outputs; expected one of each"
        )
    shape, latent_shape = as_shape(ends[0][0]), as_shape(ends[1][0])
    return Flow(ForeignTransform(inn, shape, latent_shape, context_features), StandardNormal(latent_shape))
