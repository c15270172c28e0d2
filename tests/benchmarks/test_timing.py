"""What is timed: calls in turns, and our products alone."""

from __future__ import annotations

import time

import pytest
import torch

from benchmarks import report, timing, ways
from benchmarks.floors import Floor, Floors
from benchmarks.limits import ProductsAlone
from benchmarks.sizes import Size
from benchmarks.timing import TURN, interleaved
from marginflow.nets import products
from marginflow.nets.back_ends import LEAST

pytestmark = pytest.mark.usefixtures("single")


def test_short_calls_are_repeated_in_a_turn_and_long_ones_are_not() -> None:
    calls: list[str] = []

    def short() -> None:
        calls.append("short")
        time.sleep(TURN / 10)

    def long() -> None:
        calls.append("long")
        time.sleep(TURN)

    found = interleaved({"short": short, "long": long}, 2)
    assert TURN / 10 <= found["short"] < found["long"]
    assert calls.count("long") == 1 + 2
    assert 1 + 2 * 2 <= calls.count("short") <= 1 + 2 * 10
    assert calls[:2] == ["short", "long"]
    assert calls[2] == "short"
    assert calls[-1] == "long"


def test_products_alone_are_those_of_the_call_on_the_same_matrices() -> None:
    x, weight, out = torch.randn(5, 3), torch.nn.Parameter(torch.randn(4, 3)), torch.empty(5, 4)

    def call() -> None:
        products.forward(x, weight, out).relu_()
        products.weight_gradient(out, x)

    with torch.no_grad():
        alone = ProductsAlone(call)
    assert [product for product, _, _ in alone.products] == [products.forward, products.weight_gradient]
    alone()
    assert torch.allclose(out, x @ weight.T)  # without what followed


def test_products_alone_are_one_for_each_layer_however_large() -> None:
    """A small layer adds its bias within the product, a large one after it."""
    for rows, width in ((5, 4), (100, 256)):
        x, weight, bias = torch.randn(rows, width), torch.randn(width, width), torch.randn(width)
        alone = ProductsAlone(lambda x=x, weight=weight, bias=bias: products.linear(x, weight, bias))
        assert [product for product, _, _ in alone.products] == [
            products.forward if rows * width**2 >= LEAST else products.linear
        ]


@pytest.mark.slow
def test_a_model_is_timed_in_every_way_and_beside_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "compiler", lambda: None)
    size = Size("small", 3, (8, 8), 2, blocks=2, rows=10, floors=Floors(Floor(1)))
    found = timing.time_size(size)
    ours = found["marginflow"]
    assert list(found) == ["marginflow", "zuko", "nflows"]
    assert all(0 < ours["limits"][key] < ours[key] for key in ("step", "log_prob"))
    assert all(each["sample"] > 0 and not each["left_out"] for each in found.values())
    assert set(report.limits(found)) == {"step", "log_prob"}
