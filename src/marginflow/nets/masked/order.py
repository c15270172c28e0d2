"""An order of dimensions that a module keeps, saves, and requires of what it loads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from marginflow.base.constants import HoldsConstants
from marginflow.base.settings import generator_from
from marginflow.nets.masked.degrees import resolve_order


class FeatureOrder(HoldsConstants):
    """Dimensions first to last. Saved with the weights; loading those of another order is refused.

    features: D. order, seed: see `resolve_order`.

    order.dimensions: (D,). reorder(x): x (N, D, ...) with the first dimension of the order in front; restore: back.
    """

    def __init__(self, features: int, order: str | Sequence[int] = "sequential", seed: int = 0) -> None:
        super().__init__()
        resolved = resolve_order(order, features, generator_from(seed))
        self.dimensions: Tensor
        self.positions: Tensor
        self.register_buffer("dimensions", resolved.to(torch.get_default_device()))
        self.register_buffer("positions", torch.argsort(self.dimensions), persistent=False)
        self._resolved = resolved.clone()  # the buffer may be written over
        self._first = resolved[:8].tolist()
        self._is_identity = resolved.tolist() == list(range(features))
        self._is_reversal = resolved.tolist() == list(reversed(range(features)))

    def _constants(self) -> dict[str, Tensor]:
        return {"dimensions": self._resolved, "positions": torch.argsort(self._resolved)}

    def reorder(self, x: Tensor) -> Tensor:
        """From the order of the data to this one: (N, D, ...)."""
        return x if self._is_identity else x.flip(1) if self._is_reversal else x.index_select(1, self.dimensions)

    def restore(self, x: Tensor) -> Tensor:
        """From this order back to that of the data: (N, D, ...)."""
        return x if self._is_identity else x.flip(1) if self._is_reversal else x.index_select(1, self.positions)

    def __repr__(self) -> str:
        listed = ", ".join(map(str, self._first)) + (", ..." if len(self.dimensions) > len(self._first) else "")
        return "sequential" if self._is_identity else "reversed" if self._is_reversal else f"[{listed}]"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        loaded = state_dict.get(prefix + "dimensions")
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if loaded is not None and not loaded.is_meta and not torch.equal(loaded.cpu(), self._resolved):
            self.dimensions.copy_(self._resolved)
            errors: list[str] = args[-1] if args else kwargs["error_msgs"]
            errors.append(f"{prefix[:-1]} is another one: build the model with the order and seed it was trained with")
