"""The masked network: who sees whom, and that what is masked stays masked."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from marginflow.models import maf
from marginflow.nets.masked import linear
from marginflow.nets.masked.degrees import resolve_degrees, resolve_order
from marginflow.nets.masked.linear import MaskedLinear
from marginflow.transforms import MaskedAutoregressive, RationalQuadratic


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def jacobian_of(made: MaskedAutoregressive, features: int, context: torch.Tensor | None = None) -> torch.Tensor:
    """|dz/dx|, the largest over a few rows: (features, features), in the order in which dimensions are known."""
    x = torch.randn(8, features)
    total = torch.autograd.functional.jacobian(lambda x: made(x, context)[0].sum(0), x).abs().amax(1)
    return total[made.order][:, made.order]


@given(
    features=st.integers(1, 9),
    hidden=st.lists(st.integers(1, 12), max_size=3),
    order=st.sampled_from(["sequential", "reversed", "random"]),
    degrees=st.sampled_from(["sequential", "even", "random"]),
    context_features=st.sampled_from([0, 0, 2]),
    seed=st.integers(0, 1000),
)
def test_jacobian_is_triangular_in_the_stated_order_and_inverse_agrees(
    features: int, hidden: list[int], order: str, degrees: str, context_features: int, seed: int
) -> None:
    torch.default_generator.manual_seed(seed)
    made = MaskedAutoregressive(
        features, hidden, order=order, degrees=degrees, context_features=context_features, activation="tanh", seed=seed
    )
    context = torch.randn(8, context_features) if context_features else None
    jacobian = jacobian_of(made, features, context)
    assert (jacobian.triu(1) == 0).all()
    assert (jacobian.diagonal() > 0).all()
    x = torch.randn(8, features)
    z, log_det = made(x, context)
    back, inverse_log_det = made.inverse(z, context)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-8)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=0, atol=1e-8)


@pytest.mark.parametrize("degrees", ["even", "random", "sequential"])
def test_every_dimension_depends_on_all_before_it_where_the_width_allows(degrees: str) -> None:
    made = MaskedAutoregressive(6, [200, 200], degrees=degrees, order="random", activation="tanh")
    lower = jacobian_of(made, 6) + torch.ones(6, 6).triu()
    assert (lower > 0).all()


def test_even_degrees_cut_no_input_off_when_the_layer_is_narrow() -> None:
    """200 inputs through 125 units: with degrees 1, 2, 3, ... the inputs after the 125th would reach nothing."""
    made = MaskedAutoregressive(200, [125], activation="tanh")
    reached = (jacobian_of(made, 200) - torch.eye(200)).abs()[:, :-2].amax(0)
    assert (reached > 0).all()


@pytest.mark.parametrize("degrees", ["even", "random", "sequential"])
@pytest.mark.parametrize("features", [1, 5])
def test_a_context_reaches_every_dimension(features: int, degrees: str) -> None:
    for seed in range(20):
        made = MaskedAutoregressive(
            features, [6, 6], degrees=degrees, context_features=1, activation="tanh", order="random", seed=seed
        )
        x, context = torch.randn(4, features), torch.randn(4, 1)
        assert ((made(x, context)[0] - made(x, context + 1)[0]).abs() > 0).all()


def test_random_draws_come_from_the_seed_alone() -> None:
    def random_parts(seed: int) -> tuple[list[int], list[torch.Size]]:
        made = MaskedAutoregressive(30, [20], order="random", degrees="random", seed=seed)
        return made.order.tolist(), [p.shape for p in made.parameters()]

    first = random_parts(1)
    torch.randn(10)
    assert random_parts(1) == first
    assert random_parts(2)[0] != first[0]


def test_a_layer_multiplies_by_its_dense_weight() -> None:
    in_degrees = torch.arange(1, 1001)
    layer = MaskedLinear(in_degrees, resolve_degrees("even", 1000, [1500], False, generator())[0])
    x = torch.randn(5, 1000)
    torch.testing.assert_close(layer(x), x @ layer.dense_weight().T + layer.bias)
    stored = sum(weight.numel() for weight in layer.weights)
    assert stored < 0.6 * 1000 * 1500  # little more than the triangle


def test_a_layers_gradients_and_second_gradients() -> None:
    layer = MaskedLinear(torch.arange(1, 5), torch.tensor([1, 2, 2, 3]))
    x = torch.randn(3, 4, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


W = "network.hidden_layers.0.weight"


def hidden_weights(made: MaskedAutoregressive) -> float:
    """The largest weight that a mask should hide, for 8 features, two layers of 200 and even degrees."""
    inputs = torch.arange(1, 9)
    hidden = resolve_degrees("even", 8, [200, 200], False, generator())
    outputs = inputs.repeat_interleave(2)
    layers = [*made.network.hidden_layers, made.network.output_layer]
    masks = [hidden[0][:, None] >= inputs, hidden[1][:, None] >= hidden[0], outputs[:, None] > hidden[1]]
    worst = 0.0
    for layer, mask in zip(layers, masks, strict=True):
        assert isinstance(layer, MaskedLinear)
        dense = layer.dense_weight()
        assert (dense[mask] != 0).all()
        worst = max(worst, float(dense[~mask].abs().max()))
    return worst


def test_masked_weights_stay_zero_through_training_copies_and_files() -> None:
    made = MaskedAutoregressive(8, [200, 200])
    averaged = torch.optim.swa_utils.AveragedModel(made, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    for trained in (made, copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        optimiser = torch.optim.Adam(trained.parameters(), 1e-2, weight_decay=0.1)
        for _ in range(5):
            z, log_det = trained(torch.randn(16, 8))
            (z.square().sum() - log_det.sum()).backward()
            torch.nn.utils.clip_grad_value_(trained.parameters(), 0.1)
            optimiser.step()
            optimiser.zero_grad()
            if trained is made:
                averaged.update_parameters(made)
        assert hidden_weights(trained) == 0
    ema = averaged.module
    assert isinstance(ema, MaskedAutoregressive)
    assert hidden_weights(ema) == 0
    assert (jacobian_of(ema, 8).triu(1) == 0).all()


def in_bands(made: MaskedAutoregressive) -> dict[str, Tensor]:
    """The state as files of before hold it: each layer's weight in bands."""
    state = {name: tensor for name, tensor in made.state_dict().items() if not name.endswith(".weight")}
    return {**state, **{name: each.detach().clone() for name, each in made.named_parameters() if ".weights." in name}}


def built_in(calls: int, monkeypatch: pytest.MonkeyPatch, **options: object) -> MaskedAutoregressive:
    """A network of 9 features whose layers are cut into more bands the fewer weights a call is worth."""
    monkeypatch.setattr(linear, "WEIGHTS_A_CALL", calls)
    torch.default_generator.manual_seed(0)
    return MaskedAutoregressive(9, [150, 260], context_features=2, **{"activation": "tanh", **options})


CALLS = [10, 60, 300, 10**9]


@pytest.mark.parametrize("degrees", ["even", "random"])
@pytest.mark.parametrize("written", ["packed", "in bands"])
def test_weights_of_any_number_of_bands_load_under_another(
    degrees: str, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, context = torch.randn(7, 9), torch.randn(7, 2)
    bands = set()
    for one in CALLS:
        made = built_in(one, monkeypatch, degrees=degrees)
        bands.add(len(made.network.output_layer.weights))
        with torch.no_grad():
            for layer in made.network.layers:
                layer.bias.normal_()
        state = made.state_dict() if written == "packed" else in_bands(made)
        z, log_det = made(x, context)
        drawn, _ = made.inverse(z, context)
        for other in CALLS:
            loaded = built_in(other, monkeypatch, degrees=degrees)
            loaded.load_state_dict(copy.deepcopy(state))
            torch.testing.assert_close(loaded(x, context), (z, log_det))
            torch.testing.assert_close(loaded.inverse(z, context)[0], drawn)
            assert loaded.state_dict().keys() == made.state_dict().keys()
            assert all(torch.equal(each, made.state_dict()[name]) for name, each in loaded.state_dict().items())
    assert len(bands) == len(CALLS)


def test_initial_weights_do_not_depend_on_the_number_of_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    states = [built_in(calls, monkeypatch).state_dict() for calls in CALLS]
    for state in states[1:]:
        assert all(torch.equal(each, states[0][name]) for name, each in state.items())
    weight, visible = states[0]["network.hidden_layers.0.weight"], 11**-0.5
    assert visible * 0.99 < float(weight.abs().max()) < visible
    assert float(weight.std()) == pytest.approx(visible / 3**0.5, rel=0.05)


def test_the_state_holds_what_the_mask_leaves_row_by_row() -> None:
    layer = MaskedLinear(torch.tensor([1, 2, 2, 4]), torch.tensor([0, 2, 3, 4]))
    dense = layer.dense_weight()
    assert set(layer.state_dict()) == {"bias", "weight"}
    torch.testing.assert_close(layer.state_dict()["weight"], torch.cat([dense[1, :3], dense[2, :3], dense[3]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.update({W: state[W][:-1]}),
            r"weight has shape \(\d+,\); expected \(\d+,\), what the mask",
        ),
        (lambda state: state.update({W: state[W][None]}), r"weight has shape \(1, \d+\); expected"),
        (lambda state: state.update({f"{W}s.0": state[W]}), r"and network.hidden_layers.0.weights.0 beside it"),
        (lambda state: state.pop(W), r'Missing key\(s\) in state_dict: "network.hidden_layers.0.weight"'),
    ],
)
def test_packed_weights_that_do_not_fit_are_refused(
    change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    made, other = MaskedAutoregressive(8, [16]), MaskedAutoregressive(8, [16])
    state, layer = made.state_dict(), other.network.hidden_layers[0]
    before, bias = layer.dense_weight(), layer.bias.detach().clone()
    change(state)
    with pytest.raises(RuntimeError, match=message):
        other.load_state_dict(state)
    assert torch.equal(layer.dense_weight(), before)
    assert "Missing" in message or torch.equal(layer.bias, bias)


@pytest.mark.parametrize("shape", [(1, 4), (4, 9), (4, 3)])
def test_a_dense_weight_of_another_shape_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"must have shape \(4, 4\)"):
        MaskedLinear(torch.arange(1, 5), torch.arange(1, 5)).set_dense_weight(torch.zeros(shape))


def test_bands_that_were_cut_or_hold_what_the_mask_hides_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = built_in(300, monkeypatch)
    name = "network.hidden_layers.1.weights"
    for change, message in (
        (
            lambda state: state[f"{name}.0"][0, -1].fill_(1.0),
            f"{name}.0 has non-zero weights where the mask hides them",
        ),
        (lambda state: state.pop(f"{name}.1"), f"size mismatch for {name}"),
        (lambda state: state.update({f"{name}.0": state[f"{name}.0"][:-1]}), f"size mismatch for {name}.0"),
    ):
        for calls in (300, 10):
            state, other = in_bands(made), built_in(calls, monkeypatch, seed=3)
            before = other.network.hidden_layers[1].dense_weight()
            change(state)
            with pytest.raises(RuntimeError, match=message):
                other.load_state_dict(state)
            assert torch.equal(other.network.hidden_layers[1].dense_weight(), before)


def test_orders() -> None:
    assert resolve_order("sequential", 4, generator()).tolist() == [0, 1, 2, 3]
    assert resolve_order("reversed", 4, generator()).tolist() == [3, 2, 1, 0]
    assert sorted(resolve_order("random", 50, generator()).tolist()) == list(range(50))
    assert resolve_order([1, 0], 2, generator()).tolist() == [1, 0]


def test_sequential_degrees_are_the_maf_papers() -> None:
    (layer,) = resolve_degrees("sequential", 4, [7], False, generator())
    assert layer.tolist() == sorted([1, 2, 3, 1, 2, 3, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": "backwards"}, "order must be"),
        ({"order": [0, 0, 1]}, "each of 0 ... 2 once"),
        ({"degrees": "odd"}, "degrees must be"),
        ({"degrees": [[1, 2]]}, "needs 4 degrees"),
        ({"degrees": [[1, 2, 1, 2], [1]]}, "one list a hidden layer, 1 in all; got 2"),
        ({"degrees": [[1, 2, 3, 1]]}, "between 0 and 2"),
        ({"activation": "step"}, "activation must be one of relu"),
        ({"hidden": [4, 0]}, "hidden must be a list of widths"),
        ({"hidden": 8}, "hidden must be a list of widths"),
        ({"hidden": [8.5]}, "hidden must be a list of widths"),
        ({"features": 0}, "features must be at least 1"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], message: str) -> None:
    options: dict[str, object] = {"features": 3, "hidden": [4], **arguments}
    with pytest.raises(ValueError, match=message):
        MaskedAutoregressive(**options)


def test_loading_another_order_is_refused() -> None:
    first = MaskedAutoregressive(8, [16], order="random", seed=1)
    other = MaskedAutoregressive(8, [16], order="random", seed=2)
    before = other.order.clone()
    with pytest.raises(RuntimeError, match="order is another one"):
        other.load_state_dict(first.state_dict())
    assert torch.equal(other.order, before)


def test_a_layer_says_what_it_is_in_a_line() -> None:
    made = MaskedAutoregressive(
        3, [16, 8], RationalQuadratic(8, 3.0), order="reversed", context_features=2, dropout=0.1
    )
    assert str(made) == (
        "MaskedAutoregressive(3, [16, 8], RationalQuadratic(bins=8, bound=3.0), order=reversed, degrees=even, relu, "
        "context_features=2, dropout=0.1)"
    )
    assert "order=[1, 0, 2], degrees=given, tanh)" in str(
        MaskedAutoregressive(3, [2], order=[1, 0, 2], degrees=[[1, 2]], activation="tanh")
    )
    printed = str(maf(3, hidden=[16], blocks=2))
    assert (
        printed.count("MaskedAutoregressive(3, [16], Affine(bound=5.0), order=") == 2
    )  # they differ, so torch joins none
    assert "Parameter" not in printed
