"""A linear layer by the product that is quickest on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from marginflow.nets import products
from marginflow.nets.autograd import Written


class Linear(nn.Linear):
    """A linear layer as torch's, whose products another back end serves where that is quicker, see `products`.

    y = W x + b, x (N, ..., in_features) -> (N, ..., out_features)
    """

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if input.ndim == 2 and bias is not None and products.are_anothers(input, weight):
            return _Product()(input, weight, bias)
        return functional.linear(input, weight, bias)


class _Product(Written):
    """x W^T + b of x (N, I), W (O, I) and b (O,), and its gradient."""

    def plain(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.linear(x, weight, bias)

    def quick(self, kept: list[Tensor] | None, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return products.linear(x, weight, bias)

    def gradients(
        self, kept: Sequence[Tensor], inputs: Sequence[Any], needed: Sequence[bool], *grads: Tensor
    ) -> list[Tensor | None]:
        (x, weight, _), (grad,) = inputs, grads
        return [
            products.input_gradient(grad, weight) if needed[0] else None,
            products.weight_gradient(grad, x) if needed[1] else None,
            grad.sum(0) if needed[2] else None,
        ]
