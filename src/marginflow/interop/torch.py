"""Our densities as torch.distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, cast

import torch
from torch import Tensor
from torch.distributions import constraints

from marginflow.base.adapter import require_distribution
from marginflow.base.arguments import Values, as_context, as_rows, as_tensor, as_whole
from marginflow.base.distribution import Distribution
from marginflow.distributions import log_likelihood


class _AsTorch(torch.distributions.Distribution):
    """See `to_torch`. `context`, where there is one, has the batch shape in front of the shape of one row."""

    def __init__(
        self, model: Distribution, context: Values | None, num_samples: int | None, validate_args: bool | None
    ) -> None:
        require_distribution(model)
        if model.event_shape is None:
            raise ValueError(f"{type(model).__name__} does not say the shape of its events, which torch wants to know")
        if not model.exact and num_samples is None:
            raise ValueError(
                "this model's density is estimated, not exact: give num_samples=K, and log_prob is the "
                "importance-weighted estimate of K draws, without gradient"
            )
        if num_samples is not None:
            num_samples = as_whole(num_samples, "num_samples", least=1)
        self.model, self.num_samples = model, num_samples
        self.context, batch_shape = _batch_of(model, context)
        super().__init__(batch_shape, model.event_shape, validate_args=validate_args)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    @property
    def has_rsample(self) -> bool:
        return self.model.exact and self.model.reparameterised

    @property
    def support(self) -> constraints.Constraint:
        return self.model.support

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> _AsTorch:
        shape = _sizes(batch_shape, "batch_shape")
        ahead = len(shape) - len(self.batch_shape)
        sizes = zip(self.batch_shape, shape[max(ahead, 0) :], strict=False)
        if ahead < 0 or any(mine not in (1, wanted) for mine, wanted in sizes):
            raise ValueError(
                f"the batch shape {tuple(self.batch_shape)} cannot be expanded to {tuple(shape)}: give sizes that end "
                "in it, and change none but 1"
            )
        new = cast(_AsTorch, self._get_checked_instance(_AsTorch, _instance))
        new.model, new.num_samples, new.context = self.model, self.num_samples, None
        if self.context is not None:
            new.context = self.context.expand(*shape, *self.context.shape[len(self.batch_shape) :])
        torch.distributions.Distribution.__init__(new, shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _context_for(self, shape: torch.Size) -> Tensor | None:
        """A row of the context for each of the rows that `shape`, which ends in the batch shape, holds."""
        if self.context is None:
            return None
        own = self.context.shape[len(self.batch_shape) :]
        return self.context.expand(*shape, *own).reshape(-1, *own)

    def log_prob(self, value: Values) -> Tensor:
        value = as_tensor(value, "value")
        ahead = value.ndim - len(self.event_shape)
        if ahead < 0 or value.shape[ahead:] != self.event_shape:
            raise ValueError(
                f"value must end in the event shape {tuple(self.event_shape)}; got shape {tuple(value.shape)}"
            )
        try:
            shape = torch.broadcast_shapes(value.shape[:ahead], self.batch_shape)
        except RuntimeError:
            raise ValueError(
                f"value must have the batch shape {tuple(self.batch_shape)} in front of the event shape "
                f"{tuple(self.event_shape)}, or sizes that broadcast to it; got shape {tuple(value.shape)}"
            ) from None
        if self._validate_args and value.numel():  # of no values torch's check fails
            self._validate_sample(value)
        own = value.shape[:ahead] if self.context is None else shape  # without a context each value counts once
        rows = value.expand(*own, *self.event_shape).reshape(-1, *self.event_shape)
        x, context = as_rows(rows, self.event_shape, pixels=self.model.takes_pixels), self._context_for(own)
        if self.model.exact:
            log_prob = self.model.log_prob(x, context)
        else:
            estimate = log_likelihood(self.model, x, context, num_samples=self.num_samples or 1)
            log_prob = estimate.log_prob if self.model.takes_pixels else estimate.log_prob.to(x.dtype)
        return log_prob.reshape(own).expand(shape)

    def _request(self, sample_shape: Sequence[int]) -> tuple[torch.Size, int, Tensor | None]:
        """The shape of draws without their events, how many there are, and the context of each."""
        shape = _sizes(sample_shape, "sample_shape") + self.batch_shape
        return shape, shape.numel(), self._context_for(shape)

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        shape, count, context = self._request(sample_shape)
        return self.model.sample(count, context).reshape(*shape, *self.event_shape)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        return self.rsample_and_log_prob(sample_shape)[0]

    def rsample_and_log_prob(self, sample_shape: Sequence[int] = torch.Size()) -> tuple[Tensor, Tensor]:
        """Reparameterised draws and their log_prob, in one pass.

        Args:
            sample_shape: the shape of independent draws.

        Returns:
            The draws, (*sample_shape, *batch_shape, *event_shape), and their log_prob in nats, without the event.

        Raises:
            ValueError: where the model is not exact, or its draws have no gradients.
        """
        if not self.model.reparameterised:
            raise ValueError(f"the draws of {type(self.model).__name__} have no gradients: use sample, and log_prob")
        shape, count, context = self._request(sample_shape)
        x, log_prob = self.model.sample_and_log_prob(count, context)
        return x.reshape(*shape, *self.event_shape), log_prob.reshape(shape)

    def __repr__(self) -> str:
        model = repr(self.model).replace("\n", "\n  ")
        given = "" if self.num_samples is None else f"\n  num_samples={self.num_samples},"
        shapes = f"batch_shape={tuple(self.batch_shape)}, event_shape={tuple(self.event_shape)}"
        return f"to_torch(\n  {model},{given}\n  {shapes}\n)"

    def _has_no(self, what: str, remedy: str) -> NoReturn:
        raise NotImplementedError(f"{type(self.model).__name__} has no {what} in closed form: {remedy}")

    @property
    def mean(self) -> Tensor:
        self._has_no("mean", "estimate it by sample((10_000,)).mean(0)")

    @property
    def variance(self) -> Tensor:
        self._has_no("variance", "estimate it by sample((10_000,)).var(0)")

    @property
    def mode(self) -> Tensor:
        self._has_no("mode", "maximise log_prob")

    def entropy(self) -> Tensor:
        self._has_no("entropy", "estimate it by -log_prob(sample((10_000,))).mean(0)")

    def cdf(self, value: Tensor) -> Tensor:
        self._has_no("cumulative distribution", "estimate it by the share of samples below value")

    def icdf(self, value: Tensor) -> Tensor:
        self._has_no("quantiles", "estimate them by sample((10_000,)).quantile(value, 0)")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        self._has_no("list of its support", "draw from it by sample")


def _sizes(shape: Sequence[int], name: str) -> torch.Size:
    """A shape of whole sizes, none below 0."""
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        raise ValueError(f"{name} must be a shape, such as (3,) or torch.Size([3]); got {shape!r}")
    return torch.Size([as_whole(size, f"a size of {name}") for size in shape])


def _batch_of(model: Distribution, context: Values | None) -> tuple[Tensor | None, torch.Size]:
    """A context with its batch dimensions in front, and those: of vectors (..., C), or of images (..., C, H, W)."""
    features, none = model.context_features, torch.Size()
    given = None if context is None else as_tensor(context, "context")
    if given is None or given.ndim < 2 or not features:
        row = as_context(given, features, None, optional=model.context_optional)
        return None if row is None else row[0], none
    vectors, images = given.shape[-1] == features, given.ndim > 2 and given.shape[-3] == features
    if given.ndim > 2 and not vectors and not images:
        raise ValueError(
            f"context must end in ({features},), or in an image of {features} channels ({features}, H, W), with the "
            f"batch shape in front; got shape {tuple(given.shape)}"
        )
    takes_images = model.event_shape is not None and len(model.event_shape) == 3
    own = given.shape[-3:] if images and (takes_images or not vectors) else given.shape[-1:]
    rows = as_context(given.reshape(-1, *own), features, None, optional=model.context_optional)
    batch_shape = given.shape[: given.ndim - len(own)]
    return None if rows is None else rows.reshape(*batch_shape, *own), batch_shape


def to_torch(
    model: Distribution,
    context: Values | None = None,
    *,
    num_samples: int | None = None,
    validate_args: bool = False,
) -> torch.distributions.Distribution:
    """A density as a torch.distributions.Distribution: log_prob, sample, expand, and where it is exact rsample.

    Also `rsample_and_log_prob`, which takes one pass. Moments, entropy and quantiles have no closed form,
    nor has the KL divergence of p from q: `x = p.sample((10_000,)); (p.log_prob(x) - q.log_prob(x)).mean(0)`.

    Args:
        model: a distribution; shared, not copied.
        context: one row (C,) or (C, H, W); or rows with any batch shape in front, (*B, C) or (*B, C, H, W). What can be
            read both ways is images where the events are images, otherwise vectors.
        num_samples: K; for models that are not exact, whose log_prob is then the importance-weighted estimate, without
            gradient.
        validate_args: whether log_prob refuses values outside the support, where the density is otherwise 0.

    Returns:
        The distribution, with the event shape and the support of the model; log_prob is in nats.

    Raises:
        ValueError: for a model that is not exact without K, for one that does not say the shape of its events, and for
            a context of another width than the model's.

    Examples:
        >>> import torch
        >>> from marginflow import models
        >>> flow = to_torch(models.maf(2, hidden=[16]))
        >>> flow.log_prob(flow.sample((5, 4))).shape
        torch.Size([5, 4])
        >>> given = to_torch(models.maf(2, hidden=[16], context_features=3), torch.zeros(4, 5, 3))
        >>> given.batch_shape, given.sample().shape
        (torch.Size([4, 5]), torch.Size([4, 5, 2]))
    """
    return _AsTorch(model, context, num_samples, validate_args)
