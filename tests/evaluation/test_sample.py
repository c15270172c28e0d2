"""Samples that are flagged are drawn again: against maps that are known to fail somewhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from registry import DISTRIBUTIONS, Case, Laplaces, foreign_flow
from torch import Tensor

from marginflow import LabelMixture, data, models, sample
from marginflow.base.seeds import seeded
from marginflow.base.transform import Transform
from marginflow.data import Column, DataSpec, Schema, Split
from marginflow.distributions import Conditional, DiagonalNormal, Flow, Marginalising, StandardNormal
from marginflow.evaluation.evaluate import evaluate_chunks
from marginflow.evaluation.sample import RawSamples, sample_raw
from marginflow.interop import Foreign, from_normflows, from_torch
from marginflow.nets import MLP
from marginflow.transforms import Augment, Dequantise, Permutation, Sequential
from marginflow.transforms.round_trip import inverse_and_flag, miss

LIMIT = 1.5


class Breaking(Transform):
    """The identity, whose inverse goes wrong where the first dimension of noise lies above 1.5."""

    def __init__(self, wrong: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.wrong = wrong

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x, x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.where(z[:, :1] > LIMIT, self.wrong(z), z), z.new_zeros(len(z))


BREAKS: dict[str, Callable[[Tensor], Tensor]] = {
    "off by a little": lambda z: z + torch.tensor([0.0, 0.01]),
    "off beside its size": lambda z: z * 1.002,
    "infinite": lambda z: z * torch.inf,
    "no number": lambda z: z * torch.nan,
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_breaks_is_drawn_again_and_counted(name: str) -> None:
    model = Flow([Breaking(BREAKS[name])], StandardNormal(2))
    with seeded(3):
        drawn = sample(model, 900)
    with seeded(3):
        z = torch.randn(900, 2)
        redrawn = 0
        while (again := (z[:, 0] > LIMIT).nonzero().flatten()).numel():
            redrawn += len(again)
            z[again] = torch.randn(len(again), 2)
    assert redrawn > 50  # a fifteenth, and some of these
    assert (drawn.redrawn, drawn.flagged) == (redrawn, 0)
    assert torch.equal(drawn.x, z)


def test_a_sample_that_the_preprocessing_loses_is_drawn_again() -> None:
    model = Flow([Breaking(BREAKS["infinite"])], Flow([Permutation(2)], StandardNormal(2)))
    drawn = sample(model, 900)
    assert bool((drawn.x[:, 0] <= LIMIT).all())
    assert drawn.redrawn > 20  # a fifteenth is 60
    assert drawn.flagged == 0


def test_a_missing_value_is_no_sample_that_went_wrong() -> None:
    column = Column("a", "category", blank=True, levels=("u", "v"), blank_share=0.5, shares=(0.3, 0.2))
    model = Flow([], models.mixed(Schema((column, replace(column, name="b"))), hidden=[4]))
    with seeded(0):
        drawn = sample(model, 2000)
    assert drawn.redrawn == 0
    assert bool(((drawn.x.isnan().double().mean(0) - 0.5).abs() < 0.05).all())


def test_what_comes_back_within_a_thousandth_is_not_flagged() -> None:
    near = Flow([Breaking(lambda z: z + 0.0009)], StandardNormal(2))
    assert sample(near, 500).redrawn == 0
    z, back = torch.tensor([[0.5, 2000.0], [1.0, 1.0]]), torch.tensor([[0.6, 2001.0], [1.0, torch.nan]])
    torch.testing.assert_close(miss(z, back), torch.tensor([0.1, torch.inf]))
    torch.testing.assert_close(miss(z[:1, 1:], back[:1, 1:]), torch.tensor([0.0005]))


def test_what_is_still_flagged_at_last_is_kept_with_a_warning_or_refused_where_it_is_no_number() -> None:
    off = Flow([Breaking(lambda z: z), Sequential(Permutation(2)), Off()], StandardNormal(2))
    with pytest.warns(RuntimeWarning, match="20 of 20 samples miss their noise by more than 1e-3 in the round trip"):
        drawn = sample(off, 20, redraws=3)
    assert (drawn.redrawn, drawn.flagged) == (60, 20)
    for wrong in (torch.nan, -torch.inf):
        broken = Flow([Breaking(lambda z, by=wrong: z * by)], StandardNormal(2))
        with pytest.raises(FloatingPointError, match=r"\d+ of 900 samples are not finite, each drawn 1 times"):
            sample(broken, 900, redraws=0)
    assert sample(off, 0).x.shape == (0, 2)
    with pytest.raises(ValueError, match="redraws must not be negative"):
        sample(off, 5, redraws=-1)
    with pytest.raises(ValueError, match="nothing in this model uses a context"):
        sample(off, 5, torch.zeros(4, 1))


class Off(Transform):
    """A map whose inverse is another's."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x, x.new_zeros(len(x))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z + 0.01, z.new_zeros(len(z))


@pytest.mark.parametrize("case", DISTRIBUTIONS.values(), ids=list(DISTRIBUTIONS))
def test_flagging_changes_no_draw(case: Case) -> None:
    torch.default_generator.manual_seed(0)
    model = case.build().eval()
    context = case.context(30)
    with seeded(1):
        expected = model.sample(30, context)
    with seeded(1):
        found, flagged = model.sample_and_flag(30, context)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert flagged.shape == (30,)
    assert flagged.dtype == torch.bool
    assert not flagged.any()


def test_flags_come_through_whatever_is_wrapped_around() -> None:
    inner = Flow([Breaking(lambda z: z + 0.1)], StandardNormal(3))
    wrapped = {
        "base of a flow": (Flow([Permutation(3, [1, 0, 2])], inner), None),
        "mixture over labels": (LabelMixture(Taking(inner, 2), 2), None),
        "conditional": (Conditional(Taking(inner, 4), MLP(2, 4, [4]), 2), torch.zeros(400, 2)),
        "marginal": (Marginalising(inner, StandardNormal(1)), None),
        "noise inside": (Flow([Permutation(2), Augment(StandardNormal(1))], inner), None),
        "before noise": (Flow([Breaking(lambda z: z + 0.1), Augment(StandardNormal(1))], StandardNormal(3)), None),
        "after noise": (Flow([Augment(StandardNormal(1)), Breaking(lambda z: z + 0.1)], StandardNormal(3)), None),
        "pixels": (Flow([Dequantise(4)], inner), None),
    }
    for name, (model, context) in wrapped.items():
        drawn = sample(model, 400, context)
        assert 10 < drawn.redrawn < 80, name  # a fifteenth of 400 is 27
        assert drawn.flagged == 0, name


def test_parts_around_noise_are_inverted_in_their_order() -> None:
    parts = [Permutation(3, [1, 2, 0]), strong_made(3), Augment(StandardNormal(1)), strong_made(4), Permutation(4)]
    flow = Flow(parts, StandardNormal(4))
    with seeded(0):
        expected = flow.sample(20)
    with seeded(0):
        found, flagged = flow.sample_and_flag(20)
    torch.testing.assert_close(found, expected)
    assert not flagged.any()


def strong_made(features: int) -> Transform:
    layer = models.made(features, hidden=[16]).transform
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(3)
    return layer


def test_a_part_that_draws_noise_is_not_asked_back_but_must_be_finite() -> None:
    class Overflowing(Breaking):
        exact = False

    z = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    for wrong, flags in ((lambda z: z * torch.inf, [False, True]), (lambda z: z + 5, [False, False])):
        _, flagged = inverse_and_flag(Overflowing(wrong), z)
        assert flagged.tolist() == flags


class Taking(Flow):
    """A flow that is given a context, of which it makes nothing."""

    def __init__(self, flow: Flow, features: int) -> None:
        super().__init__(flow.transform, flow.base)
        self.features = features

    @property
    def context_features(self) -> int:
        return self.features


def test_a_sample_that_is_drawn_again_keeps_its_context() -> None:
    class Shifted(Breaking):
        context_features = 1

        def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            assert context is not None
            return super().forward(x - context)

        def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            assert context is not None
            x, log_det = super().inverse(z)
            return x + context, log_det

    context = 100.0 * torch.arange(2000)[:, None]
    drawn = sample(Flow([Shifted(lambda z: z * torch.nan)], StandardNormal(1)), 2000, context)
    assert drawn.redrawn > 100
    assert float((drawn.x - context).abs().max()) < 6


def test_what_a_model_gives_out_is_not_written_into() -> None:
    class Bootstrap(StandardNormal):
        def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
            return rows[:num_samples]

    rows = torch.tensor([[1.0], [torch.nan], [2.0]])
    assert sample(Bootstrap(1), 3).x.tolist() == [[1.0], [1.0], [2.0]]
    assert rows.isnan().tolist() == [[False], [True], [False]]
    one = torch.ones(1, 1).expand(5, 1)

    class Constant(StandardNormal):
        def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
            return one[:num_samples]

    assert sample(Constant(1), 5).x.tolist() == [[1.0]] * 5


def test_fewer_samples_of_many_features_are_drawn_at_once() -> None:
    sizes = []

    class Watched(StandardNormal):
        def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
            sizes.append(num_samples)
            return super()._sample(num_samples, context)

    assert sample(Watched(5000), 250).x.shape == (250, 5000)
    assert sizes == [104, 104, 42]


def test_densities_of_other_libraries_are_looked_at_where_they_show_their_map() -> None:
    flow = from_normflows(foreign_flow().double())
    assert sample(flow, 50).redrawn == 0
    maps = flow.calls.maps
    assert maps is not None

    def wrong(module: object, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_det = maps.inverse(module, z, context)
        return torch.where(z[:, :1] > LIMIT, x + 0.1, x), log_det

    calls = replace(flow.calls, maps=replace(maps, inverse=wrong))
    drawn = sample(Foreign(flow.module, calls, torch.Size([3])), 400)
    assert 10 < drawn.redrawn < 80
    assert not sample(from_torch(Laplaces()), 50).redrawn  # which shows none


@pytest.mark.usefixtures("single")
def test_no_sample_of_a_map_that_float32_cannot_follow_passes() -> None:
    torch.default_generator.manual_seed(0)
    model = models.maf(4, hidden=[16], blocks=3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    drawn = sample(model, 500)
    assert drawn.redrawn > 10
    with torch.no_grad():
        z, _ = model.transform(drawn.x)
        back, _ = model.double().transform(drawn.x.double())
    assert drawn.flagged == 0
    assert float((z - back).abs().max()) < 0.1  # float64 agrees about where these come from
    z, flagged = inverse_and_flag(model.float().transform, torch.randn(500, 4))
    assert bool(flagged.any())


def test_draws_of_a_run_say_how_many_were_flagged() -> None:
    model = Flow([Permutation(2)], Flow([Breaking(lambda z: z * torch.nan)], StandardNormal(2)))
    draws = RawSamples(model, data.DataSpec((2,)), 9000, seed=1)
    assert str(draws) == ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chunks = list(draws)
    assert [len(chunk) for chunk in chunks] == [4096, 4096, 808]
    assert 500 < draws.redrawn < 800
    assert str(draws) == (
        f"warning: {draws.redrawn} samples were not finite, or not inverted to 1e-3, and were drawn again for the "
        "9,000 samples; 0 of these still are so"
    )
    redrawn = draws.redrawn
    again = list(draws)
    assert draws.redrawn == redrawn  # of this time alone
    assert all(torch.equal(one, other) for one, other in zip(chunks, again, strict=True))


def test_what_is_drawn_between_chunks_and_chunks_do_not_touch_each_other() -> None:
    model = Marginalising(DiagonalNormal(2), StandardNormal(1)).train()
    parts = [Split(torch.zeros(5, 1))] * 3
    alone = [found.density.bound for found in evaluate_chunks(model, parts, seed=1)]
    torch.default_generator.manual_seed(0)
    expected = torch.rand(3).tolist()
    torch.default_generator.manual_seed(0)
    between, drawn = [], []
    for found in evaluate_chunks(model, parts, seed=1):
        assert model.training
        drawn.append(found.density.bound)
        between.append(torch.rand(1).item())
    assert between == expected
    assert all(torch.equal(one, other) for one, other in zip(alone, drawn, strict=True))
    flow = Flow([Permutation(2)], models.planar(2))
    draws = [RawSamples(flow, DataSpec((2,)), 9000, seed=1) for _ in range(2)]
    pairs = list(zip(*draws, strict=True))  # in turn
    assert len(pairs) > 1
    assert all(torch.equal(one, other) for one, other in pairs)
    assert torch.equal(torch.cat([one for one, _ in pairs]), sample_raw(flow, DataSpec((2,)), 9000, seed=1))
