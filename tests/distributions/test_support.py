"""log p outside of the support is -inf, far out it is finite or -inf, and only a row with NaN has NaN."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from registry import DISTRIBUTIONS, Case

import marginflow as mf
from marginflow.distributions import DiagonalNormal, Flow, LabelMixture, Marginalising, StandardNormal, Uniform
from marginflow.transforms import Augment, Flatten, Logit, Planar, Standardise

REAL = {name: case for name, case in DISTRIBUTIONS.items() if case.x(2).is_floating_point()}
FROM_TORCH = ("from torch", "from elsewhere", "from elsewhere, with context")


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("name", REAL)
def test_far_rows_have_no_nan(name: str) -> None:
    """As far out as a table may hold values, whose squares are finite in float32."""
    case: Case = REAL[name]
    torch.default_generator.manual_seed(0)
    model = case.build().eval()
    x, context = case.x(8).float(), case.context(8)
    context = None if context is None else context.float()
    for exponent in (1, 2, 4, 8, 12, 15, 18):
        for sign in (1.0, -1.0):
            far = x.clone()
            far[:4] = sign * 10.0**exponent
            far[4:, 0] = sign * 10.0**exponent
            with torch.no_grad():
                log_prob = model.log_prob(far, context)
            assert not bool(log_prob.isnan().any()), (exponent, sign)
            assert not bool(log_prob.isposinf().any()), (exponent, sign)


@pytest.mark.parametrize(  # torch's refuse NaN by themselves; of a schema it may be a missing value
    "name", [name for name in REAL if name not in FROM_TORCH and "mixed" not in name]
)
def test_nan_is_no_row_of_any_density(name: str) -> None:
    case: Case = REAL[name]
    torch.default_generator.manual_seed(0)
    model = case.build().eval()
    for place in (0, -1):
        x, context = case.x(6), case.context(6)
        x[3].view(-1)[place] = torch.nan
        with torch.no_grad():
            log_prob = model.log_prob(x, context)
        assert log_prob.isnan().tolist() == [False] * 3 + [True] + [False] * 2
        with pytest.raises(ValueError, match="nan in row 3"):
            mf.log_likelihood(model, x, context)


BOUNDED = {
    "logit": lambda: Flow([Logit(0.05)], mf.models.maf(2, hidden=[8])),
    "logit without room": lambda: Flow([Logit(0)], mf.models.maf(2, hidden=[8])),
    "logit of images, flattened": lambda: Flow([Logit(0.05), Flatten((2, 1, 1))], mf.models.planar(2)),
    "logit of what is standardised": lambda: standardised_logit(),
    "mixture over labels": lambda: LabelMixture(
        Flow([Logit(0.05)], mf.models.maf(2, hidden=[8], context_features=3)), 3
    ),
    "marginalising": lambda: Flow([Logit(0.05)], Marginalising(mf.models.planar(3), StandardNormal(1))),
    "marginalising, bounded itself": lambda: Marginalising(Flow([Logit(0.05)], mf.models.planar(3)), Uniform(1)),
    "noise between": lambda: Flow([Logit(0.05), Augment(StandardNormal(1))], mf.models.planar(3)),
    "a flow over a flow": lambda: Flow([Logit(0.05)], Flow([Planar(2)], StandardNormal(2))),
    "uniform": lambda: Uniform(2, -0.1, 1.1),
}  # fmt: skip


def standardised_logit() -> Flow:
    standardise = Standardise(2)
    standardise.set_statistics(torch.zeros(2), torch.ones(2))
    return Flow([standardise, Logit(0.05)], mf.models.planar(2))


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("value", [-0.2, 1.3, 5.0, 1e9, -math.inf, math.inf])
def test_outside_of_its_support_a_density_is_0(name: str, value: float) -> None:
    torch.default_generator.manual_seed(0)
    model = BOUNDED[name]()
    x = torch.rand(5, *model.event_shape) * 0.2 + 0.4
    x[1].view(-1)[0] = value
    x[3] = value
    log_prob = model.log_prob(x)
    assert log_prob.isneginf().tolist() == [False, True, False, True, False]
    assert log_prob[::2].isfinite().all()
    if math.isfinite(value):
        estimate = mf.log_likelihood(model, x, num_samples=4)
        assert estimate.log_prob.isneginf().tolist() == [False, True, False, True, False]
        assert not bool(estimate.bound.isnan().any() | estimate.effective_sample_size.isnan().any())
    log_prob[::2].sum().backward() if log_prob.requires_grad else None
    assert all(each.grad is None or bool(each.grad.isfinite().all()) for each in model.parameters())


@given(st.floats(0, 0.49), st.floats(-3, 4))
def test_the_support_of_a_logit_is_an_interval(alpha: float, x: float) -> None:
    """(-alpha, 1 - alpha) / (1 - 2 alpha), and the mass inside is 1: the logistic's over a standard logistic base."""
    inside = alpha + (1 - 2 * alpha) * x
    if min(abs(inside), abs(1 - inside)) < 1e-12:
        return
    z, log_det = Logit(alpha)(torch.tensor([[x]]))
    if 0 < inside < 1:
        assert float(z) == pytest.approx(math.log(inside / (1 - inside)), rel=1e-9, abs=1e-9)
        assert float(log_det) == pytest.approx(math.log((1 - 2 * alpha) / inside / (1 - inside)), rel=1e-9)
    else:
        assert float(log_det) == -math.inf
        assert float(z) == 0


@pytest.mark.parametrize("alpha", [0.0, 1e-6, 0.05])
def test_a_bounded_density_sums_to_1_over_its_support_and_nothing_beyond(alpha: float) -> None:
    flow = Flow([Logit(alpha)], DiagonalNormal(1))
    x = torch.linspace(-0.5, 1.5, 400_001)[:, None]
    mass = float(torch.trapezoid(flow.log_prob(x).exp(), x[:, 0]).detach())
    assert mass == pytest.approx(1, abs=1e-4)


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("name", ["made_mog", "maf_mog"])
def test_where_float32_ends_the_density_of_a_mixture_is_0(name: str) -> None:
    """log p falls as x^2 / 2 s^2: at 1e20 and beyond it is no number of float32, and is one of float64."""
    torch.default_generator.manual_seed(0)
    model = getattr(mf.models, name)(1, hidden=[4]).eval()
    far = torch.tensor([[1e20], [-1e20], [1e25], [1e30]])
    assert model.log_prob(far).isneginf().all()
    assert bool((model.double().log_prob(far.double()[:1]) < -3.4e38).all())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_context_that_is_no_number_is_named(value: float) -> None:
    model = mf.models.maf(2, hidden=[8], context_features=2)
    context = torch.zeros(6, 2)
    context[4, 1] = value
    calls = (lambda: mf.log_likelihood(model, torch.zeros(6, 2), context), lambda: mf.sample(model, 6, context))
    for call in calls:
        with pytest.raises(ValueError, match=r"context: (nan|inf) in row 4, column 1"):
            call()


def test_a_model_whose_log_p_is_nan_is_told_by_the_row() -> None:
    model = DiagonalNormal(1)
    with torch.no_grad():
        model.mean.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="log p is nan at row 0"):
        mf.log_likelihood(model, torch.zeros(3, 1))
