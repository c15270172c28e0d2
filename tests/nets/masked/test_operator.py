"""A large masked network as one operator for compilers: the same numbers and gradients, and no bands in the graph."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from marginflow.nets.masked import linear, network, operator
from marginflow.training.compiled import compiler
from marginflow.transforms import MaskedAutoregressive


@pytest.fixture(autouse=True)
def _every_network_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.compiler.reset()
    monkeypatch.setattr(network, "LARGE", 1)
    monkeypatch.setattr(linear, "WEIGHTS_A_CALL", 4)


def made_of(context_features: int = 0, **options: Any) -> MaskedAutoregressive:
    return MaskedAutoregressive(5, [9, 7], order="random", context_features=context_features, **options)


def found(call: Any, made: MaskedAutoregressive, *given: Tensor) -> list[Tensor]:
    torch.default_generator.manual_seed(2)
    z, log_det = call(*given)
    value = (z.pow(3).sum(1) + log_det.square()).sum()
    wanted = [each for each in [*given, *made.parameters()] if each.requires_grad]
    return [z, log_det, *torch.autograd.grad(value, wanted)]


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize(("activation", "context_features"), [("relu", 0), ("tanh", 2), ("gelu", 2)])
def test_compiled_numbers_and_gradients_are_the_eager_ones(
    activation: str, context_features: int, dropout: float
) -> None:
    made = made_of(context_features, activation=activation, dropout=dropout).train()
    made.network.layers[1].bias.requires_grad_(False)
    sizes = [5, *([context_features] if context_features else [])]
    given = [torch.randn(6, size, requires_grad=True) for size in sizes]
    compiled = torch.compile(made, fullgraph=True, backend="aot_eager")
    for ours, expected in zip(found(compiled, made, *given), found(made, made, *given), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_the_graph_holds_the_operator_and_no_bands() -> None:
    names: list[str] = []

    def looking(graph: torch.fx.GraphModule, _: Any) -> Any:
        names.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    made, x = made_of(), torch.randn(6, 5)
    torch.compile(made, fullgraph=True, backend=looking)(x)
    assert sum("masked_network" in name for name in names) == 1
    assert not any("linear" in name or "addmm" in name for name in names)
    exported = torch.export.export(made.eval(), (x,))
    assert not any("masked_network" in str(node.target) for node in exported.graph.nodes)


@pytest.mark.parametrize("context_features", [0, 2])
def test_torch_finds_nothing_wrong_with_the_operator(context_features: int) -> None:
    made = made_of(context_features)
    context = torch.randn(6, 2, requires_grad=True) if context_features else None
    given = (made.network._whole.number, torch.randn(6, 5, requires_grad=True), context, made.network.tensors, [])
    torch.library.opcheck(operator.masked_network, given)


def test_a_copy_is_a_network_of_its_own_and_one_that_is_gone_is_forgotten() -> None:
    made = made_of()
    copies = [copy.deepcopy(made), pickle.loads(pickle.dumps(made))]
    numbers = {each.network._whole.number for each in (made, *copies)}
    assert len(numbers) == 3
    assert numbers <= set(operator._networks)
    x = torch.randn(6, 5)
    with torch.no_grad():
        for parameter in copies[0].parameters():
            parameter.mul_(2)
        compiled = torch.compile(copies[0], fullgraph=True, backend="aot_eager")(x)[0]
    torch.testing.assert_close(compiled, copies[0](x)[0])
    gone = copies.pop().network._whole.number
    assert gone not in operator._networks


def test_a_small_network_has_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "LARGE", 10**6)
    assert made_of().network._whole.number is None


@pytest.mark.parametrize("rows", [0, 1])
def test_batches_of_no_row_and_of_one_row(rows: int) -> None:
    """Of one row, the parts that belong to x and to context are contiguous, and must not share their memory."""
    made = made_of(2)
    given = [torch.randn(rows, size, requires_grad=True) for size in (5, 2)]
    compiled = torch.compile(made, fullgraph=True, backend="aot_eager")
    for ours, expected in zip(found(compiled, made, *given), found(made, made, *given), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_rows_that_are_transposed() -> None:
    """Their gradient is promised as it comes, and not in their strides."""
    made = MaskedAutoregressive(5, [9, 7])
    x = torch.randn(5, 6).T.requires_grad_()
    given = (made.network._whole.number, x, None, made.network.tensors, [])
    torch.library.opcheck(operator.masked_network, given)


def test_what_maps_or_casts_sees_ordinary_operations() -> None:
    made, rows = made_of(), torch.randn(4, 6, 5)
    mapped = torch.compile(torch.func.vmap(lambda x: made(x)[0]), backend="aot_eager")
    torch.testing.assert_close(mapped(rows), torch.stack([made(x)[0] for x in rows]))
    made, x = made.float(), rows[0].float()
    with torch.autocast("cpu", torch.bfloat16):
        cast = torch.compile(made, backend="aot_eager")(x)[0]
        torch.testing.assert_close(cast, made(x)[0])
    assert not torch.allclose(cast.float(), made(x)[0], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # in torch itself
@pytest.mark.skipif(compiler() is None, reason="there is no C++ compiler")
def test_a_training_with_dropout_is_compiled_for_good() -> None:
    """By the compiler that people have, with steps that differ by what is left out."""
    made, x = made_of(dropout=0.3).float().train(), torch.randn(6, 5, dtype=torch.float32)
    compiled = torch.compile(made, fullgraph=True)
    values = [loss.item() for loss in (compiled(x)[0].square().sum() for _ in range(3)) if loss.backward() is None]
    assert len(set(values)) == 3
    expected = [made(x)[0].square().sum().item() for _ in range(200)]
    assert min(expected) <= min(values) <= max(values) <= max(expected)
    assert all(torch.isfinite(each.grad).all() for each in made.parameters())
