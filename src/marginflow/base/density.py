"""The contract of a density from elsewhere."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Density(Protocol):
    """The methods that a density from elsewhere must have to be a base or to be marginalised."""

    def log_prob(self, x: Tensor, context: Tensor | None = None, /) -> Tensor:
        """The log density of rows.

        Args:
            x: rows (N, *event).
            context: (N, C, ...), a row for each row of x; left out where the density uses none.

        Returns:
            log p(x | context), (N,), in nats.
        """
        ...

    def sample(self, num_samples: int, context: Tensor | None = None, /) -> Tensor:
        """Independent samples.

        Args:
            num_samples: number of samples N.
            context: (N, C, ...), a row for each sample; left out where the density uses none.

        Returns:
            The samples, (N, *event).
        """
        ...
