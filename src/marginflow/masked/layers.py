"""Linear layers under a staircase mask, stored and multiplied in bands."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

ROWS_A_BAND = 64  # below this many rows a band saves less than its own call costs
MOST_BANDS = 8


class _EdgeLinear(torch.autograd.Function):
    """x @ weight.T + bias, whose weight gradient is zero where `edge`, the weight's last columns, is zero."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, edge: Tensor) -> Tensor:
        return functional.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, edge = inputs
        ctx.save_for_backward(x, weight, edge)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        x, weight, edge = ctx.saved_tensors
        grad_x = grad @ weight if ctx.needs_input_grad[0] else None
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = grad.T @ x
            grad_weight[:, weight.shape[1] - edge.shape[1] :] *= edge
        return grad_x, grad_weight, grad.sum(0), None


class MaskedLinear(nn.Module):
    """A linear layer in which output i sees the inputs whose degree its own allows.

    y_i = b_i + sum over j of W_ij x_j,  j with in_degrees[j] <= out_degrees[i]  (< where `strict`)

    Both lists of degrees are sorted, so the mask is a staircase: the rows are cut into bands, and a band
    stores and multiplies only the columns that its last row sees. Inside a band only the last columns,
    its edge, are ragged; weights there that the mask hides are zero, and as their gradient is zero
    too they stay so. Loading a hidden weight that is not zero is refused.

    in_degrees (I,), out_degrees (O,): sorted. x (N, I) -> (N, O).
    """

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor, *, strict: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = len(in_degrees), len(out_degrees)
        visible = torch.searchsorted(in_degrees, out_degrees, right=not strict)  # columns that a row sees
        num_bands = max(1, min(MOST_BANDS, self.out_features // ROWS_A_BAND))
        cuts = torch.linspace(0, self.out_features, num_bands + 1).long().tolist()
        self.rows = [slice(top, bottom) for top, bottom in pairwise(cuts)]
        self.columns: list[int] = []
        self.weights = nn.ParameterList()
        bound = 1 / math.sqrt(max(self.in_features, 1))
        for i, rows in enumerate(self.rows):
            seen = visible[rows]
            start, end = int(seen[0]), int(seen[-1])
            edge = (torch.arange(start, end) < seen[:, None]).to(torch.get_default_dtype())
            weight = torch.empty(len(seen), end).uniform_(-bound, bound)
            weight[:, start:] *= edge
            self.columns.append(end)
            self.weights.append(nn.Parameter(weight))
            self.register_buffer(f"edge{i}", edge, persistent=False)
        self.bias = nn.Parameter(torch.empty(self.out_features).uniform_(-bound, bound))

    def edge(self, band: int) -> Tensor:
        """The mask over the last columns of a band: (rows, columns), 1 where the weight is seen."""
        return cast(Tensor, getattr(self, f"edge{band}"))

    def forward(self, x: Tensor) -> Tensor:
        biases = self.bias.split([len(weight) for weight in self.weights])
        outputs = [
            cast(Tensor, _EdgeLinear.apply(x[:, :end], weight, bias, self.edge(i)))
            for i, (end, weight, bias) in enumerate(zip(self.columns, self.weights, biases, strict=True))
        ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)

    @torch.no_grad()
    def dense_weight(self) -> Tensor:
        """The weight as one masked matrix: (O, I)."""
        dense = self.bias.new_zeros(self.out_features, self.in_features)
        for rows, end, weight in zip(self.rows, self.columns, self.weights, strict=True):
            dense[rows, :end] = weight
        return dense

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        errors: list[str] = args[-1] if args else kwargs["error_msgs"]
        for i, end in enumerate(self.columns):
            loaded, edge = state_dict.get(f"{prefix}weights.{i}"), self.edge(i)
            if loaded is None or loaded.shape != self.weights[i].shape:
                continue  # reported by torch
            hidden = loaded[:, end - edge.shape[1] :][edge.to(loaded.device) == 0]
            if bool((hidden != 0).any()):
                errors.append(f"{prefix}weights.{i} has non-zero weights where the mask hides them")

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bands={len(self.rows)}"
