"""The incremental inverse against D full passes, for architectures drawn at random and by both ways through it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pickle import UnpicklingError

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from marginflow.base.transform import Univariate
from marginflow.nets.activations import ACTIVATIONS
from marginflow.nets.masked import inverse, kernel_numba
from marginflow.nets.masked.plan import cut_into_groups
from marginflow.transforms import (
    Additive,
    Affine,
    GaussianMixture,
    MaskedAutoregressive,
    RationalQuadratic,
    SoftclipAffine,
    SoftplusAffine,
)

UNIVARIATES = [
    Affine(), Affine(bound=1.5), Additive(), SoftclipAffine(), SoftplusAffine(), RationalQuadratic(4, 2.0),
    RationalQuadratic(), GaussianMixture(3), GaussianMixture(1),
]  # fmt: skip


def by_full_passes(made: MaskedAutoregressive, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """As every other library does it: as many passes of the whole network as there are dimensions."""
    x = torch.zeros_like(z)
    for _ in range(z.shape[1]):
        x, log_derivative = made.univariate.inverse(z, made.network(x, context))
    return x, log_derivative.sum(1)


def moved_from_zero(made: MaskedAutoregressive) -> MaskedAutoregressive:
    """Larger weights than at the start, so that dimensions depend strongly on each other."""
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2)
    return made


@st.composite
def architectures(draw: st.DrawFn) -> tuple[MaskedAutoregressive, Tensor | None, int]:
    features = draw(st.integers(1, 30))
    hidden = draw(st.lists(st.one_of(st.integers(1, 12), st.integers(100, 300)), max_size=3))
    residual = len(hidden) == 3 and draw(st.booleans())
    hidden = [hidden[0], hidden[1], hidden[0], hidden[2], hidden[0]] if residual else hidden
    context_features = draw(st.sampled_from([0, 0, 1, 3]))
    seed = draw(st.integers(0, 10_000))
    torch.default_generator.manual_seed(seed)
    made = MaskedAutoregressive(
        features,
        hidden,
        draw(st.sampled_from(UNIVARIATES)),
        order=draw(st.sampled_from(["sequential", "reversed", "random"])),
        degrees=draw(st.sampled_from(["sequential", "even", "random"])),
        context_features=context_features,
        activation=draw(st.sampled_from(["relu", "elu", "gelu", "silu", "softplus", "tanh"])),
        seed=seed,
        residual=residual,
    )
    num_rows = draw(st.sampled_from([1, 2, 7, 40, 130]))
    context = torch.randn(num_rows, context_features) if context_features else None
    return moved_from_zero(made), context, num_rows


@pytest.mark.slow
@given(architectures())
def test_the_compiled_inverse_equals_full_passes(drawn: tuple[MaskedAutoregressive, Tensor | None, int]) -> None:
    made, context, num_rows = drawn
    z = torch.randn(num_rows, made.features)
    with torch.no_grad():
        x, log_det = made.inverse(z, context)
        expected, expected_log_det = by_full_passes(made, z, context)
        torch.testing.assert_close(x, expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(log_det, expected_log_det, rtol=1e-9, atol=1e-9)
        again, forward_log_det = made(x, context)
    rounding = 1e-11 * (1 + float(x.abs().max()))  # x itself may be large, and scales reach exp(7)
    torch.testing.assert_close(again, z, rtol=0, atol=rounding)
    torch.testing.assert_close(forward_log_det, -log_det, rtol=1e-9, atol=rounding)


@pytest.mark.slow
@given(architectures())
def test_the_inverse_in_plain_torch_equals_the_compiled_one(
    drawn: tuple[MaskedAutoregressive, Tensor | None, int],
) -> None:
    made, context, num_rows = drawn
    z = torch.randn(num_rows, made.features)
    x, log_det = made.inverse(z, context)  # gradients may be asked for: plain torch
    assert x.requires_grad
    with torch.no_grad():
        expected, expected_log_det = made.inverse(z, context)
    torch.testing.assert_close(x.detach(), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_det.detach(), expected_log_det, rtol=1e-9, atol=1e-9)


@given(architectures())
def test_jacobian_is_triangular_log_det_is_its_own_and_a_context_reaches_all(
    drawn: tuple[MaskedAutoregressive, Tensor | None, int],
) -> None:
    made, context, _ = drawn
    context = None if context is None else context[:1]
    x = torch.randn(1, made.features)
    jacobian = torch.autograd.functional.jacobian(lambda x: made(x, context)[0][0], x)[:, 0]
    ordered = jacobian[made.order][:, made.order]
    assert (ordered.triu(1) == 0).all()
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, made(x, context)[1][0], rtol=1e-8, atol=1e-8)
    if context is not None and made.network.plan.activation_name != "relu":  # relu may be flat where we look
        difference = made.network(x, context) - made.network(x, context + 0.7)  # a spline may be the identity at x
        assert (difference != 0).any(2).all()


@pytest.mark.parametrize("univariate", UNIVARIATES, ids=str)
@pytest.mark.parametrize("name", ["relu", "elu", "gelu", "silu", "softplus", "tanh"])
def test_compiled_activations_and_univariates_are_torchs(name: str, univariate: Univariate) -> None:
    made = moved_from_zero(MaskedAutoregressive(6, [20, 20], univariate, activation=name))
    with torch.no_grad():
        made.network.output_layer.bias.mul_(30)  # far out on both sides
        z = torch.randn(50, 6) * 3
        # a mixture's tails are exponents of squares, here of some thousands, which the compiled form subtracts
        tolerance = 1e-7 if isinstance(univariate, GaussianMixture) else 1e-10
        expected = by_full_passes(made, z, None)
        torch.testing.assert_close(made.inverse(z), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("features", "hidden", "degrees"),
    [
        (300, [40], "even"),
        (300, [500, 300], "random"),
        (700, [200, 900], "even"),
        (2, [600, 400], "even"),
        (300, [], "even"),
    ],
)
def test_many_groups_and_bands(features: int, hidden: list[int], degrees: str) -> None:
    made = MaskedAutoregressive(features, hidden, order="random", degrees=degrees, seed=4)
    z = torch.randn(20, features)
    with torch.no_grad():
        x, log_det = made.inverse(z)
        again, forward_log_det = made(x)
        torch.testing.assert_close(again, z, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(log_det, -forward_log_det, rtol=1e-9, atol=1e-9)
        assert len(made.network.plan.groups) > 1
    torch.testing.assert_close(made.inverse(z)[0].detach(), x, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize(("features", "hidden"), [(784, [1024, 1024]), (3072, [3072]), (4096, [512])])
def test_large_models_in_float32(features: int, hidden: list[int]) -> None:
    made = MaskedAutoregressive(features, hidden, order="reversed")
    z = torch.randn(8, features)
    with torch.no_grad():
        x, log_det = made.inverse(z)
        again, forward_log_det = made(x)
    torch.testing.assert_close(again, z, rtol=0, atol=1e-4)
    torch.testing.assert_close(log_det, -forward_log_det, rtol=1e-5, atol=1e-3)


def test_rows_are_taken_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    made = MaskedAutoregressive(5, [16], context_features=2)
    z, context = torch.randn(23, 5), torch.randn(23, 2)
    with torch.no_grad():
        whole = made.inverse(z, context)
        monkeypatch.setattr(inverse, "CHUNK", 200)  # five rows of 38 units and outputs
        torch.testing.assert_close(made.inverse(z, context), whole)
    x, log_det = made.inverse(z, context)  # with gradients: in plain torch
    assert x.requires_grad
    torch.testing.assert_close((x.detach(), log_det.detach()), whole)


@pytest.mark.parametrize("rows", [0, 1])
def test_no_row_and_one_row(rows: int) -> None:
    made = MaskedAutoregressive(5, [16])
    with torch.no_grad():
        x, log_det = made.inverse(torch.randn(rows, 5))
    assert x.shape == (rows, 5)
    assert log_det.shape == (rows,)


def test_what_diverges_in_the_compiled_loop_is_not_hidden() -> None:
    made = MaskedAutoregressive(5, [16])
    z = torch.randn(3, 5)
    z[1, 2] = torch.nan
    with torch.no_grad():
        x, log_det = made.inverse(z)
    assert x[1, 2:].isnan().all()
    assert log_det[1].isnan()
    assert torch.isfinite(x[[0, 2]]).all()


@pytest.mark.parametrize("univariate", UNIVARIATES, ids=str)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_no_scalar_function_hides_what_is_not_finite(univariate: Univariate, bad: float) -> None:
    """What comes out of the compiled loop is NaN or infinite too, from the dimension on where it came in."""
    torch.default_generator.manual_seed(0)
    made = MaskedAutoregressive(3, [8], univariate)
    z = torch.randn(2, 3)
    z[0, 1] = bad
    with torch.no_grad():
        x, _ = made.inverse(z)
        assert not torch.isfinite(x[0, 1])
        assert torch.isfinite(x[1]).all()
        made.network.output_layer.bias[: univariate.num_params] = math.nan
        x, _ = made.inverse(torch.randn(2, 3))
        assert not torch.isfinite(x[:, 0]).any()


def test_an_activation_of_ones_own_and_one_that_is_trained() -> None:
    for activation in (torch.sin, torch.nn.PReLU()):
        made = MaskedAutoregressive(6, [30, 30], activation=activation, order="random")
        z = torch.randn(9, 6)
        with torch.no_grad():
            torch.testing.assert_close(made.inverse(z), by_full_passes(made, z, None))
        z, log_det = made(made.inverse(z)[0])
        (z.square().sum() + log_det.sum()).backward()
        assert all(parameter.grad is not None for parameter in made.parameters())


@pytest.mark.parametrize("context_features", [0, 2])
def test_gradients_through_the_inverse_are_those_of_the_implicit_function(context_features: int) -> None:
    """x(z, c, w) solves f(x; c, w) = z: dx/dz is the inverse Jacobian; all by finite differences too."""
    made = MaskedAutoregressive(4, [9, 7], order="random", activation="tanh", context_features=context_features)
    z = torch.randn(3, 4, requires_grad=True)
    context = torch.randn(3, context_features, requires_grad=True) if context_features else None
    inputs = (z,) if context is None else (z, context)
    assert torch.autograd.gradcheck(lambda *given: made.inverse(*given), inputs)
    x = made.inverse(z[:1], None if context is None else context[:1])[0].detach()
    given = None if context is None else context[:1].detach()
    forwards = torch.autograd.functional.jacobian(lambda x: made(x, given)[0][0], x)[:, 0]
    backwards = torch.autograd.functional.jacobian(lambda z: made.inverse(z, given)[0][0], z[:1].detach())[:, 0]
    torch.testing.assert_close(backwards @ forwards, torch.eye(4), rtol=0, atol=1e-10)
    parameters = dict(made.named_parameters())
    name = "network.hidden_layers.1.bias"

    def of_bias(bias: Tensor) -> Tensor:
        call = torch.func.functional_call(_Inverse(made), {f"made.{name}": bias}, (z.detach(), context))
        return call.sum(0)

    assert torch.autograd.gradcheck(of_bias, parameters[name].detach().clone().requires_grad_())


class _Inverse(torch.nn.Module):
    def __init__(self, made: MaskedAutoregressive) -> None:
        super().__init__()
        self.made = made

    def forward(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.made.inverse(z, context)[0]


@dataclass(frozen=True)
class Doubled(Affine):
    """A user's change of a built-in univariate, which the compiled inverse does not know of."""

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        z, log_derivative = super().forward(x, params)
        return 2 * z, log_derivative + math.log(2)

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        x, log_derivative = super().inverse(y / 2, params)
        return x, log_derivative - math.log(2)


def test_a_changed_univariate_is_not_taken_for_the_built_in_one() -> None:
    made = MaskedAutoregressive(4, [9], Doubled())
    with torch.no_grad():
        x = torch.randn(5, 4)
        torch.testing.assert_close(made.inverse(made(x)[0])[0], x)


def test_another_precision_is_refused() -> None:
    with torch.no_grad(), pytest.raises(ValueError, match=r"z must have the model's precision, torch\.float64"):
        MaskedAutoregressive(4, [9]).inverse(torch.randn(3, 4, dtype=torch.float32))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own, at its first use
def test_forward_mode_gradients_pass_through_the_inverse() -> None:
    made = MaskedAutoregressive(4, [9], activation="tanh").requires_grad_(False)
    z, tangent = torch.randn(1, 4), torch.randn(1, 4)
    with torch.autograd.forward_ad.dual_level():
        x, _ = made.inverse(torch.autograd.forward_ad.make_dual(z, tangent))
        found = torch.autograd.forward_ad.unpack_dual(x).tangent
    jacobian = torch.autograd.functional.jacobian(lambda z: made.inverse(z)[0][0], z)[:, 0]
    torch.testing.assert_close(found[0], jacobian @ tangent[0])


def test_damage_to_what_numba_keeps_costs_time_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise UnpicklingError("truncated")

    made, z = MaskedAutoregressive(5, [8]), torch.randn(4, 5)
    with torch.no_grad():
        expected = made.inverse(z)
        monkeypatch.setattr(inverse, "_solve_compiled", damaged)
        with pytest.warns(RuntimeWarning, match="without its compiled loop"):
            torch.testing.assert_close(made.inverse(z), expected)


def test_groups_cover_all_dimensions_and_none_is_too_large() -> None:
    counts = [list(range(11)), [0, 1, 2, 3, 20, 21, 22, 23, 24, 25, 26]]
    groups = cut_into_groups(counts, most=4)
    assert [d for start, stop in groups for d in range(start, stop)] == list(range(10))
    for start, stop in groups:
        assert stop == start + 1 or all(layer[stop] - layer[start] <= 4 for layer in counts)


def test_every_activation_and_univariate_has_its_compiled_form() -> None:
    assert [each.code for each in ACTIVATIONS.values()] == list(range(6))  # as `_activate` tells them apart
    assert {each.kernel[0] for each in UNIVARIATES} == set(kernel_numba.UNIVARIATES)


@pytest.mark.parametrize(("rows", "features"), [(50, 1), (1, 6), (7, 6)])
def test_samples_hold_no_more_memory_than_their_own(rows: int, features: int) -> None:
    made = MaskedAutoregressive(features, [300])
    with torch.no_grad():
        x, log_det = made.inverse(torch.randn(rows, features))
    assert x.untyped_storage().nbytes() == x.nbytes
    assert log_det.untyped_storage().nbytes() == log_det.nbytes


def test_a_gradient_that_is_wanted_through_the_context_alone_passes() -> None:
    made = MaskedAutoregressive(4, [9], context_features=2).requires_grad_(False)
    context = torch.randn(3, 2, requires_grad=True)
    assert made.inverse(torch.randn(3, 4), context)[0].requires_grad


def test_vmap_passes_through_an_inverse_with_residual_connections() -> None:
    """Also where a unit of the third layer sees none of the second."""
    degrees = [[1, 1, 2, 2, 3, 3, 4, 5], [4], [1, 1, 2, 2, 3, 3, 4, 5]]
    made, z = MaskedAutoregressive(6, [8, 1, 8], residual=True, degrees=degrees), torch.randn(3, 6)
    batched = torch.func.vmap(lambda row: made.inverse(row[None])[0][0])(z)
    torch.testing.assert_close(batched, made.inverse(z)[0])


def test_the_compiled_inverse_does_not_follow_torchs_default_device() -> None:
    made, z = MaskedAutoregressive(4, [9]), torch.randn(3, 4)
    with torch.no_grad():
        expected = made.inverse(z)
        with torch.device("meta"):
            found = made.inverse(z)
    torch.testing.assert_close(found, expected)
