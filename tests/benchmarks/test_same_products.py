"""Peers' linear layers through our products: the same numbers, the same gradients, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.candidates import CANDIDATES
from benchmarks.same_products import linear, same_products
from benchmarks.sizes import Size
from benchmarks.ways import AS_IT_COMES, Way, left_out
from marginflow.nets import products

plain = functional.linear


@pytest.fixture(params=products.usable(), autouse=True)
def _back_end(request: pytest.FixtureRequest, single: None) -> Iterator[None]:
    with products.using(products.all_by(request.param)):
        yield


def output_and_gradients(product: Callable[..., Tensor], *given: Tensor) -> list[Tensor]:
    leaves = [each.clone().requires_grad_() for each in given]
    out = product(*leaves)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), leaves)]


@pytest.mark.parametrize("shape", [(5, 3, 7), (100, 300, 257)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_as_float64_has_them(shape: tuple[int, int, int], with_bias: bool) -> None:
    rows, inputs, outputs = shape
    given = [torch.randn(rows, inputs), torch.randn(outputs, inputs), *([torch.randn(outputs)] if with_bias else [])]
    expected = output_and_gradients(plain, *(each.double() for each in given))
    for found, exact in zip(output_and_gradients(linear, *given), expected, strict=True):
        assert found.dtype == torch.float32
        assert float((found - exact).abs().max() / exact.abs().max()) < 1e-5


def test_other_inputs_are_torchs() -> None:
    x, weight = torch.randn(2, 3, 4), torch.randn(5, 4)
    assert torch.equal(linear(x, weight), plain(x, weight))
    assert linear(x.double(), weight.double()).dtype == torch.float64


def test_torch_is_as_it_was_afterwards_even_after_an_error() -> None:
    def fail() -> None:
        with same_products():
            assert functional.linear is linear
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert functional.linear is plain


@pytest.mark.parametrize("library", ["zuko", "nflows"])
def test_a_peer_is_the_same_flow_on_them(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*given: Tensor) -> Tensor:
        calls.append(given)
        return linear(*given)

    monkeypatch.setattr("benchmarks.same_products.linear", counted)
    size = Size("small", 3, (8, 8), 1, blocks=2, rows=10)
    candidate = CANDIDATES[library](size)
    found = {AS_IT_COMES: Way(candidate, candidate.log_prob), "same": Way(candidate, candidate.log_prob, same=True)}
    assert left_out(found, torch.randn(10, 3), Way.evaluate) == {}
    assert len(calls) >= 2 * 3  # three layers a block at least
    assert left_out(found, torch.randn(10, 3), Way.step) == {}
