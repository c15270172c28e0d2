"""Our densities as torch.distributions: shapes, support, and what torch builds around them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Categorical,
    Dirichlet,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    TransformedDistribution,
    kl_divergence,
)

import marginflow as mf
from marginflow.distributions import Flow, LabelMixture, Marginalising, StandardNormal, Uniform
from marginflow.interop import from_torch, to_torch
from marginflow.transforms import Dequantise, Flatten, Inverse, Logit, Permutation


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.default_generator.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def flow(context_features: int = 0) -> Flow:
    return mf.models.maf(2, hidden=[8], blocks=2, context_features=context_features)


def normal(*batch: int) -> MultivariateNormal:
    return MultivariateNormal(torch.zeros(*batch, 2), torch.eye(2), validate_args=False)


@pytest.mark.parametrize("batch", [(), (3,), (4, 3), (1, 3), (0,)])
@pytest.mark.parametrize("sample_shape", [(), (5,), [2, 1], torch.Size([0])])
def test_shapes_are_those_of_a_normal_of_torch(batch: tuple[int, ...], sample_shape: list[int]) -> None:
    """Whatever is asked of both: torch's own distribution is the truth."""
    ours, theirs = to_torch(flow()).expand(batch), normal().expand(torch.Size(batch))
    x, expected = ours.sample(sample_shape), theirs.sample(torch.Size(sample_shape))
    assert (ours.batch_shape, ours.event_shape, x.shape) == (theirs.batch_shape, theirs.event_shape, expected.shape)
    assert ours.log_prob(x).shape == theirs.log_prob(expected).shape
    assert ours.rsample(sample_shape).shape == expected.shape
    assert ours.log_prob(torch.zeros(2)).shape == theirs.log_prob(torch.zeros(2)).shape


def test_an_expanded_distribution_has_the_same_density_and_independent_draws() -> None:
    model = flow()
    once = to_torch(model)
    more = once.expand((3,)).expand((4, 3))
    x = torch.randn(4, 3, 2)
    expected = model.log_prob(x.view(12, 2)).view(4, 3)
    torch.testing.assert_close(more.log_prob(x), expected)
    torch.testing.assert_close(Independent(more, 2).log_prob(x), expected.sum())
    torch.testing.assert_close(Independent(more, 1).expand((6, 4)).log_prob(x), expected.sum(1).expand(6, 4))
    draws = more.sample()
    assert len({tuple(row) for row in draws.view(12, 2).tolist()}) == 12
    with pytest.raises(ValueError, match=r"batch shape \(4, 3\) cannot be expanded to \(4, 5\)"):
        more.expand((4, 5))
    with pytest.raises(ValueError, match=r"cannot be expanded to \(3,\)"):
        more.expand((3,))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((-1, 3), "a size of batch_shape must not be negative; got -1"),
        ((2.5,), "a size of batch_shape must be a whole number; got 2.5"),
        (3, r"batch_shape must be a shape, such as \(3,\) or torch.Size\(\[3\]\); got 3"),
        ("3", "batch_shape must be a shape"),
        (None, "batch_shape must be a shape"),
    ],
)
def test_what_is_no_batch_shape_is_refused_in_words(shape: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        to_torch(flow()).expand(shape)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=words.replace("batch_shape", "sample_shape")):
        to_torch(flow()).sample(shape)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("batch", [(), (3,), (4, 5), (1, 2, 3), (0, 2)])
def test_a_context_may_have_any_batch_shape(batch: tuple[int, ...]) -> None:
    model = flow(3)
    context = torch.randn(*batch, 3)
    ours = to_torch(model, context)
    assert ours.batch_shape == batch
    x = ours.sample((6,))
    assert x.shape == (6, *batch, 2)
    expected = model.log_prob(x.reshape(-1, 2), context.expand(6, *batch, 3).reshape(-1, 3)).view(6, *batch)
    torch.testing.assert_close(ours.log_prob(x), expected)
    wider = ours.expand((7, *batch))
    torch.testing.assert_close(wider.log_prob(x[0]), expected[0].expand(7, *batch))
    drawn, log_prob = wider.rsample_and_log_prob((2,))
    assert drawn.shape == (2, 7, *batch, 2)
    torch.testing.assert_close(log_prob, wider.log_prob(drawn))


def test_draws_belong_to_their_context() -> None:
    """N(c, 1e-6): each draw lies at its own row of the context."""
    base = StandardNormal(1)
    model = mf.models.maf(1, hidden=[], context_features=1, blocks=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.transform[0].network.output_layer.set_dense_weight(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))  # m = c
    context = 100 * torch.arange(6.0).view(2, 3, 1)
    x = to_torch(model, context).expand((4, 2, 3)).sample((5,))
    assert base.event_shape == (1,)
    assert float((x - context).abs().max()) < 10


def test_contexts_of_images_are_told_from_vectors_by_what_fits() -> None:
    image = mf.models.diagonal_normal((2, 4, 4), context_features=3, hidden=[4])
    for own in [(3, 4, 4)]:
        for batch in [(), (5,), (2, 5)]:
            ours = to_torch(image, torch.randn(*batch, *own))
            assert (ours.batch_shape, ours.sample().shape) == (batch, (*batch, 2, 4, 4))
    glow = mf.models.glow((1, 4, 4), hidden=[4], context_features=2, levels=1, blocks=1)
    assert to_torch(glow, torch.randn(5, 6, 2)).batch_shape == (5, 6)
    with pytest.raises(ValueError, match=r"must end in \(2,\), or in an image of 2 channels \(2, H, W\)"):
        to_torch(glow, torch.randn(5, 6, 7))
    labels = LabelMixture(flow(3), 3)
    assert to_torch(labels, labels.one_hot([0, 2])).batch_shape == (2,)
    with pytest.raises(ValueError, match="one-hot"):
        to_torch(labels, torch.tensor([0, 2, 1]))


UNIT = Flow([Logit(0.05), Permutation(2)], StandardNormal(2))
SUPPORTS = {
    "real": (lambda: flow(), torch.randn(9, 2), torch.full((1, 2), torch.nan)),
    "unit": (lambda: UNIT, torch.rand(9, 2), torch.tensor([[0.5, 1.06], [-0.06, 0.5]])),
    "box": (lambda: Uniform(2, torch.tensor([0.0, -3.0]), 1.0), torch.rand(9, 2), torch.tensor([[-1.0, 0.0]])),
    "box inside": (lambda: Flow([], Uniform(2)), torch.rand(9, 2), torch.tensor([[2.0, 0.5]])),
    "box moved": (lambda: Flow([Permutation(2)], Uniform(2)), torch.rand(9, 2), torch.full((1, 2), torch.nan)),
    "simplex": (
        lambda: from_torch(Dirichlet(torch.ones(2))),
        torch.tensor([[0.25, 0.75]]),
        torch.tensor([[0.5, 0.6], [1.5, -0.5]]),
    ),
    "marginal": (
        lambda: Marginalising(Flow([Logit(0.0)], StandardNormal(3)), StandardNormal(1)),
        torch.rand(9, 2),
        torch.tensor([[0.5, 1.5]]),
    ),
    "labels": (
        lambda: LabelMixture(Flow([Logit(0.0)], flow(2)), 2),
        torch.rand(9, 2),
        torch.tensor([[0.5, 1.5]]),
    ),
}


@pytest.mark.parametrize("name", SUPPORTS)
def test_the_support_holds_what_has_a_density_and_refuses_the_rest(name: str) -> None:
    build, inside, outside = SUPPORTS[name]
    model = build()
    number = None if model.exact else 2
    plain, checked = to_torch(model, num_samples=number), to_torch(model, num_samples=number, validate_args=True)
    support = plain.support
    assert support.event_dim == 1
    assert bool(support.check(inside).all())
    assert not bool(support.check(outside).any())
    if model.exact:
        torch.testing.assert_close(checked.log_prob(inside), model.log_prob(inside))
    for distribution in (checked, checked.expand((3,))):
        for row in outside:
            with pytest.raises(ValueError, match="to be within the support"):
                distribution.log_prob(row)


def test_pixels_are_whole_levels() -> None:
    model = Flow([Dequantise(5), Logit(0.05), Flatten((1, 2, 2))], flow_of_four())
    ours = to_torch(model, num_samples=3, validate_args=True)
    x = torch.randint(5, (6, 1, 2, 2), dtype=torch.uint8)
    assert ours.log_prob(x).shape == (6,)
    assert bool(ours.support.check(ours.sample((50,))).all())
    with pytest.raises(ValueError, match="within the support"):
        ours.log_prob(x + 5)


def flow_of_four() -> Flow:
    return mf.models.maf(4, hidden=[8], blocks=1)


def test_an_inverse_keeps_the_support_where_it_only_moves_numbers() -> None:
    """A permutation moves numbers, either way; the logit run backwards takes real numbers."""
    box = Uniform(2)
    assert bool(Flow([Inverse(Permutation(2))], Flow([Logit(0.0)], box)).support.check(torch.full((2,), 0.5)))
    assert not bool(Flow([Inverse(Permutation(2))], UNIT).support.check(torch.full((2,), 1.5)))
    assert bool(Flow([Inverse(Logit(0.0))], box).support.check(torch.full((2,), 70.0)))


def test_what_torch_builds_around_it() -> None:
    model = flow()
    x = torch.randn(6, 2)
    log_p = model.log_prob(x)
    shares = torch.tensor([0.2, 0.3, 0.5])
    moved = TransformedDistribution(to_torch(model), [AffineTransform(1.0, 2.0, event_dim=1)])
    torch.testing.assert_close(moved.expand((6,)).log_prob(1 + 2 * x), log_p - 2 * torch.tensor(2.0).log())
    mixture = MixtureSameFamily(Categorical(shares), to_torch(model).expand((3,)))
    torch.testing.assert_close(mixture.log_prob(x), log_p)  # of three that are alike
    assert mixture.sample((5,)).shape == (5, 2)
    torch.testing.assert_close(from_torch(to_torch(model)).log_prob(x), log_p)
    with pytest.raises(NotImplementedError):
        kl_divergence(to_torch(model), normal())


def test_rsample_and_log_prob_has_the_gradient_of_both() -> None:
    """d/dθ of the mean of log p(x(θ)), by finite differences."""
    model = flow()
    weight = next(model.parameters())

    def value() -> Tensor:
        torch.default_generator.manual_seed(3)
        x, log_prob = to_torch(model).rsample_and_log_prob((20,))
        return (x.sum(-1) + log_prob).mean()

    (grad,) = torch.autograd.grad(value(), weight)
    index, step = tuple(int(i) for i in (grad.abs() == grad.abs().max()).nonzero()[0]), 1e-6
    with torch.no_grad():
        weight[index] += step
        above = value()
        weight[index] -= 2 * step
        numeric = (above - value()) / (2 * step)
    torch.testing.assert_close(grad[index], numeric, rtol=1e-5, atol=1e-7)


def test_copies_and_pickles_are_the_same_distribution() -> None:
    ours = to_torch(flow(3), torch.randn(4, 5, 3), validate_args=True).expand((2, 4, 5))
    x = torch.randn(4, 5, 2)
    for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert (again.batch_shape, again.event_shape) == ((2, 4, 5), (2,))
        torch.testing.assert_close(again.log_prob(x), ours.log_prob(x))
        assert again.log_prob(x.expand(0, 4, 5, 2)[:, None]).shape == (0, 2, 4, 5)
        with pytest.raises(ValueError, match="within the support"):
            again.log_prob(x * torch.nan)


def test_it_names_the_flow_and_its_shapes() -> None:
    said = repr(to_torch(flow(3), torch.zeros(4, 5, 3)))
    assert "MaskedAutoregressive(2, [8]" in said
    assert "batch_shape=(4, 5), event_shape=(2,)" in said
    assert said in repr(Independent(to_torch(flow(3), torch.zeros(4, 5, 3)), 1))
    noisy = to_torch(Marginalising(mf.models.planar(3), StandardNormal(1)), num_samples=7)
    assert "Marginalising" in repr(noisy)
    assert "num_samples=7" in repr(noisy)


@pytest.mark.parametrize("asked", ["mean", "variance", "stddev", "mode", "entropy", "perplexity", "enumerate_support"])
def test_what_has_no_closed_form_says_so(asked: str) -> None:
    ours = to_torch(flow())
    with pytest.raises(NotImplementedError, match=r"Flow has no .* in closed form: "):
        getattr(ours, asked)()
    for of_value in (ours.cdf, ours.icdf):
        with pytest.raises(NotImplementedError, match="in closed form: estimate"):
            of_value(torch.full((2,), 0.5))


def test_other_shapes_are_refused_in_words() -> None:
    ours = to_torch(flow()).expand((3,))
    with pytest.raises(ValueError, match=r"value must have the batch shape \(3,\) in front of .* \(2,\)"):
        ours.log_prob(torch.zeros(4, 2))
    for wrong in (3, 2.5, None):
        with pytest.raises(ValueError, match=r"sample_shape must be a shape, such as \(3,\)"):
            ours.sample(wrong)
    with pytest.raises(ValueError, match="a size of sample_shape must not be negative"):
        ours.rsample((-1,))
    noisy = to_torch(Marginalising(mf.models.planar(3), StandardNormal(1)), num_samples=7)
    with pytest.raises(ValueError, match="use sample, and log_likelihood"):
        noisy.rsample_and_log_prob()
