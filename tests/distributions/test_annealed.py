"""log p(x) by annealed importance sampling, and the gap between both sides, against densities with a closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

import marginflow as mf
from marginflow.distributions import (
    DiagonalNormal,
    Distribution,
    Flow,
    LabelMixture,
    Marginalising,
    StandardNormal,
    Uniform,
)
from marginflow.distributions.annealing import Pilot, repeated
from marginflow.distributions.hamiltonian import NoiseSpace, frozen
from marginflow.transforms import Augment, Dequantise, Flatten, Logit, Transform

FEATURES = 2


class Known(Distribution):
    """A density of torch.distributions over rows of so many numbers."""

    def __init__(self, law: torch.distributions.Distribution) -> None:
        super().__init__()
        self.law = law

    @property
    def event_shape(self) -> torch.Size:
        return self.law.event_shape

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.law.log_prob(x)

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        return self.law.sample((num_samples,))


def gaussian(num_noise: int, seed: int = 0) -> tuple[Marginalising, MultivariateNormal]:
    """x and eps correlated and far from their q, and the law of x alone."""
    generator = torch.Generator().manual_seed(seed)
    total = FEATURES + num_noise
    root = torch.randn(total, total, generator=generator, dtype=torch.float64) / math.sqrt(total)
    covariance = root @ root.T + 0.2 * torch.eye(total, dtype=torch.float64)
    mean = 0.5 * torch.randn(total, generator=generator, dtype=torch.float64)
    joint = Known(MultivariateNormal(mean, covariance))
    law = MultivariateNormal(mean[:FEATURES], covariance[:FEATURES, :FEATURES])
    return Marginalising(joint, StandardNormal(num_noise)), law


@pytest.mark.parametrize("num_noise", [1, 3, 10, 40])
def test_correlated_gaussians_of_many_sizes(num_noise: int) -> None:
    model, law = gaussian(num_noise)
    torch.manual_seed(0)
    x = law.sample((30,))
    found = mf.log_likelihood(model, x, num_samples=8, method="annealed")
    assert found.standard_error is not None
    off = found.log_prob - law.log_prob(x)
    assert float(off.abs().mean()) < 0.2
    assert abs(float(off.mean())) < 4 * float(off.std()) / math.sqrt(len(off)) + 0.02
    assert float(found.effective_sample_size.median()) > 4
    assert found.num_temperatures is not None
    assert found.change is not None
    importance = mf.log_likelihood(model, x, num_samples=100)
    if num_noise >= 10:  # where importance samples are lost
        assert float((importance.log_prob - law.log_prob(x)).mean()) < float(off.mean()) - 0.3


def test_a_posterior_away_from_q_in_512_dimensions_is_reached() -> None:
    """Each of 512 noise dimensions is shifted by 0.3 standard deviations, by which IW-1000 is 7 nats low."""
    shift = torch.cat([torch.zeros(FEATURES), torch.full((512,), 0.3)])
    joint = Known(torch.distributions.Independent(torch.distributions.Normal(shift, torch.ones_like(shift)), 1))
    model = Marginalising(joint, StandardNormal(512))
    torch.manual_seed(0)
    x = torch.randn(16, FEATURES)
    truth = StandardNormal(FEATURES).log_prob(x)
    assert float((mf.log_likelihood(model, x, num_samples=1000).log_prob - truth).mean()) < -6
    found = mf.log_likelihood(model, x, num_samples=8, method="annealed", num_temperatures=160)
    assert float((found.log_prob - truth).mean()) == pytest.approx(0, abs=0.1)


def moments_of(x: Tensor) -> Tensor:
    """Means and log scales of q: eps ~ N(x_0, 0.5^2) and independent N(-x_1, 2^2)."""
    scales = x.new_tensor([0.5, 2.0]).log().expand(len(x), 2)
    return torch.cat([x * x.new_tensor([1.0, -1.0]), scales], 1)


def test_with_q_the_posterior_every_weight_is_p() -> None:
    posterior = DiagonalNormal(2, moments_of, 2, bound=1e9)

    class Joint(Distribution):
        event_shape = torch.Size([4])

        def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
            return StandardNormal(2)._log_prob(x[:, :2], None) + posterior._log_prob(x[:, 2:], x[:, :2])

        def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
            x = torch.randn(num_samples, 2)
            return torch.cat([x, posterior._sample(num_samples, x)], 1)

    model = Marginalising(Joint(), posterior)
    x = torch.randn(10, 2)
    for number in (1, 5):
        found = mf.log_likelihood(model, x, num_samples=4, method="annealed", num_temperatures=number)
        torch.testing.assert_close(found.log_prob, StandardNormal(2).log_prob(x), atol=1e-10, rtol=0)
        torch.testing.assert_close(found.effective_sample_size, torch.full((10,), 4.0))
    gap = mf.likelihood_gap(model, 5, num_temperatures=3)
    assert gap.gap == pytest.approx(0, abs=1e-10)
    torch.testing.assert_close(gap.upper, gap.lower, atol=1e-10, rtol=0)


def mixture() -> tuple[Marginalising, MixtureSameFamily]:
    """Two components, whose noise lies on both sides of that of q, so that the posterior has two modes."""
    means = torch.tensor([[-1.0, 0.5, -1.5, 1.0], [1.0, 0.0, 1.5, -1.0]])
    weights = Categorical(torch.tensor([0.3, 0.7]))
    spread = torch.diag_embed(torch.tensor([[1.5, 1.0, 0.4, 0.6], [1.0, 1.2, 0.5, 0.3]]))
    joint = MixtureSameFamily(weights, MultivariateNormal(means, spread))
    law = MixtureSameFamily(weights, MultivariateNormal(means[:, :2], spread[:, :2, :2]))
    return Marginalising(Known(joint), StandardNormal(2)), law


def test_a_mixture_whose_posterior_has_two_modes() -> None:
    model, law = mixture()
    torch.manual_seed(0)
    x = law.sample((40,))
    found = mf.log_likelihood(model, x, num_samples=64, method="annealed", num_temperatures=40)
    torch.testing.assert_close(found.log_prob, law.log_prob(x), atol=0.25, rtol=0)
    assert abs(float((found.log_prob - law.log_prob(x)).mean())) < 0.03


class Linear(Transform):
    """x -> A x."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix, self.features = torch.nn.Parameter(matrix), len(matrix)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x @ self.matrix.T, self.matrix.det().abs().log().expand(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.linalg.solve(self.matrix, z.T).T, -self.matrix.det().abs().log().expand(len(z))


def between_blocks() -> tuple[Flow, MultivariateNormal]:
    """Noise behind the first of two linear maps, and twice: all is normal."""
    torch.manual_seed(3)
    a, b, c = (torch.randn(n, n) + 2 * torch.eye(n) for n in (2, 4, 5))
    flow = Flow([Linear(a), Augment(StandardNormal(2)), Linear(b), Augment(StandardNormal(1)), Linear(c)],
                base=StandardNormal(5))  # fmt: skip
    back = torch.linalg.inv(a) @ torch.linalg.inv(b)[:2] @ torch.linalg.inv(c)[:4]
    return flow, MultivariateNormal(torch.zeros(2), back @ back.T)


def test_noise_between_blocks() -> None:
    model, law = between_blocks()
    torch.manual_seed(0)
    x = law.sample((40,))
    found = mf.log_likelihood(model, x, num_samples=16, method="annealed", num_temperatures=160)
    assert found.standard_error is not None
    off = (found.log_prob - law.log_prob(x)).abs()
    assert float((off / (found.standard_error + 0.05)).median()) < 1.5
    assert abs(float((found.log_prob - law.log_prob(x)).mean())) < 0.1
    gap = mf.likelihood_gap(model, 40)
    assert abs(gap.gap) < 3 * gap.standard_error + 0.02


@pytest.mark.parametrize(("make", "number"), [(lambda: gaussian(6), 12), (mixture, 20), (between_blocks, 50)])
def test_weights_are_p_on_average_in_both_directions(make, number: int) -> None:
    """E[w] = p(x) and E[1/w] = 1/p(x) over seeds of the pilot too, with few temperatures, where weights scatter."""
    model, law = make()
    model = model.double()
    ratios, inverses = [], []
    for seed in range(12):
        torch.manual_seed(seed)
        x, eps = model.sample_with_noise(4)
        truth = law.log_prob(x)
        with frozen(model):
            path = Pilot.of(model, x, None).path(number)
            space = NoiseSpace(model, repeated(x, None, 400)[0], None)
            log_w, _ = path.forward(space)
            start = space.from_noise([each.repeat(400, 1) for each in eps])
            back = path.back(space, start)
        ratios.append((log_w.view(400, -1) - truth).exp())
        inverses.append((truth - back.view(400, -1)).exp())
    for values, sides in ((torch.stack(ratios), "w / p"), (torch.stack(inverses), "p / w")):
        # of w chains are independent; of 1 / w those of one row start at the same noise, so that rows are
        each = values.mean(1).flatten()
        error = float(each.std()) / math.sqrt(len(each))
        assert abs(float(each.mean()) - 1) < 3.5 * error + 1e-3, sides
        assert error < 0.15


@pytest.mark.parametrize("make", [lambda: gaussian(20), mixture, between_blocks])
def test_the_truth_lies_between_both_sides(make) -> None:
    model, law = make()
    torch.manual_seed(1)
    low, high = [], []
    for _ in range(3):  # rows are drawn inside: so are those whose truth is known
        state = torch.get_rng_state()
        found = mf.likelihood_gap(model, 60, num_samples=4, num_temperatures=10)
        torch.set_rng_state(state)
        with mf.distributions.evaluation_mode(model):
            x, _ = model.sample_with_noise(60)
        low.append(law.log_prob(x) - found.lower)
        high.append(found.upper - law.log_prob(x))
    for each in (torch.cat(low), torch.cat(high)):
        assert float(each.mean()) > -2 * float(each.std()) / math.sqrt(len(each))
    assert found.gap == pytest.approx(float((found.upper - found.lower).mean()))
    assert found.standard_error == pytest.approx(float((found.upper - found.lower).std()) / math.sqrt(60))


@pytest.mark.parametrize("outside", [True, False])
def test_labels_mixed_inside_and_outside(outside: bool) -> None:
    torch.manual_seed(0)
    if outside:
        model = LabelMixture(Marginalising(mf.models.maf(4, hidden=[8], blocks=2, context_features=3),
                                           StandardNormal(2)), 3, [0.2, 0.5, 0.3])  # fmt: skip
    else:
        joint = LabelMixture(mf.models.maf(4, hidden=[8], blocks=2, context_features=3), 3, [0.2, 0.5, 0.3])
        model = Marginalising(joint, StandardNormal(2))
    x, eps = model.sample_with_noise(12)
    assert len(eps) == (3 if outside else 1)
    precise = mf.log_likelihood(model, x, num_samples=20_000, chunk=20_000)
    found = mf.log_likelihood(model, x, num_samples=8, method="annealed")
    torch.testing.assert_close(found.log_prob, precise.log_prob, atol=0.3, rtol=0)
    gap = mf.likelihood_gap(model, 30)
    assert abs(gap.gap) < 3 * gap.standard_error + 0.02
    label = torch.eye(3)[torch.arange(12) % 3]
    given = mf.log_likelihood(model, x, label, num_samples=8, method="annealed")
    precise = mf.log_likelihood(model, x, label, num_samples=5000)
    torch.testing.assert_close(given.log_prob, precise.log_prob, atol=0.3, rtol=0)


def pixels() -> Flow:
    torch.manual_seed(0)
    return Flow([Dequantise(4), Logit(1e-6), Flatten((1, 1, 2))], base=mf.models.maf(2, hidden=[8], blocks=2, seed=1))


def test_the_noise_of_dequantisation_is_annealed_on_the_unit_interval() -> None:
    model = pixels()
    x = torch.tensor([[i // 4, i % 4] for i in range(16)], dtype=torch.uint8).view(16, 1, 1, 2)
    precise = mf.log_likelihood(model, x, num_samples=4000)
    assert float(precise.log_prob.exp().sum()) == pytest.approx(1, abs=0.05)
    found = mf.log_likelihood(model, x, num_samples=16, method="annealed")
    torch.testing.assert_close(found.log_prob, precise.log_prob, atol=0.3, rtol=0)
    gap = mf.likelihood_gap(model, 40)
    assert abs(gap.gap) < 3 * gap.standard_error + 0.02
    drawn, (u,) = model.sample_with_noise(50)
    assert drawn.dtype == torch.uint8
    assert bool(((u >= 0) & (u < 1)).all())


def test_the_noise_that_comes_with_a_sample_is_that_of_its_joint_density() -> None:
    """log p(x, eps) at them follows the law of log p at joint samples."""
    flow = mf.models.maf(5, hidden=[8])
    x, (eps,) = Marginalising(flow, StandardNormal(2)).sample_with_noise(4000)
    of_joint = flow.log_prob(flow.sample(4000)).detach()
    log_joint = flow.log_prob(torch.cat([x, eps], 1)).detach()
    pooled = math.sqrt(float(log_joint.var() + of_joint.var()) / 4000)
    assert abs(float(log_joint.mean() - of_joint.mean())) < 4 * pooled
    model, _ = gaussian(3)
    x, (eps,) = model.sample_with_noise(20_000)
    joint = torch.cat([x, eps], 1)
    assert isinstance(model.flow, Known)
    torch.testing.assert_close(torch.cov(joint.T), model.flow.law.covariance_matrix, atol=0.08, rtol=0)  # pyright: ignore


def test_a_number_of_temperatures_is_doubled_until_the_estimate_settles() -> None:
    model, law = gaussian(40)
    torch.manual_seed(0)
    x = law.sample((20,))
    found = mf.log_likelihood(model, x, num_samples=8, method="annealed")
    assert found.num_temperatures in (20, 40, 80, 160, 320, 640, 1280)
    assert found.standard_error is not None
    error = float(found.standard_error.square().sum().sqrt()) / 20
    assert found.change is not None
    assert abs(found.change) < error or found.num_temperatures == 1280
    fixed = mf.log_likelihood(model, x, num_samples=8, method="annealed", num_temperatures=7)
    assert (fixed.num_temperatures, fixed.change) == (7, None)


def test_chunks_change_nothing_but_the_draws() -> None:
    model, law = gaussian(5)
    x = law.sample((9,))
    for chunk in (1, 16, 1000):
        torch.manual_seed(0)
        found = mf.log_likelihood(model, x, num_samples=8, method="annealed", num_temperatures=80, chunk=chunk)
        torch.testing.assert_close(found.log_prob, law.log_prob(x), atol=0.6, rtol=0)


def test_the_same_seed_gives_the_same_and_weights_keep_their_gradients() -> None:
    model = Marginalising(mf.models.maf(4, hidden=[8]), StandardNormal(2)).train()
    x = torch.randn(5, 2)
    results = []
    for _ in range(2):
        torch.manual_seed(4)
        results.append(mf.log_likelihood(model, x, num_samples=4, method="annealed", num_temperatures=5).log_prob)
    torch.testing.assert_close(*results, rtol=0, atol=0)
    assert model.training
    assert all(each.requires_grad for each in model.parameters())
    assert all(each.grad is None for each in model.parameters())


def test_an_exact_density_is_evaluated_once_and_says_so() -> None:
    model, x = mf.models.maf(2, hidden=[8]), torch.randn(5, 2)
    with pytest.warns(RuntimeWarning, match="exact: it was evaluated once, nothing was annealed"):
        found = mf.log_likelihood(model, x, num_samples=3, method="annealed")
    torch.testing.assert_close(found.log_prob, model.log_prob(x).detach())
    with pytest.warns(RuntimeWarning, match="exact: both sides are its log_prob"):
        gap = mf.likelihood_gap(model, 5)
    assert (gap.gap, gap.standard_error) == (0, 0)


class Broken(Known):
    """NaN, without a gradient, or with none that is finite, where x_0 > 10."""

    def __init__(self, how: str) -> None:
        super().__init__(gaussian(2)[0].flow.law)  # pyright: ignore
        self.how = how

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        found = super()._log_prob(x, context)
        if self.how == "no gradient":
            return found.detach()
        if self.how == "nan":
            return torch.where(x[:, 0] > 10, math.nan, found)
        return found + torch.where(x[:, 0] > 10, x[:, 2] - x[:, 2].detach(), 1.0).abs().sqrt()


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("nan", FloatingPointError, r"the log p\(x, eps\) is not finite at row 2 \(counted from 0\)"),
        ("slope", FloatingPointError, r"the gradient of log p\(x, eps\) is not finite at row 2 \(counted from 0\)"),
        ("no gradient", ValueError, r"log p\(x, eps\) has no gradient in eps, .*: take method='importance'"),
    ],
)
def test_a_joint_that_cannot_be_walked_is_refused(how: str, error: type[Exception], message: str) -> None:
    model = Marginalising(Broken(how), StandardNormal(2))
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [20.0, 0.0], [0.0, 1.0]])
    with pytest.raises(error, match=message):
        mf.log_likelihood(model, x, num_samples=2, method="annealed", num_temperatures=3)


def test_a_row_is_named_by_its_number_among_all() -> None:
    model = Marginalising(Broken("nan"), StandardNormal(2))
    x = torch.zeros(40, 2)
    x[39, 0] = 20
    with pytest.raises(FloatingPointError, match=r"not finite at row 39 \(counted from 0\)"):
        mf.log_likelihood(model, x, num_samples=2, method="annealed", num_temperatures=3)


class HalfLine(Known):
    """eps ~ Exp(1) beside x ~ N(0, 1): half of the draws of N(0, 1) have no weight."""

    def __init__(self) -> None:
        super().__init__(MultivariateNormal(torch.zeros(2), torch.eye(2)))

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        log_eps = torch.where(x[:, 1] > 0, -x[:, 1], -math.inf)
        return StandardNormal(1)._log_prob(x[:, :1], None) + log_eps

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        return torch.stack([torch.randn(num_samples), torch.distributions.Exponential(1.0).sample((num_samples,))], 1)


def test_noise_where_the_joint_is_0_has_no_weight() -> None:
    model = Marginalising(HalfLine(), StandardNormal(1))
    x = torch.randn(30, 1)
    torch.manual_seed(0)
    found = mf.log_likelihood(model, x, num_samples=64, method="annealed", num_temperatures=40)
    truth = StandardNormal(1).log_prob(x)
    assert abs(float((found.log_prob - truth).mean())) < 0.1
    outside = mf.log_likelihood(model, x, num_samples=4, method="annealed", num_temperatures=5)
    assert outside.log_prob.shape == (30,)


def test_it_runs_in_inference_mode() -> None:
    model, _ = gaussian(2)
    with torch.inference_mode():
        x = torch.zeros(3, 2)
        found = mf.log_likelihood(model, x, num_samples=2, method="annealed", num_temperatures=3)
        gap = mf.likelihood_gap(model, 3, num_temperatures=3)
    assert bool(found.log_prob.isfinite().all())
    assert gap.gap == gap.gap


def test_discrete_noise_is_refused() -> None:
    class Coins(Uniform):
        support = torch.distributions.constraints.independent(torch.distributions.constraints.boolean, 1)

    model = Marginalising(Known(gaussian(2)[0].flow.law), Coins(2))  # pyright: ignore
    with pytest.raises(ValueError, match=r"the noise is discrete.*: take method='importance'"):
        mf.log_likelihood(model, torch.zeros(1, 2), num_samples=2, method="annealed", num_temperatures=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "annealing"}, "did you mean annealed"),
        ({"num_temperatures": 5}, "give method='annealed'"),
        ({"method": "annealed", "num_temperatures": 0}, "num_temperatures must be at least 1; got 0"),
        ({"method": "annealed", "num_samples": 0}, "num_samples must be at least 1; got 0"),
        ({"method": "annealed", "num_samples": 1}, "one chain a row cannot tell when to stop: give num_samples=8"),
        ({"method": "annealed", "chunk": 0}, "chunk must be at least 1; got 0"),
    ],
)
def test_wrong_settings_are_named(options: dict, message: str) -> None:
    model, _ = gaussian(2)
    with pytest.raises(ValueError, match=message):
        mf.log_likelihood(model, torch.zeros(2, 2), **options)


def test_the_gap_needs_rows_and_a_context_where_the_model_does() -> None:
    with pytest.raises(ValueError, match="num_rows must be at least 2; got 1"):
        mf.likelihood_gap(gaussian(2)[0], 1)
    model = Marginalising(mf.models.maf(3, hidden=[8], context_features=2), StandardNormal(1))
    with pytest.raises(ValueError, match="context"):
        mf.likelihood_gap(model, 4, num_temperatures=2)
    assert len(mf.likelihood_gap(model, 4, num_temperatures=2, context=[[0.0, 1.0]]).lower) == 4


class Peaked(Known):
    """A joint so narrow in eps that no move is accepted at the steps that a pilot of a wide one finds."""

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -1e3 * (1e9 * x[:, 2:]).sin().sum(1)


def test_chains_that_never_move_are_said() -> None:
    model = Marginalising(Peaked(gaussian(2)[0].flow.law), StandardNormal(2))  # pyright: ignore
    with pytest.warns(RuntimeWarning, match="chains have accepted .* of their moves, with steps of 0.0001 to"):
        mf.log_likelihood(model, torch.zeros(3, 2), num_samples=4, method="annealed", num_temperatures=4)
