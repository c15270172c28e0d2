"""Couplings and their networks: by hand, and what they refuse."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from marginflow.nets import MLP
from marginflow.transforms import Additive, Affine, Coupling, Radial, RationalQuadratic, Scaling


def test_a_coupling_by_hand() -> None:
    torch.default_generator.manual_seed(0)
    network = MLP(2, 2, [7])
    x = torch.randn(5, 3)
    z, log_det = Coupling([True, False, True], network).forward(x)
    mean, raw = network(x[:, [0, 2]]).unbind(1)
    log_scale = -5 * torch.tanh(raw / 5)
    torch.testing.assert_close(z, torch.stack([x[:, 0], (x[:, 1] - mean) * log_scale.exp(), x[:, 2]], 1))
    torch.testing.assert_close(log_det, log_scale)


def test_nothing_is_computed_for_what_stays() -> None:
    seen = []

    class Watched(nn.Module):
        def forward(self, kept: Tensor) -> Tensor:
            seen.append(kept.shape)
            return torch.zeros(len(kept), 1 * 2)

    Coupling([1, 1, 0, 1], Watched())(torch.randn(6, 4))
    assert seen == [(6, 3)]


@pytest.mark.parametrize("mask", [[True, True], [False, False], torch.zeros(3), [True]])
def test_masks_that_hide_everything_or_nothing_are_refused(mask: object) -> None:
    with pytest.raises(ValueError, match=r"some features stay and some be transformed; of its \d features \d stay"):
        Coupling(mask, MLP(1, 2))


@pytest.mark.parametrize("mask", [[[True, False]], [0.5, 1.0], [2, 0]])
def test_masks_of_another_kind_are_refused(mask: object) -> None:
    with pytest.raises(ValueError, match="one true or false for each feature"):
        Coupling(mask, MLP(1, 2))


def test_networks_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="take the 2 features that stay and return 2, 2 for each"):
        Coupling([1, 0, 1], MLP(1, 2))
    with pytest.raises(ValueError, match="got one that takes 2 and returns 3"):
        Coupling([1, 0, 1], MLP(2, 3))
    with pytest.raises(ValueError, match=r"return \(4, 2, 1\) numbers; got shape \(2, 4\)"):
        Coupling([1, 0, 0], Turned(), Additive())(torch.randn(4, 3))
    with pytest.raises(ValueError, match=r"return \(5, 1, 2\) numbers; got shape \(5, 3\)"):
        Coupling([1, 0, 1], nn.Sequential(nn.Linear(2, 3)))(torch.randn(5, 3))


class Turned(nn.Module):
    """As many numbers as there should be, rows and parameters mixed up."""

    def forward(self, kept: Tensor) -> Tensor:
        return torch.zeros(2, len(kept))


def test_an_activation_that_works_in_place_changes_no_sum() -> None:
    torch.default_generator.manual_seed(0)
    named = MLP(2, 2, [8, 8, 8, 8, 8], residual=True)
    own = MLP(2, 2, [8, 8, 8, 8, 8], residual=True, activation=nn.ReLU(inplace=True))
    own.load_state_dict(named.state_dict())
    x = torch.randn(5, 2)
    torch.testing.assert_close(own(x), named(x))


def test_a_context_of_the_wrong_width_is_refused() -> None:
    coupling = Coupling([1, 0], MLP(1, 2, context_features=3))
    for wrong in (None, torch.zeros(5, 2), torch.zeros(4, 3)):
        with pytest.raises(ValueError, match="context"):
            coupling(torch.zeros(5, 2), wrong)


def test_weights_of_another_mask_are_not_loaded() -> None:
    even, odd = Coupling([1, 0, 1, 0], MLP(2, 4)), Coupling([0, 1, 0, 1], MLP(2, 4))
    with pytest.raises(RuntimeError, match="order is another one"):
        odd.load_state_dict(even.state_dict())


def test_dropout_in_a_coupling_ends_with_training_and_has_no_inverse_before() -> None:
    torch.default_generator.manual_seed(0)
    coupling, x = Coupling([1, 0], MLP(1, 2, [50], dropout=0.5)).train(), torch.randn(5, 2)
    assert not torch.equal(coupling(x)[0], coupling(x)[0])
    with pytest.raises(ValueError, match="no inverse in training mode"):
        coupling.inverse(x)
    coupling.eval()
    torch.testing.assert_close(coupling.inverse(coupling(x)[0])[0], x)


def test_residual_networks_by_hand() -> None:
    torch.default_generator.manual_seed(0)
    network, x = MLP(3, 2, [8, 5, 8, 6, 8], residual=True, activation="tanh"), torch.randn(4, 3)
    first, second, third, fourth, fifth, last = network.layers
    a = first(x)
    b = a + third(torch.tanh(second(torch.tanh(a))))
    c = b + fifth(torch.tanh(fourth(torch.tanh(b))))
    torch.testing.assert_close(network(x), last(torch.tanh(c)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 8}, "list of widths"),
        ({"hidden": [0]}, "each at least 1"),
        ({"hidden": [8, 8], "residual": True}, "three layers at least"),
        ({"activation": "swoosh"}, "activation must be one of relu"),
        ({"dropout": 1.0}, "dropout must lie"),
    ],
)
def test_impossible_networks_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLP(2, 2, **options)


def test_radial_by_hand_and_at_its_centre() -> None:
    torch.default_generator.manual_seed(0)
    radial, x = Radial(3), torch.randn(6, 3)
    with torch.no_grad():
        radial.g.fill_(0.7)
        alpha = (10 * torch.tanh(radial.log_alpha / 10)).exp()
        beta = 0.7 * alpha
        r = (x - radial.centre).norm(dim=1, keepdim=True)
        torch.testing.assert_close(radial(x)[0], x + beta * (x - radial.centre) / (alpha + r))
    centre = radial.centre.detach().clone()[None].requires_grad_()
    for direction in (radial.forward, radial.inverse):
        z, log_det = direction(centre)
        torch.testing.assert_close(z, centre)
        (z.sum() + log_det.sum()).backward()
        assert torch.isfinite(centre.grad).all()


def test_radial_holds_at_extreme_parameters_in_float32() -> None:
    torch.default_generator.manual_seed(0)
    radial = Radial(2).float()
    for g in (-1e4, -3.0, 0.0, 1e4):
        for log_alpha in (-1e4, -20.0, 0.0, 10.0, 1e4):
            with torch.no_grad():
                radial.g.fill_(g)
                radial.log_alpha.fill_(log_alpha)
            x = torch.randn(500, 2).float()
            z, log_det = radial(x)
            back, _ = radial.inverse(z)
            assert torch.isfinite(log_det).all()
            torch.testing.assert_close(back, x, rtol=1e-2, atol=1e-2)


def test_scaling_stretches_and_says_so() -> None:
    scaling = Scaling(2)
    with torch.no_grad():
        scaling.log_scale.copy_(torch.tensor([1.0, -2.0]))
    z, log_det = scaling(torch.ones(3, 2, 4, 4))
    torch.testing.assert_close(z[:, 0], torch.full((3, 4, 4), torch.e))
    torch.testing.assert_close(log_det, torch.full((3,), -16.0))


@pytest.mark.parametrize("univariate", [Additive(), Affine(), RationalQuadratic()], ids=str)
def test_a_copy_is_a_twin(univariate: object) -> None:
    coupling, x = Coupling([1, 0, 0], MLP(1, 2 * univariate.num_params), univariate), torch.randn(4, 3)
    torch.testing.assert_close(copy.deepcopy(coupling)(x), coupling(x))


def test_too_few_features_are_refused() -> None:
    for layer in (Radial, Scaling):
        with pytest.raises(ValueError, match="at least 1; got 0"):
            layer(0)
