"""Where a step goes: operations by kind, and shares that add up."""

from __future__ import annotations

import pytest
import torch

from benchmarks.profile import LOADER, OPTIMISER, PRODUCT, Step, Timed, kind, seconds_a_fault, seen, shares
from benchmarks.sizes import Size


@pytest.mark.parametrize(
    ("name", "inside", "expected"),
    [
        ("aten::mm", (), "products"),
        ("aten::addmm_", (), "products"),
        ("mkldnn::_linear_pointwise", (), "products"),
        ("aten::mkldnn_anything", (PRODUCT,), "products"),
        (PRODUCT, (), "products"),
        ("aten::exp", (), "elementwise"),
        ("aten::sum", ("_PassBackward",), "elementwise"),
        ("aten::as_strided", (), "Python and dispatch"),
        ("autograd::engine::evaluate_function: _PassBackward", (), "Python and dispatch"),
        ("_PassBackward", (), "Python and dispatch"),
        ("aten::mul", (OPTIMISER,), "optimiser"),
        ("aten::index", ("something", LOADER), "loader"),
    ],
)
def test_an_operation_has_a_kind(name: str, inside: tuple[str, ...], expected: str) -> None:
    assert kind(Timed(name, 1.0, inside)) == expected


OPERATIONS = [Timed("aten::mm", 3.0), Timed("aten::exp", 2.0), Timed("_Pass", 9.0), Timed(LOADER, 1.0)]


def test_what_operations_leave_is_python() -> None:
    found = shares(OPERATIONS, 10.0, 10.0)
    assert found["products"] == pytest.approx(0.3)
    assert found["Python and dispatch"] == pytest.approx(0.4)
    assert sum(found.values()) == pytest.approx(1)


def test_what_the_profiler_adds_is_taken_off_each_operation() -> None:
    found = shares(OPERATIONS, 10.0, 12.0)  # half a second each
    assert found["products"] == pytest.approx(0.25)
    assert found["elementwise"] == pytest.approx(0.15)
    assert sum(found.values()) == pytest.approx(1)


def test_operations_longer_than_the_step_are_scaled() -> None:
    found = shares(OPERATIONS, 3.0, 3.0)
    assert found["products"] == pytest.approx(0.5)
    assert found["Python and dispatch"] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("single")
def test_a_step_is_seen_whole() -> None:
    step = Step(Size("small", 3, (16,), 1, blocks=2, rows=10))
    step()
    operations, _ = seen(step, 2)
    assert {kind(each) for each in operations} >= {"products", "elementwise", "optimiser", "loader"}
    assert sum(kind(each) == "products" for each in operations) >= 2 * 2 * 2  # two steps, blocks, layers
    weights = [each.detach().clone() for each in step.model.parameters()]
    step()
    assert any(not torch.equal(old, new) for old, new in zip(weights, step.model.parameters(), strict=True))


def test_a_page_fault_costs_something() -> None:
    assert 0 < seconds_a_fault(megabytes=16) < 1e-3
