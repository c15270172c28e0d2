"""Scalar functions against other libraries, closed forms and float64."""

from __future__ import annotations

import math

import pytest
import torch
from nflows.transforms.splines.rational_quadratic import unconstrained_rational_quadratic_spline
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform, SigmoidTransform

from marginflow.base.transform import Univariate
from marginflow.nets.masked import kernel_numba
from marginflow.transforms import (
    Additive,
    Affine,
    GaussianMixture,
    LogisticMixture,
    RationalQuadratic,
    SoftclipAffine,
    SoftplusAffine,
)
from marginflow.transforms.univariate.components import scaled_normal_tails
from marginflow.transforms.univariate.spline import LEAST_SIZE, LEAST_SLOPE

N = 2000


def test_additive_shifts() -> None:
    x, params = torch.randn(5), torch.randn(5, 1)
    y, log_slope = Additive().forward(x, params)
    torch.testing.assert_close(y, x - params[:, 0])
    assert not log_slope.any()


@pytest.mark.parametrize(("bins", "bound"), [(2, 3.0), (8, 5.0), (16, 1.0)])
def test_the_spline_is_nflows(bins: int, bound: float) -> None:
    torch.default_generator.manual_seed(0)
    spline = RationalQuadratic(bins, bound)
    x, params = torch.randn(N) * bound, torch.randn(N, spline.num_params)
    y, log_slope = spline.forward(x, params)
    widths, heights, slopes = params.split([bins, bins, bins - 1], 1)
    shifted = slopes + math.log(math.expm1(1 - LEAST_SLOPE))  # there a slope of 0 means log 2
    theirs, their_log_slope = unconstrained_rational_quadratic_spline(x, widths, heights, shifted, tail_bound=bound)
    torch.testing.assert_close(y, theirs, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_slope, their_log_slope, rtol=1e-8, atol=1e-8)
    assert (x.abs() > bound).any()


def test_the_spline_is_the_identity_at_zero_and_outside() -> None:
    spline = RationalQuadratic(8, 3.0)
    x = torch.linspace(-9, 9, 401)
    y, log_slope = spline.forward(x, torch.zeros(401, spline.num_params))
    torch.testing.assert_close((y, log_slope), (x, torch.zeros(401)), rtol=0, atol=1e-12)
    outside = x[x.abs() >= 3]
    y, log_slope = spline.forward(outside, torch.randn(len(outside), spline.num_params))
    assert torch.equal(y, outside)
    assert not log_slope.any()


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0])
def test_the_inverse_of_a_spline_neither_asserts_nor_leaves_its_interval_in_float32(scale: float) -> None:
    torch.default_generator.manual_seed(0)
    spline = RationalQuadratic(8, 5.0)
    y = torch.cat([torch.rand(100_000) * 10 - 5, torch.tensor([-5.0, 5.0, -5 + 1e-7, 0.0, 1e30, -1e30])]).float()
    params = (torch.randn(len(y), spline.num_params) * scale).float()
    x, log_slope = spline.inverse(y, params)
    assert torch.isfinite(x).all()
    assert torch.isfinite(log_slope).all()
    assert bool((x[y.abs() <= 5].abs() <= 5).all())
    knots = spline._knots(params[:, 8:16])[:, 1:-1]  # values at the very knots
    x, log_slope = spline.inverse(knots, params[:, None].expand(-1, 7, -1))
    assert torch.isfinite(x).all()
    assert torch.isfinite(log_slope).all()


def test_the_spline_returns_in_float32_as_well_as_its_slope_allows() -> None:
    torch.default_generator.manual_seed(0)
    spline = RationalQuadratic(8, 5.0)
    x, params = torch.randn(100_000).float() * 2, torch.randn(100_000, spline.num_params).float()
    y, log_slope = spline.forward(x, params)
    error, slope = (spline.inverse(y, params)[0] - x).abs(), log_slope.exp()
    assert (error / (1 + 1 / slope)).max() < 2e-6  # a few roundings of x, and of y over the slope
    assert error[slope > 1e-3].max() < 1e-3


def mixture_of(params: Tensor) -> MixtureSameFamily:
    """The same mixture by torch, from the parameters as the class documents them."""
    logits, means, scales = documented(params)
    return MixtureSameFamily(Categorical(logits=logits), Normal(means, scales))


def documented(params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, means that lie apart at zero, and scales within exp(+-7), as the class says."""
    logits, means, raw = params.chunk(3, -1)
    return logits, means + torch.linspace(-2, 2, means.shape[-1]), torch.exp(7 * torch.tanh(raw / 7))


def logistic_mixture_of(params: Tensor) -> MixtureSameFamily:
    logits, means, scales = documented(params)
    logistics = TransformedDistribution(
        torch.distributions.Uniform(torch.zeros_like(means), 1.0),
        [SigmoidTransform().inv, AffineTransform(means, scales)],
    )
    return MixtureSameFamily(Categorical(logits=logits), logistics, validate_args=False)


def without_affine(params: Tensor) -> Tensor:
    """Parameters of a mixture of logistics that is neither shifted nor scaled."""
    return torch.cat([params, torch.zeros_like(params[..., :2])], -1)


@pytest.mark.parametrize("family", [GaussianMixture, LogisticMixture])
def test_the_mixture_is_the_logit_of_its_cumulative_distribution(family: type) -> None:
    torch.default_generator.manual_seed(0)
    x, params = torch.randn(N) * 2, torch.randn(N, 15)
    if family is GaussianMixture:
        y, log_slope = family(5).forward(x, params)
        expected = mixture_of(params)
    else:
        y, log_slope = family(5).forward(x, without_affine(params))
        expected = logistic_mixture_of(params)
    cdf = expected.cdf(x)
    inner = (cdf > 1e-6) & (cdf < 1 - 1e-6)  # where the logit of a number is good for something
    torch.testing.assert_close(y[inner], torch.logit(cdf)[inner], rtol=1e-8, atol=1e-8)
    logistic = -(y.abs() + 2 * torch.log1p(torch.exp(-y.abs())))
    torch.testing.assert_close(logistic + log_slope, expected.log_prob(x), rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("mixture", [GaussianMixture(10), LogisticMixture(10)])
def test_the_mixture_neither_overflows_nor_loses_its_inverse_in_float32(mixture: Univariate) -> None:
    torch.default_generator.manual_seed(0)
    x = torch.cat([torch.randn(5000), torch.tensor([-1e4, -300.0, -30.0, 30.0, 300.0, 1e4])])
    params = torch.randn(len(x), mixture.num_params)
    x, params = x.requires_grad_(), params.requires_grad_()
    y, log_slope = mixture.forward(x, params)
    gradients = torch.autograd.grad((y + log_slope).sum(), [x, params])
    for each in (y, log_slope, *gradients):
        assert torch.isfinite(each).all()
    back, _ = mixture.inverse(y.detach(), params.detach())
    density = (log_slope - y.abs()).detach()
    likely = density > -12  # in the gaps between components, where nothing is drawn, the curve is flat
    torch.testing.assert_close(back[likely], x.detach()[likely], rtol=1e-3, atol=1e-3)


def test_what_is_drawn_through_the_mixture_follows_it() -> None:
    torch.default_generator.manual_seed(0)
    params = torch.randn(1, 9).expand(50_000, 9)
    y = torch.logit(torch.rand(50_000))
    x, _ = GaussianMixture(3).inverse(y, params)
    u = mixture_of(params[:1]).cdf(x).sort().values
    steps = torch.arange(1, len(u) + 1) / len(u)
    assert (u - steps).abs().max() < 1.63 / len(u) ** 0.5  # Kolmogorov and Smirnov, 1 in 100


@pytest.mark.slow
@pytest.mark.parametrize("mixture", [GaussianMixture(3), LogisticMixture(3)])
def test_the_mixtures_gradients_are_finite_differences_twice(mixture: Univariate) -> None:
    torch.default_generator.manual_seed(0)
    x = torch.randn(4, 2, requires_grad=True)
    params = torch.randn(4, 2, mixture.num_params, requires_grad=True)
    assert torch.autograd.gradcheck(mixture.forward, (x, params))
    assert torch.autograd.gradgradcheck(mixture.forward, (x, params))
    assert torch.autograd.gradcheck(mixture.inverse, (x, params), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tails_of_the_normal_against_torch(dtype: torch.dtype) -> None:
    far = 12.0 if dtype == torch.float32 else 36.0
    a = torch.cat([torch.linspace(-60, 60, 4001), torch.tensor([-far, far, math.nextafter(far, 0)])]).to(dtype)
    tolerance = 1e-11 if dtype == torch.float64 else 2e-6
    lower, upper = (each.double() - 0.5 * a.double().square() for each in scaled_normal_tails(a))
    expected = torch.special.log_ndtr(torch.stack([a, -a]).double())
    torch.testing.assert_close(torch.stack([lower, upper]), expected, rtol=tolerance, atol=50 * tolerance)


@pytest.mark.parametrize("mixture", [GaussianMixture(3), LogisticMixture(3)])
def test_the_mixture_at_its_very_means_has_its_gradient_by_every_way(mixture: Univariate) -> None:
    params = torch.zeros(3, mixture.num_params)
    x = torch.tensor([-2.0, 0.0, 2.0], requires_grad=True)  # where components lie
    y, log_slope = mixture.forward(x, params)
    (written,) = torch.autograd.grad(y.sum(), x)
    (by_autograd,) = torch.autograd.grad(mixture.forward(x, params)[0].sum(), x, create_graph=True)
    torch.testing.assert_close(written, log_slope.exp().detach())
    torch.testing.assert_close(by_autograd.detach(), written)
    slope = torch.func.grad(lambda row: mixture.forward(row[None], params[:1])[0][0])(torch.tensor(-2.0))
    torch.testing.assert_close(slope, written[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("raw", [-3.0, -5.0])
def test_the_inverse_of_a_mixture_holds_on_the_plateau_between_its_components(raw: float, dtype: torch.dtype) -> None:
    """Between narrow components the curve is flat; there any x will do, as long as it is one and lies between."""
    mixture = GaussianMixture(2)
    logit = math.log(0.3 / 0.7)
    params = torch.tensor([logit, 0.0, 0.0, 0.0, raw, raw], dtype=dtype)
    y = logit + torch.cat([torch.zeros(1), torch.linspace(-1e-4, 1e-4, 2001)]).to(dtype)
    params = params.expand(len(y), 6).clone().requires_grad_()
    x, log_slope = mixture.inverse(y, params)
    assert torch.isfinite(x).all()
    assert torch.isfinite(log_slope).all()
    assert (x.abs() <= 2.5).all()
    (gradient,) = torch.autograd.grad(x.sum(), params)
    assert torch.isfinite(gradient).all()


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("mixture", [GaussianMixture(2), LogisticMixture(2)])
def test_the_slope_of_a_mixture_is_right_far_out_in_float32(mixture: Univariate) -> None:
    params = torch.randn(1, mixture.num_params)
    x = torch.tensor([-1e5, -3e3, 20.0, 3e3, 1e5])
    y, log_slope = mixture.forward(x, params.expand(5, -1))
    exact, exact_log_slope = mixture.forward(x.double(), params.double().expand(5, -1))
    torch.testing.assert_close(y.double(), exact, rtol=1e-5, atol=0)
    torch.testing.assert_close(log_slope.double(), exact_log_slope, rtol=1e-5, atol=1e-4)
    back, _ = mixture.inverse(y, params.expand(5, -1))
    torch.testing.assert_close(back, x, rtol=1e-4, atol=0)


def test_the_compiled_splines_constants_are_the_splines() -> None:
    assert kernel_numba.LEAST == LEAST_SIZE == LEAST_SLOPE


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RationalQuadratic(1), "bins must be at least 2; got 1"),
        (lambda: RationalQuadratic(8, -1.0), "bound must be positive and finite; got -1.0"),
        (lambda: GaussianMixture(0), "components must be at least 1; got 0"),
    ],
)
def test_impossible_scalar_functions_are_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize(("affine", "name"), [(Affine, "bound"), (SoftclipAffine, "slope"), (SoftplusAffine, "floor")])
def test_an_affine_functions_bound_is_positive_and_finite(affine: type, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must .* got {value}"):
        affine(value)
