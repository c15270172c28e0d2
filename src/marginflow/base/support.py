"""Where a density may be positive, as far as is known: constraints of torch.distributions."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

REAL = cast(Constraint, constraints.real)


def of_events(each: Constraint, event_shape: torch.Size | None) -> Constraint:
    """The constraint of events of a shape that `each` of their numbers keeps."""
    return constraints.independent(each, 1 if event_shape is None else len(event_shape))


def of_each_number(support: Constraint) -> Constraint:
    """The constraint of every number of an event, the same for all; `real` where they differ, or one is not known."""
    each = getattr(support, "base_constraint", support)
    bounds = [bound for name, bound in vars(each).items() if name.endswith("_bound")]
    differ = any(isinstance(bound, Tensor) and bound.ndim > 0 for bound in bounds)
    return REAL if constraints.is_dependent(each) or each.event_dim or differ else each
