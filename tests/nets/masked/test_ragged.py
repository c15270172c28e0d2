"""Plans whose steps have any number of inputs and outputs, against as many passes as there are steps."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from marginflow.nets import autograd
from marginflow.nets.masked import inverse, linear, plan
from marginflow.nets.masked.degrees import resolve_degrees
from marginflow.nets.masked.network import MaskedNetwork
from marginflow.nets.masked.order import FeatureOrder
from marginflow.transforms import Additive, Affine, RationalQuadratic

P = 2  # parameters of an affine map


def ends_of(sizes: list[int]) -> list[int]:
    return [sum(sizes[:t]) for t in range(len(sizes) + 1)]


@st.composite
def ragged(draw: st.DrawFn, *, invertible: bool) -> tuple[MaskedNetwork, Tensor | None]:
    inputs = draw(st.lists(st.integers(0, 4), min_size=1, max_size=7).filter(any))
    outputs = [P * n for n in inputs] if invertible else [draw(st.integers(0, 5)) for _ in inputs[1:]] + [2]
    hidden = draw(st.lists(st.sampled_from([1, 5, 12, 140]), max_size=3))
    residual = len(hidden) == 3 and draw(st.booleans())
    hidden = [hidden[0], hidden[1], hidden[0]] if residual else hidden
    context_features, seed = draw(st.sampled_from([0, 0, 2])), draw(st.integers(0, 10_000))
    torch.default_generator.manual_seed(seed)
    degrees = resolve_degrees(
        draw(st.sampled_from(["sequential", "even", "random"])), len(inputs), hidden, context_features > 0,
        torch.Generator().manual_seed(seed), residual,
    )  # fmt: skip
    network = MaskedNetwork(
        FeatureOrder(sum(inputs), "random", seed), degrees, inputs, outputs, context_features,
        draw(st.sampled_from(["tanh", "gelu"])), residual=residual,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)  # so that steps depend strongly on each other
    return network, torch.randn(3, context_features) if context_features else None


@pytest.fixture(autouse=True)
def _bands_and_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several of both in small networks too."""
    monkeypatch.setattr(linear, "WEIGHTS_A_CALL", 4)
    monkeypatch.setattr(plan, "GROUP", 20)


@given(ragged(invertible=True))
def test_jacobian_is_triangular_by_steps_and_the_inverse_equals_as_many_passes_as_steps(
    drawn: tuple[MaskedNetwork, Tensor | None],
) -> None:
    network, context = drawn
    inputs = network.plan.inputs
    z = torch.randn(3, sum(inputs))

    def params_of(x: Tensor, context: Tensor | None) -> Tensor:
        params = network(x, context)  # of a ragged plan step by step
        return network.order.restore(params.view(*x.shape, P)) if network.plan.ragged else params

    def to_noise(x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        noise, log_derivative = Affine().forward(x, params_of(x, context))
        return noise, log_derivative.sum(1)

    x, log_det = network.invert(Affine(), z, context)
    again = torch.zeros_like(z)
    for _ in inputs:
        again, _ = Affine().inverse(z, params_of(again, context))
    torch.testing.assert_close(x, again, rtol=1e-9, atol=1e-9)

    given = None if context is None else context[:1]
    one = x[:1].detach()
    jacobian = torch.autograd.functional.jacobian(lambda x: to_noise(x, given)[0][0], one)[:, 0]
    torch.testing.assert_close(log_det[0], -torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(to_noise(x, context)[1], -log_det, rtol=1e-8, atol=1e-8)
    step = torch.arange(len(inputs)).repeat_interleave(torch.tensor(inputs))
    dimensions = network.order.dimensions
    ordered = jacobian[dimensions][:, dimensions]
    assert (ordered[step[:, None] < step] == 0).all()  # no later step
    same = ordered[step[:, None] == step]
    assert int((same != 0).sum()) == sum(inputs)  # of its own step, each dimension sees itself alone
    assert (ordered.diagonal() > 0).all()


@given(ragged(invertible=False))
def test_draws_equal_as_many_passes_as_steps(drawn: tuple[MaskedNetwork, Tensor | None]) -> None:
    network, context = drawn
    inputs, outputs = network.plan.inputs, network.plan.outputs
    noise, mixing = torch.randn(3, sum(inputs)), torch.randn(5, 4)
    ends, output_ends = ends_of(inputs), ends_of(outputs)
    shapes = []

    def factor(t: int, params: Tensor) -> tuple[Tensor, Tensor]:
        shapes.append((t, params.shape[1]))
        x = torch.tanh(params @ mixing[: outputs[t], : inputs[t]]) + noise[:, ends[t] : ends[t + 1]]
        return x, x.sin().sum(1) + params.square().sum(1)

    x, log_prob = network.draw(factor, 3, context)
    assert shapes == list(enumerate(outputs))
    again, expected = torch.zeros_like(x), torch.zeros(3)
    for t in range(len(inputs)):
        params = network(network.order.restore(again), context)
        if not network.plan.ragged:
            params = network.order.reorder(params).flatten(1)
        again[:, ends[t] : ends[t + 1]], log = factor(t, params[:, output_ends[t] : output_ends[t + 1]])
        expected = expected + log
    torch.testing.assert_close(network.order.reorder(x), again, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_prob, expected, rtol=1e-9, atol=1e-9)


@given(ragged(invertible=False))
def test_gradients_are_autograds(drawn: tuple[MaskedNetwork, Tensor | None]) -> None:
    network, context = drawn
    x = torch.randn(3, sum(network.plan.inputs), requires_grad=True)

    def gradients() -> tuple[Tensor, ...]:
        value = network(x, context).pow(3).sum()
        return torch.autograd.grad(value, [x, *network.parameters()], materialize_grads=True, allow_unused=True)

    ours = gradients()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autograd, "left_to_autograd", lambda: True)
        for own, other in zip(ours, gradients(), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-10)


LEVELS = [3, 2, 4]


def table() -> MaskedNetwork:
    """Three columns of categories, one-hot, of which the last needs no inputs."""
    torch.default_generator.manual_seed(1)
    degrees = resolve_degrees("even", 3, [16, 16], False, torch.Generator())
    network = MaskedNetwork(FeatureOrder(5), degrees, [3, 2, 0], LEVELS, activation="silu")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    return network


def test_draws_of_categories_have_the_probabilities_of_the_network() -> None:
    network = table()
    cells = torch.tensor(list(product(*map(range, LEVELS))))

    def encoded(codes: Tensor) -> Tensor:
        return torch.cat([torch.eye(n)[codes[:, t]] for t, n in enumerate(LEVELS[:2])], 1)

    def log_probs(codes: Tensor) -> Tensor:
        params = network(encoded(codes)).split(LEVELS, 1)
        return sum(each.log_softmax(1).gather(1, codes[:, t : t + 1])[:, 0] for t, each in enumerate(params))  # pyright: ignore

    expected = log_probs(cells).exp()
    torch.testing.assert_close(expected.sum(), torch.tensor(1.0))
    found: list[list[Tensor]] = [[], [], []]

    def factor(t: int, params: Tensor) -> tuple[Tensor, Tensor]:
        code = params.softmax(1).multinomial(1)
        found[t].append(code)
        log_prob = params.log_softmax(1).gather(1, code)[:, 0]
        return torch.eye(LEVELS[t])[code[:, 0]] if t < 2 else params[:, :0], log_prob

    with torch.no_grad():
        x, log_prob = network.draw(factor, 40_000)
    codes = torch.cat([torch.cat(each) for each in found], 1)
    torch.testing.assert_close(x, encoded(codes))
    torch.testing.assert_close(log_prob, log_probs(codes))
    frequency = (codes[:, None] == cells).all(2).double().mean(0)
    error = (expected * (1 - expected) / len(codes)).sqrt()
    assert ((frequency - expected).abs() < 4.5 * error).all()


def test_draws_are_made_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen = table(), []
    monkeypatch.setattr(inverse, "CHUNK", 300)

    def factor(t: int, params: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((t, len(params)))
        return params[:, : [3, 2, 0][t]], params.sum(1)

    x, log_prob = network.draw(factor, 20)
    assert x.shape == (20, 5)
    assert log_prob.shape == (20,)
    assert sum(n for t, n in seen if t == 0) == 20
    assert [t for t, _ in seen] == [0, 1, 2] * (len(seen) // 3)
    assert len(seen) > 3
    assert network.draw(factor, 0)[0].shape == (0, 5)


def test_steps_of_one_input_take_the_compiled_loop_and_ragged_ones_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(inverse, "kernel_for", lambda *given: asked.append(given))
    degrees = resolve_degrees("even", 2, [8], False, torch.Generator())
    with torch.no_grad():
        for inputs, expected in (([1, 1], 1), ([2, 1], 1)):
            network = MaskedNetwork(FeatureOrder(sum(inputs)), degrees, inputs, [P * n for n in inputs])
            network.invert(Affine(), torch.randn(4, sum(inputs)))
            assert len(asked) == expected


def test_which_kernels_there_are() -> None:
    cpu = torch.device("cpu")
    assert inverse.kernel_for(cpu, torch.float32, RationalQuadratic(), "relu") is not None
    for arguments in (
        (torch.device("meta"), torch.float32, Affine(), "relu"),
        (cpu, torch.bfloat16, Affine(), "relu"),
        (cpu, torch.float32, object(), "relu"),
        (cpu, torch.float32, Affine(), None),
    ):
        assert inverse.kernel_for(*arguments) is None


@pytest.mark.parametrize(
    ("inputs", "outputs"), [([1, 2], [2]), ([1, -1, 3], [2, 2, 2]), ([1, 1], [2, 2]), ([3], [-1]), ([3], [0]), ([], [])]
)
def test_plans_that_do_not_fit_are_refused(inputs: list[int], outputs: list[int]) -> None:
    with pytest.raises(ValueError, match="needs, for every step, how many inputs and outputs it has, 3 inputs in all"):
        MaskedNetwork(FeatureOrder(3), [], inputs, outputs)


def test_parameters_that_differ_are_not_inverted() -> None:
    with pytest.raises(ValueError, match="as many parameters for every input: draw the steps of this network"):
        table().invert(Affine(), torch.randn(2, 5))


def test_the_plan_of_a_ragged_network() -> None:
    network = table()
    assert network.plan.ragged
    assert network.plan.num_params is None
    for counts in network.plan.counts:
        assert all(low <= high for low, high in pairwise(counts))
    assert network.plan.counts[0] == [0, 3, 5, 5]
    assert network.plan.counts[-1] == [0, 3, 5, 9]
    assert network(torch.zeros(2, 5)).shape == (2, 9)


@pytest.mark.parametrize(
    "wrong", [lambda x, log: (x[:, :-1], log), lambda x, log: (x, log[:, None]), lambda x, log: (x[:1], log)]
)
def test_a_factor_of_other_shapes_is_refused(wrong: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    def factor(t: int, params: Tensor) -> tuple[Tensor, Tensor]:
        return wrong(params[:, : [3, 2, 0][t]], params.sum(1))

    with pytest.raises(ValueError, match=r"the factor of step 0 must return a draw of shape \(4, 3\) and its log prob"):
        table().draw(factor, 4)


def test_another_scalar_function_than_the_network_has_parameters_for_is_refused() -> None:
    network = MaskedNetwork(FeatureOrder(3), [], [1, 1, 1], [2, 2, 2])
    for univariate in (Additive(), RationalQuadratic()):
        with torch.no_grad(), pytest.raises(ValueError, match=r"as many parameters for every input"):
            network.invert(univariate, torch.randn(2, 3))


def test_nothing_is_drawn_or_inverted_while_dropout_is_random() -> None:
    degrees = resolve_degrees("even", 2, [8], False, torch.Generator())
    network = MaskedNetwork(FeatureOrder(2), degrees, [1, 1], [2, 2], dropout=0.5)
    for call in (
        lambda: network.draw(lambda t, params: (params[:, :1], params[:, 0]), 3),
        lambda: network.invert(Affine(), torch.randn(3, 2)),
    ):
        with pytest.raises(ValueError, match="no inverse in training mode, where dropout is random"):
            call()


def test_the_layout_of_parameters_follows_the_plan_and_no_coincidence() -> None:
    for outputs in ([2, 2], [2, 3]):
        network = MaskedNetwork(FeatureOrder(4), [], [2, 2], outputs)
        assert network(torch.randn(5, 4)).shape == (5, sum(outputs))
