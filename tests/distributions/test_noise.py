"""Noise sites: log p(x, eps) and log q(eps | x) at given noise, against log_prob of the same draw."""

from __future__ import annotations

import pytest
import torch
from registry import DISTRIBUTIONS, build_distribution
from torch import Tensor

from marginflow import models
from marginflow.base.noise_sites import draw_noise
from marginflow.base.seeds import seeded
from marginflow.distributions import LabelMixture, Marginalising, StandardNormal

N = 5
CASES = [(name, given) for name in DISTRIBUTIONS for given in (True, False)]


def rows(name: str, given: bool) -> tuple[Tensor, Tensor | None]:
    torch.default_generator.manual_seed(1)
    case = DISTRIBUTIONS[name]
    x, context = case.x(N), case.context(N)
    return x, context if given or not build_distribution(name).context_optional else None


@pytest.mark.parametrize(("name", "given"), CASES)
def test_log_prob_is_one_draw_of_the_difference(name: str, given: bool) -> None:
    model = build_distribution(name)
    x, context = rows(name, given)
    with seeded(3):
        log_prob = model.log_prob(x, context)
    with seeded(3):
        eps = draw_noise(model.noise(x, context))
    with seeded(4):  # nothing else is drawn
        log_p, log_q = model.log_weight(x, eps, context)
    torch.testing.assert_close(log_p - log_q, log_prob, rtol=0, atol=1e-8)
    assert log_q.shape == (N,)
    assert bool(eps) != model.exact


@pytest.mark.parametrize(("name", "given"), CASES)
def test_sites_are_sent_their_noise_before_they_give_the_next(name: str, given: bool) -> None:
    """By hand, with the log q of each site as `log_prob` has it; and gradients reach the noise."""
    model = build_distribution(name)
    x, context = rows(name, given)
    sites, eps, log_q = model.noise(x, context), [], torch.zeros(N)
    try:
        site = next(sites)
        while True:
            drawn, of_draw = site.draw()
            assert drawn.shape == site.shape
            torch.testing.assert_close(site.log_prob(drawn), of_draw, rtol=0, atol=1e-8)
            log_q = log_q + of_draw
            eps.append(drawn.detach().requires_grad_())
            site = sites.send(eps[-1])
    except StopIteration as end:
        log_p = end.value
    weight = model.log_weight(x, eps, context)
    torch.testing.assert_close(weight, (log_p, log_q))
    for each in eps:
        (gradient,) = torch.autograd.grad((weight[0] - weight[1]).sum(), each, retain_graph=True)
        assert torch.isfinite(gradient).all()
        assert (gradient.flatten(1).abs().amax(1) > 0).all()


def test_the_joint_of_a_marginalising_flow_stays_its_joint() -> None:
    model = Marginalising(models.maf(5, hidden=[8]), StandardNormal(2))
    x, eps = torch.randn(N, 3), torch.randn(N, 2)
    log_p, log_q = model.log_weight(x, [eps])
    torch.testing.assert_close(log_p, model.log_joint(x, eps))
    torch.testing.assert_close(log_p, model.flow.log_prob(torch.cat([x, eps], 1)))
    torch.testing.assert_close(log_q, StandardNormal(2).log_prob(eps))


def test_a_mixture_around_noise_is_the_mean_of_what_each_label_integrates_to() -> None:
    """p(x, eps_0, eps_1) integrates over both to the mean over labels, each integrated on a grid."""
    torch.default_generator.manual_seed(0)
    inner = Marginalising(models.maf(2, hidden=[8], context_features=2), StandardNormal(1))
    model, x, grid = LabelMixture(inner, 2), torch.randn(1, 1), torch.linspace(-9, 9, 181)
    first, second = (each.reshape(-1, 1) for each in torch.meshgrid(grid, grid, indexing="ij"))
    log_p, _ = model.log_weight(x.expand(len(first), 1), [first, second])
    step = float(grid[1] - grid[0])
    truth = [
        float(inner.log_joint(x.expand(181, 1), grid[:, None], label).detach().exp().sum()) * step
        for label in ([1.0, 0.0], [0.0, 1.0])
    ]
    assert float(log_p.detach().exp().sum()) * step**2 == pytest.approx(sum(truth) / 2, rel=1e-3)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([], r"a tensor for each site of noise, here of shape \(5, 2\); got 0 in all"),
        ([(5, 3)], r"here of shape \(5, 2\); got shape \(5, 3\)"),
        ([(1, 2)], r"here of shape \(5, 2\); got shape \(1, 2\)"),
        ([(5, 2), (5, 2)], "for each site of noise, 1; got 2"),
    ],
)
def test_noise_that_does_not_fit_is_refused(shapes: list[tuple[int, int]], message: str) -> None:
    model = Marginalising(models.maf(5, hidden=[8]), StandardNormal(2))
    with pytest.raises(ValueError, match=message):
        model.log_weight(torch.zeros(5, 3), [torch.zeros(shape) for shape in shapes])
    with pytest.raises(ValueError, match="eps must have a row for each of the 5 rows of x; got 4"):
        model.log_joint(torch.zeros(5, 3), torch.zeros(4, 2))
