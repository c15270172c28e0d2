"""Our densities as torch.distributions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import constraints

from marginflow.base.adapter import require_distribution
from marginflow.base.arguments import Values, as_context, as_rows, as_tensor, as_whole
from marginflow.base.distribution import Distribution
from marginflow.distributions import log_likelihood


class _AsTorch(torch.distributions.Distribution):
    """See `to_torch`."""

    def __init__(self, model: Distribution, context: Values | None, num_samples: int | None) -> None:
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
        rows = None if context is None else as_tensor(context, "context")
        given = as_context(rows, model.context_features, None, optional=model.context_optional)
        self.model, self.context, self.num_samples = model, given, num_samples
        self.has_rsample = model.exact
        batch_shape = torch.Size()
        if given is not None and rows is not None and given.ndim == rows.ndim:
            batch_shape = given.shape[:1]
        super().__init__(batch_shape, model.event_shape, validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        return {}

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    def _context_for(self, shape: torch.Size) -> Tensor | None:
        """A row of the context for each of the rows that `shape`, which ends in the batch shape, holds."""
        if self.context is None:
            return None
        own = self.context.shape[1:]
        rows = self.context.expand(*shape[:-1], len(self.context), *own) if self.batch_shape else self.context
        return rows.reshape(-1, *own)  # one row stands for all

    def log_prob(self, value: Values) -> Tensor:
        value = as_tensor(value, "value")
        ahead = value.ndim - len(self.event_shape)
        if ahead < 0 or value.shape[ahead:] != self.event_shape:
            raise ValueError(
                f"value must end in the event shape {tuple(self.event_shape)}; got shape {tuple(value.shape)}"
            )
        shape = torch.broadcast_shapes(value.shape[:ahead], self.batch_shape)
        rows = value.expand(*shape, *self.event_shape).reshape(-1, *self.event_shape)
        x = as_rows(rows, self.event_shape, pixels=self.model.takes_pixels)
        context = self._context_for(shape)
        if self.model.exact:
            return self.model.log_prob(x, context).view(shape)
        estimate = log_likelihood(self.model, x, context, num_samples=self.num_samples or 1)
        return estimate.log_prob.to(x.dtype).view(shape)

    def _extended(self, sample_shape: Sequence[int]) -> tuple[torch.Size, int]:
        shape = torch.Size([*sample_shape, *self.batch_shape])
        return shape, shape.numel()

    def sample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        shape, count = self._extended(sample_shape)
        return self.model.sample(count, self._context_for(shape)).view(*shape, *self.event_shape)

    def rsample(self, sample_shape: Sequence[int] = torch.Size()) -> Tensor:
        shape, count = self._extended(sample_shape)
        x, _ = self.model.sample_and_log_prob(count, self._context_for(shape))
        return x.view(*shape, *self.event_shape)


def to_torch(
    model: Distribution, context: Values | None = None, *, num_samples: int | None = None
) -> torch.distributions.Distribution:
    """A density as a torch.distributions.Distribution: log_prob, sample, and rsample where it is exact.

    Args:
        model: a distribution; shared, not copied.
        context: one row (C,), or rows (B, C), which make the batch shape (B,).
        num_samples: K; for models that are not exact, whose log_prob is then the importance-weighted estimate, without
            gradient.

    Returns:
        The distribution, with the event shape of the model; log_prob is in nats.

    Raises:
        ValueError: for a model that is not exact without K, for one that does not say the shape of its events, and for
            a context of another width than the model's.

    Examples:
        >>> import torch
        >>> from marginflow import models
        >>> flow = to_torch(models.maf(2, hidden=[16]))
        >>> flow.log_prob(flow.sample((5, 4))).shape
        torch.Size([5, 4])
    """
    return _AsTorch(model, context, num_samples)
