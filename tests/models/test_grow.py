"""A flow as the start of a marginalising one: the same log p(x), and noise that matters from the first step."""

from __future__ import annotations

import pytest
import torch
from helpers import Call, fails, succeeds
from torch import Tensor, nn

import marginflow as mf
from marginflow import TrainConfig, models
from marginflow.distributions import Distribution, Flow, Marginalising
from marginflow.transforms import Dequantise, Flatten, Logit, Standardise


def trained(model: Distribution, x: Tensor) -> Distribution:
    mf.fit(model, x, TrainConfig(epochs=2, batch_size=50, lr=1e-3))
    return model.eval()


def rows(num_rows: int = 300) -> Tensor:
    torch.manual_seed(0)
    x = torch.randn(num_rows, 3)
    return torch.cat([x[:, :2], (x[:, :1] ** 2 + 0.3 * x[:, 2:])], 1)


class Foreign(nn.Module):
    """Of another library: log_prob and sample alone."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.ones(3))

    event_shape = torch.Size([3])

    def log_prob(self, x: Tensor) -> Tensor:
        return torch.distributions.Normal(self.mean, 2.0).log_prob(x).sum(1)

    def sample(self, num_samples: int) -> Tensor:
        return (self.mean + 2 * torch.randn(num_samples, 3, dtype=self.mean.dtype)).detach()


FLOWS = {
    "maf with batch norm": lambda: trained(models.maf(3, hidden=[16], blocks=2, batch_norm=True), rows()),
    "planar": lambda: trained(models.planar(3, blocks=2), rows()),
    "couplings": lambda: trained(models.realnvp(3, hidden=[16]), rows()),
    "preprocessed": lambda: trained(Flow([Standardise(3)], base=models.maf(3, hidden=[8], blocks=1)), rows()),
    "torch's normal": lambda: Foreign(),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FLOWS)
def test_log_p_is_that_of_the_flow_at_the_start(name: str, dtype: torch.dtype) -> None:
    flow, x = FLOWS[name]().to(dtype), rows(50).to(dtype)
    grown = mf.grow(flow, 4, seed=1).to(dtype).eval()
    assert not grown.exact
    expected = flow.log_prob(x).detach().double()
    found = mf.log_likelihood(grown, x, num_samples=20)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    scale = expected.abs().clamp_min(1)
    assert float(((found.log_prob - expected) / scale).abs().max()) < (10 if dtype == torch.float32 else 1) * tolerance
    torch.testing.assert_close(found.effective_sample_size, torch.full((50,), 20.0).double(), rtol=1e-3, atol=0)
    torch.manual_seed(0)
    one = grown.sample(4000).double()
    torch.manual_seed(1)
    other = torch.as_tensor(flow.sample(4000)).double()
    error = (one.var(0) / 4000 + other.var(0) / 4000).sqrt()
    assert bool(((one.mean(0) - other.mean(0)).abs() < 4.5 * error).all())


def test_images_grow_channels_of_noise() -> None:
    torch.manual_seed(0)
    glow = models.glow((1, 8, 8), levels=1, blocks=1, hidden=[4])
    x = torch.randn(20, 1, 8, 8)
    glow.log_prob(x)
    glow.eval()
    flow = Flow([Dequantise(256), Logit(0.05)], base=glow)
    grown = mf.grow(flow, 2, hidden=[4]).eval()
    found = mf.log_likelihood(grown.density, x, num_samples=3)
    torch.testing.assert_close(found.log_prob, glow.log_prob(x).detach().double(), rtol=1e-5, atol=0)
    assert grown.sample(2).shape == (2, 1, 8, 8)
    assert isinstance(grown.density, Marginalising)
    flat = mf.grow(Flow([Flatten((1, 8, 8))], base=models.planar(64, blocks=1)), 2)
    assert flat.sample(2).shape == (2, 1, 8, 8)


def covariance(model: Distribution, x: Tensor, draws: int) -> tuple[float, float]:
    """|Cov(features of eps, gradient of the loss with respect to what moves x)|, and its standard error."""
    assert isinstance(model, Marginalising)
    _, back, _ = list(model.flow.transform)  # pyright: ignore
    last = [each for each in back.conditioner.modules() if isinstance(each, nn.Linear)][-1]
    found = []
    for seed in range(draws):
        torch.manual_seed(100 + seed)
        seen: list[Tensor] = []

        def see(module: nn.Module, given: tuple[Tensor], out: Tensor, seen: list[Tensor] = seen) -> None:
            seen.extend([given[0], out])

        handle = last.register_forward_hook(see)
        loss = -model.log_prob(x).mean()
        handle.remove()
        features, out = seen
        (slope,) = torch.autograd.grad(loss, out)
        features, slope = features.detach(), slope * len(x)
        found.append((slope - slope.mean(0)).T @ (features - features.mean(0)) / len(x))
    values = torch.stack(found)
    return float(values.mean(0).norm()), float((values.std(0) / draws**0.5).norm())


def test_noise_matters_to_the_first_gradient() -> None:
    torch.manual_seed(0)
    x = rows(4000).double()
    flow = trained(models.maf(3, hidden=[16], blocks=1), x.float()).double()
    size, error = covariance(mf.grow(flow, 2).double().eval(), x, 20)
    assert size > 5 * error
    stationary = mf.grow(flow, 2).double().eval()
    assert isinstance(stationary, Marginalising)
    first, _, third = stationary.flow.transform  # pyright: ignore
    for coupling in (first, third.transform):  # pyright: ignore
        last = [each for each in coupling.conditioner.modules() if isinstance(each, nn.Linear)][-1]
        nn.init.zeros_(last.weight)
    size, error = covariance(stationary, x, 20)  # all couplings the identity: nothing but noise of the estimate
    assert size < 3 * error


def test_all_of_it_is_trained_and_the_flow_that_was_given_is_left_as_it_is() -> None:
    flow = FLOWS["maf with batch norm"]()
    before = {key: each.clone() for key, each in flow.state_dict().items()}
    grown = mf.grow(flow, 2)
    start = {key: each.detach().clone() for key, each in grown.named_parameters()}
    mf.fit(grown, rows(), TrainConfig(epochs=1, batch_size=50))
    assert all(torch.equal(before[key], each) for key, each in flow.state_dict().items())
    moved = [key for key, each in grown.named_parameters() if not torch.equal(start[key], each)]
    assert len(moved) == len(list(grown.parameters()))


def test_it_grows_in_the_precision_of_the_flow_and_keeps_what_is_known_of_its_rows() -> None:
    flow = trained(models.maf(3, hidden=[8], blocks=1), rows()).double()
    grown = mf.grow(flow, 2)
    assert grown.log_prob(rows(5).double()).dtype == torch.float64
    assert grown.spec == flow.spec


def test_what_cannot_grow_is_refused() -> None:
    class NoSample(Distribution):
        event_shape = torch.Size([2])

        def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
            return -x.square().sum(1)

        def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
            raise NotImplementedError("there is no sampler")

    with pytest.raises(ValueError, match=r"cannot be sampled \(there is no sampler\)"):
        mf.grow(NoSample(), 2)

    class Nowhere(nn.Module):
        def log_prob(self, x: Tensor) -> Tensor:
            return x.sum(1)

    with pytest.raises(ValueError, match="sample"):
        mf.grow(Nowhere(), 2)  # pyright: ignore
    with pytest.raises(ValueError, match="num_noise must be at least 1; got 0"):
        mf.grow(models.planar(2), 0)


@pytest.mark.parametrize("library", ["zuko", "nflows"])
def test_flows_of_other_libraries_grow(library: str) -> None:
    pytest.importorskip(library)
    torch.manual_seed(0)
    if library == "zuko":
        import zuko

        flow = mf.interop.from_zuko(zuko.flows.MAF(3, transforms=1, hidden_features=(8,)).double())
    else:
        from nflows.distributions.normal import StandardNormal
        from nflows.flows.base import Flow as Theirs
        from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform

        theirs = Theirs(MaskedAffineAutoregressiveTransform(3, 8), StandardNormal([3])).double()
        flow = mf.interop.from_nflows(theirs, shape=(3,))
    x = rows(40).double()
    grown = mf.grow(flow, 2).double().eval()
    found = mf.log_likelihood(grown, x, num_samples=10)
    torch.testing.assert_close(found.log_prob, flow.log_prob(x).detach().double(), rtol=1e-12, atol=1e-12)
    assert grown.sample(5).shape == (5, 3)


def test_a_run_grows_into_another_run(call: Call) -> None:
    few = ("data.num_train=400", "data.num_validation=100", "data.num_test=60", "evaluate.num_samples=5")
    settings = [part for each in few for part in ("--set", each)]
    model = ["--set", "model.hidden=[8]", "--set", "model.blocks=2"]
    succeeds(call("train", "half_moons_maf", *settings, *model, "--set", "train.epochs=2", "--run-dir", "plain"))
    tiny = ["--set", "train.epochs=1", "--set", "train.lr=1e-9", "--set", "train.ema=0"]
    grown = ["--set", "noise.grow=plain", "--set", "noise.features=2"]
    succeeds(call("train", "half_moons_maf", *settings, *model, *tiny, *grown, "--run-dir", "grown"))
    plain, other = mf.load("plain"), mf.load("grown")
    x = torch.randn(50, 2)
    found = mf.log_likelihood(other, x, num_samples=20)
    torch.testing.assert_close(found.log_prob, plain.log_prob(x).detach().double(), atol=1e-3, rtol=1e-4)
    wrong = [*settings, "--set", "model.hidden=[9]", *grown, "--run-dir", "wrong"]
    fails(call("train", "half_moons_maf", *wrong), r"was trained with another \[model\]")
    fails(call("train", "half_moons_maf", "--set", "noise.grow=plain"), "noise.features = 2")
    fails(call("train", "half_moons_maf", *grown, "--set", "noise.grow=grown", *model), "has noise dimensions already")
