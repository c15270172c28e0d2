"""What a call of ours cannot be quicker than: its products of matrices alone, and in a step Adam."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.same_products import KINDS
from marginflow.nets import products

Product = Callable[..., Any]


@contextmanager
def wrapped(wrap: Callable[[Product], Product]) -> Iterator[None]:
    """Within it each product of `marginflow.nets.products` is what `wrap` makes of it."""
    plain = {name: getattr(products, name) for name in (*KINDS, "linear")}
    for name, product in plain.items():
        setattr(products, name, wrap(product))
    try:
        yield
    finally:
        for name, product in plain.items():
            setattr(products, name, product)


class ProductsAlone:
    """The products that a call computes, to be computed once more, on the same matrices, with nothing between them."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.products: list[tuple[Product, tuple[Any, ...], dict[str, Any]]] = []
        with wrapped(self._recorded):
            call()

    def _recorded(self, product: Product) -> Product:
        def recorded(*given: Any, **named: Any) -> Any:
            before = len(self.products)
            found = product(*given, **named)
            if len(self.products) == before:  # a large layer with a bias is a product of another name inside
                self.products.append((product, given, named))
            return found

        return recorded

    @torch.no_grad()
    def __call__(self) -> None:
        for product, given, named in self.products:
            product(*given, **named)
