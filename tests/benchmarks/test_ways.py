"""The ways to run a library: each on its own products, and left out with the reason where it does not work."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks import same_products as same
from benchmarks.candidates import CANDIDATES
from benchmarks.sizes import Size
from benchmarks.ways import AS_IT_COMES, Way, compiled, left_out

pytestmark = pytest.mark.usefixtures("single")


def test_a_way_that_fails_or_disagrees_is_left_out_with_the_reason() -> None:
    candidate = CANDIDATES["marginflow"](Size("small", 2, (8,), 1, blocks=1, rows=4))

    def failing(x: Tensor) -> Tensor:
        raise RuntimeError("no compiler")

    found = {
        AS_IT_COMES: Way(candidate, candidate.log_prob),
        "failing": Way(candidate, failing),
        "wrong": Way(candidate, lambda x: candidate.log_prob(x) + 1),
    }
    reasons = left_out(found, torch.randn(4, 2), Way.evaluate)
    assert reasons["failing"] == "RuntimeError: no compiler"
    assert reasons["wrong"].startswith("log_prob differs")
    assert list(reasons) == ["failing", "wrong"]


@pytest.mark.slow
def test_compiled_graphs_take_their_own_products(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, plain_forward = [], same.products.forward

    def counted(x: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
        calls.append(x)
        return plain_forward(x, weight, out)

    monkeypatch.setattr(same.products, "forward", counted)
    torch.compiler.reset()
    candidate, x = CANDIDATES["nflows"](Size("small", 3, (8,), 1, blocks=1, rows=10)), torch.randn(10, 3)
    found = {
        AS_IT_COMES: Way(candidate, compiled(candidate, backend="aot_eager")),
        "same": Way(candidate, compiled(candidate, backend="aot_eager"), same=True),
    }
    assert left_out(found, x, Way.evaluate) == left_out(found, x, Way.step) == {}
    calls.clear()
    found[AS_IT_COMES].step(x)
    assert not calls
    found["same"].step(x)
    assert len(calls) >= 2  # layers
