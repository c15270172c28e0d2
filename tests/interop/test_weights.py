"""Flows of zuko and nflows against what we make of them: the same log_prob, the same samples from the same noise."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from marginflow import models
from marginflow.distributions import Flow, Marginalising, StandardNormal
from marginflow.interop import maf_from_nflows, maf_from_zuko

zuko = pytest.importorskip("zuko")
nflows_flows = pytest.importorskip("nflows.flows")


def trained(flow: nn.Module, log_prob: object, features: int, steps: int = 8) -> nn.Module:
    """A few real steps on correlated rows, so that nothing is as it was initialised."""
    optimiser = torch.optim.Adam(flow.parameters(), 1e-2)
    flow.train()
    for _ in range(steps):
        x = torch.randn(64, features) @ torch.randn(features, features, generator=torch.Generator().manual_seed(3))
        loss = -log_prob(x).mean()  # pyright: ignore[reportCallIssue]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return flow.eval()


def rows(features: int, n: int = 50) -> Tensor:
    return 2 * torch.randn(n, features)


ZUKO = {
    "default": {},
    "random orders": {"randperm": True, "transforms": 4},
    "narrow": {"hidden_features": (5,), "transforms": 2},
    "narrow and deep": {"hidden_features": (3, 9, 4)},
    "wide": {"hidden_features": (300, 200)},
    "elu": {"activation": nn.ELU},
    "tanh": {"activation": nn.Tanh},
    "another slope": {"univariate": partial(zuko.transforms.MonotonicAffineTransform, slope=0.2)},
    "no hidden layer": {"hidden_features": ()},
}


@pytest.mark.parametrize("name", ZUKO)
@pytest.mark.parametrize("features", [2, 7])
def test_zukos_maf_is_ours_weight_for_weight(name: str, features: int) -> None:
    theirs = zuko.flows.MAF(features, **ZUKO[name])
    trained(theirs, lambda x: theirs().log_prob(x), features)
    ours = maf_from_zuko(theirs)
    x, z = rows(features), torch.randn(50, features)
    with torch.no_grad():
        torch.testing.assert_close(ours.log_prob(x), theirs().log_prob(x), rtol=1e-14, atol=1e-10)
        torch.testing.assert_close(ours.transform.inverse(z)[0], theirs().transform.inv(z), rtol=1e-9, atol=1e-9)


def test_zukos_conditional_maf_too() -> None:
    theirs = zuko.flows.MAF(4, 3, transforms=3, hidden_features=(20, 10), randperm=True)
    context, x, z = torch.randn(50, 3), rows(4), torch.randn(50, 4)
    trained(theirs, lambda x: theirs(torch.ones(64, 3)).log_prob(x), 4)
    ours = maf_from_zuko(theirs)
    assert ours.context_features == 3
    with torch.no_grad():
        torch.testing.assert_close(ours.log_prob(x, context), theirs(context).log_prob(x), rtol=0, atol=1e-10)
        torch.testing.assert_close(ours.transform.inverse(z, context)[0], theirs(context).transform.inv(z))


NFLOWS = {
    "plain": {},
    "random masks": {"use_random_masks": True},
    "random permutations": {"use_random_permutations": True},
    "batch norm between layers": {"batch_norm_between_layers": True},
    "dropout": {"dropout_probability": 0.3},
    "tanh": {"activation": torch.tanh},
    "leaky": {"activation": functional.leaky_relu},
}


@pytest.mark.parametrize("name", NFLOWS)
@pytest.mark.parametrize("features", [2, 7])
def test_nflows_maf_is_ours_weight_for_weight(name: str, features: int) -> None:
    theirs = nflows_flows.MaskedAutoregressiveFlow(features, 24, 3, 2, use_residual_blocks=False, **NFLOWS[name])
    trained(theirs, theirs.log_prob, features)
    ours = maf_from_nflows(theirs)
    x, z = rows(features), torch.randn(50, features)
    with torch.no_grad():
        torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=0, atol=1e-10)
        torch.testing.assert_close(ours.transform.inverse(z)[0], theirs._transform.inverse(z)[0], rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("single")
def test_in_float32_they_agree_to_a_relative_1e_5() -> None:
    theirs = zuko.flows.MAF(40, transforms=5, hidden_features=(200, 200))
    x = torch.randn(200, 40)
    with torch.no_grad():
        torch.testing.assert_close(maf_from_zuko(theirs).log_prob(x), theirs().log_prob(x), rtol=1e-5, atol=0)
    theirs = nflows_flows.MaskedAutoregressiveFlow(40, 200, 5, 2, use_residual_blocks=False).eval()
    with torch.no_grad():
        torch.testing.assert_close(maf_from_nflows(theirs).log_prob(x), theirs.log_prob(x), rtol=1e-5, atol=0)


def test_what_was_taken_over_is_a_flow_like_any_other() -> None:
    ours = maf_from_zuko(zuko.flows.MAF(4))
    optimiser = torch.optim.Adam(ours.parameters(), 1e-2)
    before = float(ours.log_prob(rows(4)).detach().mean())
    for _ in range(20):
        (-ours.log_prob(rows(4)).mean()).backward()
        optimiser.step()
        optimiser.zero_grad()
    assert float(ours.log_prob(rows(4)).detach().mean()) > before
    jacobian = torch.autograd.functional.jacobian(lambda x: ours.transform[0](x)[0][0], rows(4, 1))[:, 0]
    assert (jacobian.triu(1) == 0).all()
    model = Marginalising(ours, StandardNormal(2))
    assert model.sample(5).shape == (5, 2)


def test_dense_masked_weights_come_back() -> None:
    theirs = zuko.flows.MAF(5, transforms=1, hidden_features=(8,))
    made = maf_from_zuko(theirs).transform[0]
    weights = [layer.dense_weight() for layer in made.network.layers]  # pyright: ignore[reportAttributeAccessIssue]
    linears = [module for module in theirs.transform.transforms[0].hyper if hasattr(module, "mask")]
    for ours, linear in zip(weights, linears, strict=True):
        dense = (linear.weight * linear.mask).detach()
        torch.testing.assert_close(ours.flatten().sort().values, dense.flatten().sort().values)
    x = torch.randn(3, 5)
    first, last = made.network.layers  # pyright: ignore[reportAttributeAccessIssue]
    by_hand = torch.relu(x @ weights[0].T + first.bias) @ weights[1].T + last.bias
    torch.testing.assert_close(by_hand.view(3, 5, 2), made.network(x))  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: maf_from_zuko(zuko.flows.MAF(4, passes=2)), "not fully autoregressive"),
        (lambda: maf_from_zuko(zuko.flows.MAF(4, residual=True)), "a residual network"),
        (lambda: maf_from_zuko(zuko.flows.NSF(4)), "the univariate MonotonicRQSTransform"),
        (lambda: maf_from_zuko(zuko.flows.MAF(1)), "ElementWiseTransform"),
        (lambda: maf_from_zuko(nn.Linear(2, 2)), "got Linear, expected a flow like zuko"),
        (lambda: maf_from_nflows(models.planar(2)), "got Flow, expected a flow like nflows"),
        (lambda: maf_from_nflows(nflows_flows.MaskedAutoregressiveFlow(4, 8, 2, 1)), "has residual blocks"),
        (lambda: maf_from_nflows(nflows_flows.SimpleRealNVP(4, 8, 2, 1)), "has a AffineCouplingTransform"),
        (
            lambda: maf_from_nflows(
                nflows_flows.MaskedAutoregressiveFlow(
                    4, 8, 2, 1, use_residual_blocks=False, batch_norm_within_layers=True
                )
            ),
            "batch norm within its layers",
        ),
    ],
)
def test_what_cannot_be_taken_over_is_refused_in_one_line(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        build()  # pyright: ignore[reportCallIssue]
    assert "\n" not in str(refusal.value)


def test_the_original_is_left_as_it_was() -> None:
    theirs = zuko.flows.MAF(3)
    state = {key: value.clone() for key, value in theirs.state_dict().items()}
    ours = maf_from_zuko(theirs)
    assert isinstance(ours, Flow)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, state[key]) for key, value in theirs.state_dict().items())


def test_a_trained_activation_is_taken_over_once_or_refused() -> None:
    theirs = zuko.flows.MAF(4, transforms=2, hidden_features=(8,), activation=nn.PReLU)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    ours, x = maf_from_zuko(theirs), rows(4)
    with torch.no_grad():
        torch.testing.assert_close(ours.log_prob(x), theirs().log_prob(x), rtol=1e-14, atol=1e-10)
        expected = theirs().log_prob(x)
        for parameter in ours.parameters():
            parameter.add_(1)
        assert torch.equal(theirs().log_prob(x), expected)
    with pytest.raises(ValueError, match="an activation trained for each hidden layer"):
        maf_from_zuko(zuko.flows.MAF(4, hidden_features=(8, 8), activation=nn.PReLU))
