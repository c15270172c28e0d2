"""What integrates to 1 passes, what is off by a constant fails, and where nothing can be told the words say why."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Beta,
    Cauchy,
    Geometric,
    Independent,
    MultivariateNormal,
    Poisson,
    StudentT,
)

from marginflow import check, models
from marginflow.base.adapter import Adapter
from marginflow.base.distribution import Distribution
from marginflow.distributions import Flow, Marginalising, StandardNormal
from marginflow.evaluation.check.findings import Finding, Findings
from marginflow.evaluation.check.normalisation import normalised
from marginflow.interop import from_torch
from marginflow.transforms import Dequantise, Logit

LOG_2_PI = math.log(2 * math.pi)
OFFSETS = {"exact": 0.0, "half": -math.log(2), "twice": math.log(2)}


class Given:
    """A density from elsewhere: a log density, a sampler, and a constant that log_prob is off by."""

    def __init__(self, features: int, log_prob: Callable[[Tensor], Tensor], draw: Callable[[int], Tensor]) -> None:
        self.event_shape, self.log_density, self.draw, self.offset = torch.Size([features]), log_prob, draw, 0.0

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.log_density(x) + self.offset

    def sample(self, num_samples: int, context: Tensor | None = None) -> Tensor:
        return self.draw(num_samples)


def normal(features: int, rho: float, *, chain: bool = False) -> Given:
    i = torch.arange(features).double()
    covariance = rho ** (i[:, None] - i).abs() if chain else (1 - rho) * torch.eye(features) + rho
    given = MultivariateNormal(torch.zeros(features), covariance)
    return Given(features, given.log_prob, lambda n: given.sample((n,)))


def near_copies(features: int, rho: float = 0.9999) -> Given:
    """Columns of uniform numbers of variance 1, and a near copy of each: c = rho b + sqrt(1 - rho^2) noise."""
    deviation, half, columns = math.sqrt(1 - rho**2), 3**0.5, features // 2

    def log_prob(x: Tensor) -> Tensor:
        b, rest = x[:, :columns], (x[:, columns:] - rho * x[:, :columns]) / deviation
        of_rest = (-0.5 * rest.square() - math.log(deviation) - 0.5 * LOG_2_PI).sum(1)
        return torch.where((b.abs() < half).all(1), of_rest - columns * math.log(2 * half), -math.inf)

    def draw(n: int) -> Tensor:
        b = half * (2 * torch.rand(n, columns) - 1)
        return torch.cat([b, rho * b + deviation * torch.randn(n, columns)], 1)

    return Given(features, log_prob, draw)


def ring(features: int, width: float) -> Given:
    """A circle of radius 1 with normal width, in the plane or in space."""

    def log_prob(x: Tensor) -> Tensor:
        radius = x[:, :2].norm(dim=1)
        others = torch.cat([radius[:, None] - 1, x[:, 2:]], 1) / width
        return (-0.5 * others.square() - math.log(width) - 0.5 * LOG_2_PI).sum(1) - (2 * math.pi * radius).log()

    def draw(n: int) -> Tensor:
        angle, noise = 2 * math.pi * torch.rand(n), width * torch.randn(n, features - 1)
        circle = (1 + noise[:, :1]) * torch.stack([angle.cos(), angle.sin()], 1)
        return torch.cat([circle, noise[:, 1:]], 1)

    return Given(features, log_prob, draw)


def along(path: Callable[[Tensor], Tensor], width: float, points: int = 300) -> Given:
    """A curve: equally likely normals along a path."""
    centres = path((torch.arange(points) + 0.5) / points)
    features = centres.shape[1]

    def log_prob(x: Tensor) -> Tensor:
        each = -0.5 * (torch.cdist(x, centres) / width).square()
        return torch.logsumexp(each, 1) - math.log(points) - features * (math.log(width) + 0.5 * LOG_2_PI)

    return Given(features, log_prob, lambda n: centres[torch.randint(points, (n,))] + width * torch.randn(n, features))


def spiral(t: Tensor) -> Tensor:
    angle = 4 * math.pi * t.sqrt()
    return torch.stack([angle * angle.cos(), angle * angle.sin()], 1) / (4 * math.pi)


def helix(t: Tensor) -> Tensor:
    return torch.stack([(4 * math.pi * t).cos(), (4 * math.pi * t).sin(), 2 * t - 1], 1)


def independent(one: torch.distributions.Distribution, features: int) -> Given:
    """Independent columns, log p -inf outside of the support."""

    def log_prob(x: Tensor) -> Tensor:
        inside = one.support.check(x)  # pyright: ignore[reportOptionalMemberAccess]
        return torch.where(inside, one.log_prob(torch.where(inside, x, 0.5)), -math.inf).sum(1)

    return Given(features, log_prob, lambda n: one.sample((n, features)))


def findings(given: Given | Distribution, seed: int = 0, rows: int = 300) -> tuple[Finding, Finding]:
    torch.default_generator.manual_seed(1000 + seed)
    model = given if isinstance(given, Distribution) else Adapter(given)
    normalisation, samples = normalised(model, model.sample(rows), None, seed)
    return normalisation, samples


def status(given: Given, offset: float, seed: int) -> str:
    given.offset = offset
    return findings(given, seed)[0].status


MUST_DECIDE = {
    "normal, 2": lambda: normal(2, 0.9999),
    "normal, 3": lambda: normal(3, 0.99),
    "normal, 10": lambda: normal(10, 0.9999),
    "normal, 10, independent": lambda: normal(10, 0.0),
    "chain, 10": lambda: normal(10, 0.9999, chain=True),
    "near copies, 4": lambda: near_copies(4),
    "near copies, 10": lambda: near_copies(10),
    "ring, 2": lambda: ring(2, 0.04),
    "thinner ring, 2": lambda: ring(2, 0.02),
    "ring, 3": lambda: ring(3, 0.04),
    "spiral": lambda: along(spiral, 0.04),
    "helix": lambda: along(helix, 0.04),
}


LONG = {"helix", "spiral", "ring, 3", "Student, 10", "Cauchy, 5", "infinite at its edges", "uniform, 10"}


def quick_or_slow(names: Iterable[str]) -> list[object]:
    return [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in names]


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("name", quick_or_slow(MUST_DECIDE))
def test_what_is_a_density_passes_and_what_is_off_fails(name: str, offset: str) -> None:
    assert status(MUST_DECIDE[name](), OFFSETS[offset], 0) == ("fail" if OFFSETS[offset] else "pass")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["normal, 10", "near copies, 10", "thinner ring, 2", "helix"])
def test_it_is_right_for_nineteen_seeds_of_twenty(name: str) -> None:
    given = MUST_DECIDE[name]()
    for offset in OFFSETS.values():
        right = sum(status(given, offset, seed) == ("fail" if offset else "pass") for seed in range(20))
        assert right >= 19


@pytest.mark.parametrize("offset", [0.2, -0.2])
def test_a_smaller_offset_is_found_too(offset: float) -> None:
    assert status(normal(6, 0.9), offset, 0) == "fail"
    assert status(ring(2, 0.1), offset, 0) == "fail"


NEVER_WRONG = {
    "modes far apart": lambda: along(lambda t: torch.stack([100 * (t > 0.97).double(), 0 * t], 1), 1.0),
    "Student, 2": lambda: independent(StudentT(torch.tensor(3.0)), 2),
    "Student, 10": lambda: independent(StudentT(torch.tensor(3.0)), 10),
    "Cauchy, 1": lambda: independent(Cauchy(torch.tensor(0.0), torch.tensor(1.0)), 1),
    "Cauchy, 5": lambda: independent(Cauchy(torch.tensor(0.0), torch.tensor(1.0)), 5),
    "infinite at its ends": lambda: independent(Beta(torch.tensor(0.5), torch.tensor(0.5)), 1),
    "infinite at its edges": lambda: independent(Beta(torch.tensor(0.5), torch.tensor(0.5)), 2),
    "uniform, 3": lambda: independent(Beta(torch.tensor(1.0), torch.tensor(1.0)), 3),
    "uniform, 10": lambda: independent(Beta(torch.tensor(1.0), torch.tensor(1.0)), 10),
}


@pytest.mark.parametrize("name", quick_or_slow(NEVER_WRONG))
def test_what_is_harder_is_never_called_what_it_is_not(name: str) -> None:
    given = NEVER_WRONG[name]()
    assert status(given, 0.0, 0) in ("pass", "cannot tell")
    assert status(given, -math.log(2), 0) in ("fail", "cannot tell")


def test_what_cannot_be_told_says_why() -> None:
    for model, why in [
        (Adapter(normal(30, 0.5)), "30 dimensions"),
        (Adapter(Given(2, lambda x: x.sum(1), lambda n: torch.full((n, 2), math.nan))), "samples are not finite"),
        (Adapter(Given(2, lambda x: x.sum(1), lambda n: torch.ones(n, 2))), "do not vary in dimension 0"),
        (Adapter(Given(2, lambda x: x.sum(1), lambda n: torch.randn(n, 1).expand(n, 2))), "function of the others"),
        (Adapter(Given(2, lambda x: -math.inf * x[:, 0].square(), lambda n: torch.randn(n, 2))), "is 0 at all"),
        (Flow([Dequantise(256)], StandardNormal((1, 3, 3))), "different rows of pixels"),
    ]:
        rows = torch.randn(50, *model.event_shape) if not model.takes_pixels else torch.zeros(50, 1, 3, 3).byte()
        normalisation, _ = normalised(model, rows, None, 0)
        assert (normalisation.status, normalisation.found[:8]) == ("cannot tell", "because ")
        assert why in normalisation.found


class RefusesOutside(Given):
    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if bool((x.abs() > 1).any()):
            raise ValueError("rows must lie between -1 and 1")
        return super().log_prob(x)


def test_a_density_that_refuses_rows_outside_its_support_is_told_in_its_own_words() -> None:
    given = RefusesOutside(1, lambda x: 0 * x[:, 0] - math.log(2), lambda n: 2 * torch.rand(n, 1) - 1)
    normalisation, _ = findings(given)
    assert normalisation.status == "cannot tell"
    assert "between -1 and 1" in normalisation.found


@pytest.mark.parametrize(
    "other", [lambda n: torch.randn(n, 3) + 0.3, lambda n: 0.8 * torch.randn(n, 3), lambda n: torch.randn(n, 3).abs()]
)
def test_samples_of_another_density_are_told_from_a_constant(other: Callable[[int], Tensor]) -> None:
    given = normal(3, 0.0)
    given.draw = other
    normalisation, samples = findings(given)
    assert normalisation.status != "fail"
    assert samples.status == "fail" or (samples.status == "cannot tell" and bool((other(100) > 0).all()))
    given = normal(3, 0.0)
    given.offset = 0.5
    normalisation, samples = findings(given)
    assert (normalisation.status, samples.status) == ("fail", "pass")
    assert "a constant is off" in normalisation.remedy


def test_samples_that_never_reach_a_mode_are_no_pass() -> None:
    two = along(lambda t: torch.stack([6 * (t > 0.5).double() - 3, 0 * t], 1), 1.0)
    two.draw = lambda n: torch.randn(n, 2) - torch.tensor([3.0, 0.0])
    assert findings(two)[1].status != "pass"


def test_each_row_of_a_context_is_asked() -> None:
    class Scaled(Given):
        """A normal whose deviation is in the context; the constant is off where that is above 2."""

        context_features = 1

        def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            assert context is not None
            inside = -0.5 * (x / context).square() - context.log() - 0.5 * LOG_2_PI
            return inside.sum(1) + self.offset * (context[:, 0] > 2)

        def sample(self, num_samples: int, context: Tensor | None = None) -> Tensor:
            assert context is not None
            return context * torch.randn(num_samples, 2)

    given = Scaled(2, lambda x: x.sum(1), lambda n: torch.zeros(n, 2))
    context = torch.tensor([[0.5], [1.0], [3.0]]).repeat_interleave(20, 0)
    x = given.sample(60, context)
    for offset, expected in [(0.0, "pass"), (0.7, "fail")]:
        given.offset = offset
        normalisation, _ = normalised(Adapter(given), x, context, 0)
        assert normalisation.status == expected
        assert "3 rows of the context" in normalisation.found


def test_pixels_of_few_values_are_summed_over() -> None:
    """The logistic density of one pixel: its share of each grey level is known."""
    for model, values in [
        (Flow([Dequantise(4), Logit(0.0)], models.maf(2, hidden=[8], blocks=1)), 16),
        (Flow([Dequantise(2), Logit(0.0)], StandardNormal(3)), 8),
        (Flow([Dequantise(16), Logit(0.0)], StandardNormal(1)), 16),
    ]:
        normalisation, samples = findings(model)
        assert normalisation.status == "pass", normalisation
        assert f"a sum over all {values} values" in normalisation.found
        assert samples.status == "skip"

    class Off(Dequantise):
        def _dequantised(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
            z, log_det = super()._dequantised(x, noise)
            return z, log_det + math.log(2)

    assert findings(Flow([Off(4), Logit(0.0)], StandardNormal(2)))[0].status == "fail"


@pytest.mark.parametrize(
    ("make", "expected", "words"),
    [
        (
            lambda: Flow([Dequantise(5), Logit(0.05)], models.maf(2, hidden=[8])),
            "warn",
            "which Logit(0.05) leaves open",
        ),
        (lambda: Flow([Dequantise(4)], StandardNormal(2)), "warn", "put Logit(1e-6) behind Dequantise"),
        (lambda: Flow([Dequantise(5), Logit(1e-6)], models.maf(2, hidden=[8])), "pass", ""),
        (lambda: Flow([Shifted(5, -0.7), Logit(0.05)], models.maf(2, hidden=[8])), "fail", "a constant is missing"),
        (lambda: Flow([Shifted(5, 0.7), Logit(0.05)], models.maf(2, hidden=[8])), "fail", "a constant is missing"),
        (lambda: Flow([Shifted(5, -0.7), Logit(0.0)], models.maf(2, hidden=[8])), "fail", "a constant is missing"),
    ],
)
def test_mass_beyond_the_grey_levels_is_no_missing_term(make: Callable[[], Flow], expected: str, words: str) -> None:
    found = findings(make())[0]
    assert found.status == expected, found
    assert words in found.remedy


class Shifted(Dequantise):
    """Its log-determinant is off by a constant."""

    def __init__(self, levels: int, by: float) -> None:
        super().__init__(levels)
        self.by = by

    def _dequantised(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = super()._dequantised(x, noise)
        return z, log_det + self.by


@pytest.mark.parametrize(
    "one",
    [Poisson(3 * torch.ones(2)), Bernoulli(0.3 * torch.ones(2)), Geometric(0.5 * torch.ones(2))],
    ids=["Poisson", "Bernoulli", "Geometric"],
)
def test_of_whole_numbers_there_is_no_density_to_integrate(one: torch.distributions.Distribution, single: None) -> None:
    found = check(from_torch(Independent(one, 1)), one.sample((100,)))
    assert found.ok
    assert [found.of(name).status for name in ("normalisation", "samples against the density")] == ["skip", "skip"]
    assert "support is whole numbers" in found.of("normalisation").found


def test_what_the_limits_mean_is_said_and_a_map_is_trusted_only_where_there_is_one() -> None:
    assert "lies within 0.1, fails where it lies beyond 0.02 on one side" in findings(normal(2, 0.5))[0].found
    remedy = check(Adapter(normal(30, 0.5)), torch.randn(50, 30)).of("normalisation").remedy
    assert "shows no map" in remedy
    assert "round trips" in check(models.maf(30, hidden=[30]), torch.randn(50, 30)).of("normalisation").remedy


@pytest.mark.parametrize(
    "make",
    [
        lambda: models.maf(5, hidden=[16], blocks=2),
        lambda: models.nsf(2, hidden=[16], blocks=2),
        lambda: models.planar(3),
        lambda: Marginalising(models.maf(4, hidden=[16], blocks=1), StandardNormal(1)),
        lambda: Flow([Logit(0.05)], models.planar(2)),
    ],
    ids=["maf", "nsf", "planar", "marginal", "bounded"],
)
def test_flows_in_single_precision_pass_and_their_samples_follow(make: Callable[[], Flow], single: None) -> None:
    normalisation, samples = findings(make())
    assert (normalisation.status, samples.status) == ("pass", "pass"), f"{normalisation}, {samples}"


def test_it_draws_the_same_twice_and_leaves_the_generator_alone() -> None:
    model = Adapter(normal(3, 0.9))
    x = model.sample(100)
    before = torch.get_rng_state()
    once = list(normalised(model, x, None, 3))
    assert once == list(normalised(model, x, None, 3))
    assert torch.equal(before, torch.get_rng_state())


def test_what_cannot_be_told_is_no_failure_and_is_printed() -> None:
    found = Findings([Finding("normalisation", "cannot tell", "because it has 30 dimensions")])
    assert found.ok
    assert str(found) == "cannot tell  normalisation: because it has 30 dimensions"
    assert check(Adapter(normal(30, 0.5)), torch.randn(50, 30)).of("normalisation").status == "cannot tell"
