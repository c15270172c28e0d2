"""The written-out gradient of a masked network against finite differences and against autograd's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from marginflow.nets import autograd
from marginflow.nets.masked import linear as layers
from marginflow.nets.masked.forward import dropout_factors
from marginflow.transforms import Affine, MaskedAutoregressive


@pytest.fixture(autouse=True)
def _several_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands in small layers too."""
    monkeypatch.setattr(layers, "WEIGHTS_A_CALL", 4)


def made_of(
    activation: str | nn.Module = "tanh", context_features: int = 2, hidden: Sequence[int] = (9, 7), **options: object
) -> MaskedAutoregressive:
    made = MaskedAutoregressive(
        5, hidden, order="random", activation=activation, context_features=context_features, **options
    )
    assert all(len(layer.weights) > 1 for layer in made.network.layers)
    return made


def loss(made: MaskedAutoregressive, x: Tensor, context: Tensor | None) -> Tensor:
    z, log_det = made(x, context)
    return (z.pow(3).sum(1) + log_det.square()).sum()


def gradients(made: MaskedAutoregressive, x: Tensor, context: Tensor | None) -> list[Tensor]:
    inputs = [x, *([] if context is None else [context]), *made.parameters()]
    return list(torch.autograd.grad(loss(made, x, context), inputs))


@pytest.mark.parametrize("hidden", [[9, 7], [8, 6, 8, 9, 8]], ids=["plain", "residual"])
@pytest.mark.parametrize("context_features", [0, 2])
@pytest.mark.parametrize("activation", ["relu", "elu", "gelu", "silu", "softplus", "tanh"])
def test_gradients_are_autograds(
    activation: str, context_features: int, hidden: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = made_of(activation, context_features, hidden=hidden, residual=len(hidden) > 2)
    x = torch.randn(6, 5, requires_grad=True)
    context = torch.randn(6, context_features, requires_grad=True) if context_features else None
    ours = gradients(made, x, context)
    monkeypatch.setattr(autograd, "left_to_autograd", lambda: True)
    for own, other in zip(ours, gradients(made, x, context), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("hidden", [[9, 7], [8, 6, 8]], ids=["plain", "residual"])
def test_gradients_and_second_gradients_are_finite_differences(hidden: list[int]) -> None:
    made = made_of(hidden=hidden, residual=len(hidden) > 2)
    x, context = torch.randn(3, 5, requires_grad=True), torch.randn(3, 2, requires_grad=True)
    assert torch.autograd.gradcheck(made, (x, context))
    assert torch.autograd.gradgradcheck(made, (x, context))


def test_a_gradient_penalty_reaches_the_weights() -> None:
    """The gradient of |dL/dx|^2 in the weights, once by the written-out way and once left to autograd."""
    made = made_of()
    x = torch.randn(4, 5, requires_grad=True)
    context = torch.randn(4, 2)

    def penalty() -> list[Tensor]:
        (grad,) = torch.autograd.grad(loss(made, x, context), x, create_graph=True)
        torch.testing.assert_close(grad.detach(), torch.autograd.grad(loss(made, x, context), x)[0])
        return list(torch.autograd.grad(grad.square().sum(), list(made.parameters())))

    ours = penalty()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autograd, "left_to_autograd", lambda: True)
        for own, other in zip(ours, penalty(), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-10)


def test_frozen_parts_get_no_gradient_and_the_rest_the_same() -> None:
    made, x, context = made_of(), torch.randn(4, 5), torch.randn(4, 2)
    loss(made, x, context).backward()
    expected = {name: parameter.grad for name, parameter in made.named_parameters()}
    frozen = made_of()
    frozen.load_state_dict(made.state_dict())
    for parameter in frozen.network.hidden_layers[0].parameters():
        parameter.requires_grad_(False)
    loss(frozen, x, context).backward()
    for name, parameter in frozen.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, expected[name])
        else:
            assert parameter.grad is None


def test_torch_func_sees_ordinary_operations() -> None:
    made, x, context = made_of(), torch.randn(4, 5), torch.randn(4, 2)

    def one(x: Tensor, context: Tensor) -> Tensor:
        return made(x[None], context[None])[0][0]

    jacobians = torch.func.vmap(torch.func.jacrev(one))(x, context)
    log_dets = torch.linalg.slogdet(jacobians).logabsdet
    torch.testing.assert_close(log_dets, made(x, context)[1])


class Counts(TorchDispatchMode):
    """Counts products of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.products += func in (torch.ops.aten.mm.default, torch.ops.aten.addmm_.default, torch.ops.aten.mm.out)
        return func(*args, **(kwargs or {}))


def test_frozen_weights_cost_no_gradients_of_weights() -> None:
    found = []
    for frozen in (False, True):
        made = made_of()
        for weight in made.network.layers[1].weights:
            weight.requires_grad_(not frozen)
        value = loss(made, torch.randn(4, 5), torch.randn(4, 2))
        with Counts() as counts:
            value.backward()
        found.append(counts.products)
    assert found[0] - found[1] == len(made.network.layers[1].weights)


def test_a_swapped_parameter_is_the_one_that_counts() -> None:
    made, x, context = made_of(), torch.randn(4, 5, requires_grad=True), torch.randn(4, 2)
    swapped = {name: (2 * parameter).detach().requires_grad_() for name, parameter in made.named_parameters()}
    z, log_det = torch.func.functional_call(made, swapped, (x, context))
    (z.sum() + log_det.sum()).backward()
    other = made_of()
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter.copy_(swapped[name])
    x_again = x.detach().clone().requires_grad_()
    z, log_det = other(x_again, context)
    (z.sum() + log_det.sum()).backward()
    torch.testing.assert_close(x.grad, x_again.grad)
    for name, parameter in other.named_parameters():
        torch.testing.assert_close(swapped[name].grad, parameter.grad)
    assert all(parameter.grad is None for parameter in made.parameters())


def test_affine_alone_has_the_right_gradients() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    params = (4 * torch.randn(4, 3, 2)).requires_grad_()
    assert torch.autograd.gradcheck(Affine(2.0).forward, (x, params))
    assert torch.autograd.gradgradcheck(Affine(2.0).forward, (x, params))


def test_the_number_of_bands_follows_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert [layers.num_bands(*size) for size in ((2, 64), (512, 512), (3072, 3072))] == [1, 2, 13]
    assert layers.num_bands(10_000_000, 3) <= 3
    assert layers.num_bands(0, 5) == 1


@pytest.mark.parametrize("train", [True, False])
def test_several_bands_compile_whole(train: bool) -> None:
    made, x, context = made_of(), torch.randn(4, 5), torch.randn(4, 2)
    compiled = torch.compile(made, fullgraph=True, backend="aot_eager")
    with torch.set_grad_enabled(train):
        torch.testing.assert_close(compiled(x, context), made(x, context))


def test_autocast_sees_ordinary_operations() -> None:
    made, x, context = made_of().float(), torch.randn(4, 5).float(), torch.randn(4, 2).float()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(made, x, context)
    value.backward()
    assert all(parameter.grad is not None for parameter in made.parameters())


def test_activations_that_are_not_pure_are_left_to_autograd() -> None:
    slope = torch.tensor([0.3], requires_grad=True)
    x = torch.randn(6, 5)
    for activation in (nn.LeakyReLU(0.2, inplace=True), lambda h: nn.functional.prelu(h, slope)):
        loss(made_of(activation, context_features=0), x, None).backward()
    assert slope.grad is not None


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_residuals_by_hand(activation: str, dropout: float) -> None:
    """Sums of what the first, third and fifth layer are before the activation, multiplied out densely."""
    made = made_of(activation, 2, [8, 6, 8, 9, 8], residual=True, dropout=dropout, degrees="random").train()
    network, x, context = made.network, torch.randn(6, 5), torch.randn(6, 2)
    torch.default_generator.manual_seed(3)
    ours = network(x, context)
    torch.default_generator.manual_seed(3)
    factors = dropout_factors(network.layers, x, dropout) if dropout else [torch.ones(())] * 5
    h, total = torch.cat([context, network.order.reorder(x)], 1), torch.zeros(6, 8)
    for i, layer in enumerate(network.hidden_layers):
        before = h @ layer.dense_weight().T + layer.bias
        if i % 2 == 0:
            before = total = total + before
        h = network.activation(before) * factors[i]
    expected = (h @ network.output_layer.dense_weight().T + network.output_layer.bias).view(6, 5, 2)
    torch.testing.assert_close(ours, network.order.restore(expected))


def test_an_activation_that_works_in_place_changes_no_residual() -> None:
    torch.default_generator.manual_seed(0)
    named = made_of("relu", 0, [8, 6, 8, 9, 8], residual=True, seed=1)
    own = made_of(nn.ReLU(inplace=True), 0, [8, 6, 8, 9, 8], residual=True, seed=1)
    own.load_state_dict(named.state_dict())
    x = torch.randn(6, 5)
    torch.testing.assert_close(own(x), named(x))
    torch.testing.assert_close(own.inverse(x), named.inverse(x))
    with torch.no_grad():
        torch.testing.assert_close(own(x), named(x))
        torch.testing.assert_close(own.inverse(x), named.inverse(x))


def test_widths_and_degrees_that_do_not_add_up_are_refused() -> None:
    for hidden in ([8], [8, 8], [8, 8, 9]):
        with pytest.raises(ValueError, match="residual=True adds up the first, third, fifth"):
            MaskedAutoregressive(5, hidden, residual=True)
    with pytest.raises(ValueError, match="same degrees in the first, third"):
        MaskedAutoregressive(4, [2, 2, 2], residual=True, degrees=[[1, 2], [1, 2], [2, 3]])


@pytest.mark.parametrize("degrees", [[[0, 0]], [[3, 3], [1, 1]], [[0, 3], [2, 2]]])
@pytest.mark.parametrize("context_features", [0, 2])
def test_degrees_that_hide_everything_are_refused(degrees: list[list[int]], context_features: int) -> None:
    hidden = [2] * len(degrees)
    with pytest.raises(ValueError, match="these degrees hide all 4 dimensions from all others"):
        MaskedAutoregressive(4, hidden, degrees=degrees, context_features=context_features)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_dropout_by_hand(activation: str) -> None:
    """The output and its gradients, with the very units left out, of a network multiplied out densely."""
    made = made_of(activation, 2, dropout=0.4).train()
    network, x, context = made.network, torch.randn(6, 5), torch.randn(6, 2)
    torch.default_generator.manual_seed(3)
    ours = network(x, context)
    torch.default_generator.manual_seed(3)
    factors = dropout_factors(network.layers, x, 0.4)
    h = torch.cat([context, network.order.reorder(x)], 1)
    for layer, factor in zip(network.hidden_layers, factors, strict=True):
        h = network.activation(h @ layer.dense_weight().T + layer.bias) * factor
    expected = (h @ network.output_layer.dense_weight().T + network.output_layer.bias).view(6, 5, 2)
    torch.testing.assert_close(ours, network.order.restore(expected))
    assert [factor.shape for factor in factors] == [(6, 9), (6, 7)]
    assert 0.2 < float((factors[0] == 0).double().mean()) < 0.6


@pytest.mark.parametrize("dropout", [0.5, 0.1, 0.003, 0.999, 1e-9, 1 - 1e-9])
def test_dropout_keeps_each_unit_with_its_probability_whatever_the_others_do(dropout: float) -> None:
    layers = made_of("relu", 0, hidden=[50, 30]).network.layers
    torch.default_generator.manual_seed(5)
    first, second = dropout_factors(layers, torch.zeros(4001, 5), dropout)
    for drawn in (first, second):
        left_out = drawn == 0
        assert len(set(drawn[~left_out].tolist())) <= 1
        if dropout < 0.9999:
            assert float(drawn.max()) == pytest.approx(1 / (1 - dropout), rel=0.01)
        in_bits = min(max(dropout, 2**-16), 1 - 2**-16)
        share, spread = float(left_out.double().mean()), (in_bits * (1 - in_bits) / drawn.numel()) ** 0.5
        assert share == pytest.approx(in_bits, abs=4.5 * spread + 2**-17)
    if 0.05 < dropout < 0.95:  # neighbours share a word: none may tell of another, nor the bits of one place differ
        centred = (first == 0).double() - dropout
        scale = dropout * (1 - dropout) * 4 / len(first) ** 0.5
        assert float((centred.T @ centred / len(first)).fill_diagonal_(0).abs().max()) < 1.5 * scale
        assert float(centred.mean(0).abs().max()) < 4.5 * (dropout * (1 - dropout) / len(first)) ** 0.5


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_gradients_under_dropout_are_autograds(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_of(activation, 2, dropout=0.4).train()
    x, context = torch.randn(6, 5, requires_grad=True), torch.randn(6, 2, requires_grad=True)
    torch.default_generator.manual_seed(1)
    ours = gradients(made, x, context)
    torch.default_generator.manual_seed(1)
    penalty = torch.autograd.grad(loss(made, x, context), x, create_graph=True)[0].square().sum()
    of_penalty = torch.autograd.grad(penalty, list(made.parameters()))
    monkeypatch.setattr(autograd, "left_to_autograd", lambda: True)
    torch.default_generator.manual_seed(1)
    for own, other in zip(ours, gradients(made, x, context), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-12)
    torch.default_generator.manual_seed(1)
    penalty = torch.autograd.grad(loss(made, x, context), x, create_graph=True)[0].square().sum()
    for own, other in zip(of_penalty, torch.autograd.grad(penalty, list(made.parameters())), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-10)


def test_dropout_keeps_the_order_and_its_mean_and_ends_with_training() -> None:
    made = made_of("relu", 0, dropout=0.5)
    x = torch.randn(1, 5)
    assert torch.equal(made.eval()(x)[0], made(x)[0])
    torch.testing.assert_close(made.inverse(made(x)[0])[0], x)
    made.train()
    with pytest.raises(ValueError, match="no inverse in training mode, where dropout is random"):
        made.inverse(x)

    def seeded_forward(row: Tensor) -> Tensor:
        torch.default_generator.manual_seed(2)
        return made(row[None])[0][0]

    jacobian = torch.autograd.functional.jacobian(seeded_forward, x[0])[made.order][:, made.order]
    assert torch.equal(jacobian, jacobian.tril())
    assert (jacobian.diagonal() != 0).all()
    linear = MaskedAutoregressive(4, [30], activation=nn.Identity(), dropout=0.5).train()
    rows = x[:, :4].expand(20_000, -1)
    torch.testing.assert_close(linear.network(rows).mean(0), linear.eval().network(rows[:1])[0], rtol=0, atol=0.02)
    for dropout in (1.0, -0.1):
        with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\)"):
            MaskedAutoregressive(4, [8], dropout=dropout)
