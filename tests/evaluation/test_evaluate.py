"""The accounting against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from marginflow import LabelMixture, models
from marginflow.data import DataSpec, Split
from marginflow.distributions import DiagonalNormal, Flow, Marginalising, StandardNormal, Uniform
from marginflow.evaluation.evaluate import AccountingBuilder, evaluate, evaluate_chunks, evaluate_rows
from marginflow.evaluation.row_scores import RowScores
from marginflow.models import maf, planar
from marginflow.transforms import Augment, Dequantise, Flatten, Logit, Permutation, Standardise


def test_four_numbers_of_a_product_density_are_known() -> None:
    """p(x, eps) = N(x; 0, 1) N(eps; 0, s^2) with q = N(0, 1): everything in closed form."""
    joint = DiagonalNormal(2)
    s = 0.8
    with torch.no_grad():
        joint.log_scale.copy_(torch.tensor([0.0, math.log(s)]))
    model = Marginalising(joint, StandardNormal(1))
    x = torch.randn(2000, 1)
    result = evaluate(model, x, num_samples=400)
    nll = float((0.5 * x.square() + 0.5 * math.log(2 * math.pi)).mean())
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    gap = math.log(s) + 1 / (2 * s**2) - 0.5  # KL(N(0, 1) || N(0, s^2))
    assert result.noise_entropy.value == pytest.approx(entropy, abs=5e-3)
    assert result.bound.value == pytest.approx(nll + gap, abs=5e-3)
    assert result.joint_nll.value == pytest.approx(nll + gap + entropy, abs=1e-2)
    assert result.joint_nll.value == pytest.approx(result.bound.value + result.noise_entropy.value, rel=1e-12)
    assert result.importance_weighted.value == pytest.approx(nll, abs=2e-3)
    assert result.importance_weighted.draws_error is not None
    assert 0 < result.importance_weighted.draws_error < 2e-3
    assert result.converged


def test_few_effective_samples_are_not_converged() -> None:
    joint = DiagonalNormal(101)
    with torch.no_grad():
        joint.mean.fill_(1.0)
    result = evaluate(Marginalising(joint, StandardNormal(100)), torch.zeros(20, 1), num_samples=50)
    assert result.effective_sample_size < 10
    assert not result.converged
    assert result.as_dict()["converged"] is False


def test_an_exact_density_has_one_number() -> None:
    x = torch.randn(500, 3)
    result = evaluate(StandardNormal(3), x, num_samples=10)
    nll = -StandardNormal(3).log_prob(x)
    assert result.exact
    assert result.noise_entropy is result.joint_nll is None
    assert result.draws_bias == 0
    for each in (result.bound, result.importance_weighted):
        assert each.value == pytest.approx(float(nll.mean()))
        assert each.standard_error == pytest.approx(float(nll.std()) / 500**0.5)
    assert result.importance_weighted.draws_error == 0


def test_a_uniform_model_has_8_bits_with_fresh_noise_and_with_noise_drawn_once() -> None:
    pixels = torch.randint(256, (30, 1, 4, 4), dtype=torch.uint8)
    fresh = Flow([Dequantise(256)], base=Flow([Flatten((1, 4, 4))], Uniform(16)))
    result = evaluate(fresh, pixels, spec=DataSpec((1, 4, 4), levels=256))
    assert result.bits_per_dim is not None
    assert result.bits_per_dim.value == pytest.approx(8, abs=1e-9)
    once = Flow([Flatten((1, 4, 4))], base=Flow([Permutation(16)], Uniform(16)))
    result = evaluate(once, (pixels + 0.5) / 256, spec=DataSpec((1, 4, 4), levels=256, dequantised=True))
    assert result.bits_per_dim is not None
    assert result.bits_per_dim.value == pytest.approx(8, abs=1e-9)
    assert result.importance_weighted.value == 0  # the density's own level


def test_bits_are_the_maf_papers_formula() -> None:
    """bits/px = alpha-corrected: -L / (D log 2) - log2(1 - 2 alpha) + 8 + 1/D sum(log2 s + log2(1 - s))."""
    alpha, x = 0.05, torch.rand(20, 6)
    model = Flow([Logit(alpha)], base=planar(6, blocks=2))
    result = evaluate(model, x, spec=DataSpec((6,), levels=256, dequantised=True))
    s = alpha + (1 - 2 * alpha) * x
    logit_nats = model.base.log_prob(torch.logit(s))
    paper = -logit_nats / (6 * math.log(2)) - math.log2(1 - 2 * alpha) + 8 + (torch.log2(s) + torch.log2(1 - s)).mean(1)
    assert result.bits_per_dim is not None
    assert result.bits_per_dim.value == pytest.approx(paper.mean().item())
    assert result.importance_weighted.value == pytest.approx(-logit_nats.mean().item())


def test_preprocessing_draws_once_so_that_more_samples_do_not_average_it() -> None:
    pixels = torch.randint(17, (50, 4), dtype=torch.uint8)
    model = Flow([Dequantise(17), Logit(0.05)], base=planar(4, blocks=2))
    results = [evaluate(model, pixels, num_samples=k, seed=3).importance_weighted.value for k in (1, 20)]
    assert results[0] == results[1]
    assert evaluate(model, pixels, seed=4).importance_weighted.value != results[0]


def test_raw_nll_undoes_the_preprocessing() -> None:
    standardise = Standardise(2)
    standardise.set_statistics(torch.tensor([1.0, -1.0]), torch.tensor([4.0, 0.25]))
    model = Flow([standardise], base=Flow([Permutation(2)], StandardNormal(2)))
    x = torch.randn(10, 2)
    assert evaluate(model, x).raw_nll == pytest.approx(-model.log_prob(x).mean().item())


def test_context_goes_through() -> None:
    model = maf(2, hidden=[8], blocks=1, context_features=1)
    x, context = torch.randn(10, 2), torch.randn(10, 1)
    expected = -model.log_prob(x, context).mean().item()
    assert evaluate(model, Split(x, context), chunk=3).importance_weighted.value == pytest.approx(expected)
    with pytest.raises(ValueError, match="takes a context of 1 features"):
        evaluate(model, x)


def test_it_is_taken_in_evaluation_mode_whatever_the_model_is_in() -> None:
    from marginflow.transforms.calibrate import calibrate

    model, x = maf(2, hidden=[8], blocks=2, batch_norm=True), torch.randn(50, 2)
    calibrate(model, [x])
    expected = evaluate(model.eval(), x[:10]).bound.value
    assert evaluate(model.train(), x[:10]).bound.value == expected
    assert model.training


def test_a_flow_that_augments_is_not_taken_for_preprocessing() -> None:
    """Its noise belongs to the density: what it gives must be that of the same Marginalising."""
    flow, x = planar(4), torch.randn(500, 2)
    augmented = evaluate(Flow([Augment(StandardNormal(2))], flow), x, num_samples=50)
    marginalising = evaluate(Marginalising(flow, StandardNormal(2)), x, num_samples=50)
    assert not augmented.exact
    assert augmented.importance_weighted.value == pytest.approx(marginalising.importance_weighted.value, abs=0.05)
    assert augmented.noise_entropy is None


def test_the_bias_of_few_draws_is_estimated() -> None:
    """log 1/K sum w_k is low by Var(w) / (2 K p^2) to first order, known here in closed form."""
    joint = DiagonalNormal(2)
    with torch.no_grad():
        joint.log_scale.copy_(torch.tensor([0.0, math.log(0.8)]))
    model, x = Marginalising(joint, StandardNormal(1)), torch.zeros(4000, 1)
    result = evaluate(model, x, num_samples=50)
    truth = 0.5 * math.log(2 * math.pi)
    assert result.draws_bias is not None
    assert result.importance_weighted.value - truth == pytest.approx(result.draws_bias, rel=0.35)


def test_rows_as_given_are_the_scaled_ones_where_noise_was_drawn_once() -> None:
    model = Flow([Logit(0.05)], base=Flow([Permutation(16)], StandardNormal(16)))
    x = torch.rand(20, 16)
    result = evaluate(model, x, spec=DataSpec((16,), levels=256, dequantised=True))
    assert result.raw_nll == pytest.approx(-model.log_prob(x).mean().item())


def test_rows_come_to_the_models_precision() -> None:
    model = planar(2).float()
    x = torch.randn(20, 2)
    expected = evaluate(model, x.float()).bound.value
    assert evaluate(model, x).bound.value == evaluate(model, x.numpy()).bound.value == expected


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((3, 2), math.nan), "nan in row 0"),
        (torch.zeros(0, 2), "at least 1 row"),
        (torch.zeros(3, 3), "shape"),
    ],
)
def test_bad_rows_are_refused(x: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(planar(2), x)


def test_what_few_effective_draws_cannot_tell_is_not_told() -> None:
    """512 dimensions, a posterior shifted by 0.3 in each: IW-50 is many nats low, though its spread says 0.4."""
    joint = DiagonalNormal(513)
    with torch.no_grad():
        joint.mean[1:] = 0.3
    model, x = Marginalising(joint, StandardNormal(512)), torch.zeros(20, 1)
    result = evaluate(model, x, num_samples=50)
    assert not result.converged
    assert result.importance_weighted.value - 0.5 * math.log(2 * math.pi) > 5
    assert result.draws_bias is None
    assert result.importance_weighted.draws_error is None


def test_pairs_of_rows_and_context_are_taken_and_triples_refused() -> None:
    model = maf(2, hidden=[8], context_features=1)
    x, context = torch.randn(6, 2), torch.randn(6, 1)
    expected = evaluate(model, Split(x, context)).bound.value
    assert evaluate(model, (x, context)).bound.value == expected
    assert evaluate(model, (x.numpy(), context.numpy())).bound.value == expected
    assert evaluate(model, (x.tolist(), context.tolist())).bound.value == expected
    with pytest.raises(ValueError, match=r"a pair \(x, context\) of them; got 3 things"):
        evaluate(model, (x, context, x))


@pytest.mark.parametrize("name", ["exact", "marginal", "unconverged"])
def test_the_accounting_of_chunks_is_that_of_all_rows(name: str) -> None:
    torch.default_generator.manual_seed(0)
    flow = models.maf(3, hidden=[16], blocks=2).eval()
    model = flow if name == "exact" else Marginalising(flow, StandardNormal(1))
    x, draws = torch.randn(4096 + 4096 + 10, 3 if name == "exact" else 2), 3 if name == "unconverged" else 20
    whole = evaluate(model, x, num_samples=draws, seed=5)
    builder = AccountingBuilder(DataSpec(tuple(x.shape[1:])), exact=model.exact, num_samples=draws, seed=5)
    for found in evaluate_chunks(model, [Split(part) for part in x.split(4096)], num_samples=draws, seed=5):
        builder.add(found)
    one, other = whole.as_dict(), builder.build().as_dict()
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, dict):
            assert other[key].keys() == value.keys()
            for part, number in value.items():
                expected = pytest.approx(number, rel=1e-9) if number is not None else None
                assert other[key][part] == expected, (key, part)
        else:
            assert other[key] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), key


def test_chunks_draw_on_and_do_not_repeat_their_noise() -> None:
    model = Marginalising(DiagonalNormal(2), StandardNormal(1))
    with torch.no_grad():
        model.flow.mean.fill_(0.5)
    same = [Split(torch.zeros(5, 1))] * 2
    first, second = (found.density.bound for found in evaluate_chunks(model, same, num_samples=2))
    assert not torch.isclose(first, second).any()


def test_a_row_whose_label_has_no_density_there_is_counted() -> None:
    class Never(StandardNormal):
        context_features = 2

        def _log_prob(self, x: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
            assert context is not None
            return torch.where(context[:, 0] == 1, -torch.inf, super()._log_prob(x, context))

    rows = Split(torch.zeros(4, 1), torch.eye(2)[[1, 1, 0, 1]])
    found = evaluate(LabelMixture(Never(1), 2), rows)
    assert (found.num_rows, found.num_outside, found.outside) == (3, 1, (2,))
    density = math.log(math.sqrt(2 * math.pi))
    assert found.given_label is not None
    assert found.given_label.value == pytest.approx(density)
    assert found.importance_weighted.value == pytest.approx(density + math.log(2))


def test_log_p_that_is_no_number_is_named_by_its_row() -> None:
    class Holes(StandardNormal):
        value = torch.nan

        def _log_prob(self, x: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
            return torch.where(x[:, 0] == 7, self.value, super()._log_prob(x, context))

    holes = Holes(1)
    x = torch.zeros(10, 1)
    x[6:8] = 7
    for value, message in (
        (
            torch.nan,
            r"log p is nan at row 6 \(counted from 0\), and not finite at 2 of 10 rows: the model has diverged",
        ),
        (torch.inf, "log p is inf at row 6 .* the model has diverged"),
    ):
        holes.value = value
        with pytest.raises(FloatingPointError, match=message):
            evaluate(holes, x)
    results: list[RowScores] = []
    with pytest.raises(FloatingPointError, match=r"at row 9 \(counted from 0\), and not finite at 2 of 3 rows"):
        results.extend(evaluate_chunks(holes, [Split(x[:4]), Split(x[:4]), Split(x[5:8])]))
    assert evaluate_rows(holes, Split(x[:6])).density.log_prob.isfinite().all()


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_rows_outside_of_the_support_are_counted_and_named_and_the_others_scored(chunk: int) -> None:
    """Of a density on (-1/18, 19/18), beside the mean over the rows inside by themselves."""
    torch.default_generator.manual_seed(0)
    model = Flow([Logit(0.05)], planar(2, blocks=2)).eval()
    x = torch.rand(50, 2) * 1.1 - 0.05
    x[7, 0], x[20], x[49, 1] = 1.2, torch.tensor([-3.0, 0.5]), 19 / 18 + 1e-6
    inside = torch.ones(50, dtype=torch.bool)
    inside[[7, 20, 49]] = False
    assert torch.equal(model.log_prob(x).isneginf(), ~inside)
    found = evaluate(model, x, chunk=chunk)
    assert (found.num_rows, found.num_outside, found.outside) == (47, 3, (7, 20, 49))
    assert found.raw_nll == pytest.approx(-float(model.log_prob(x[inside]).mean().detach()))
    assert found.bound.value == pytest.approx(evaluate(model, x[inside]).bound.value)
    with pytest.raises(ValueError, match="log p is -inf at all 3 rows"):
        evaluate(model, x[~inside])


def test_many_rows_outside_of_the_support_are_named_up_to_ten_over_chunks() -> None:
    builder = AccountingBuilder(DataSpec((1,)), exact=True, num_samples=1, seed=0)
    model = Flow([Logit()], Flow([Permutation(1)], StandardNormal(1)))
    chunks = [Split(torch.full((8, 1), 2.0)), Split(torch.full((8, 1), 0.5)), Split(torch.full((8, 1), -2.0))]
    for scores in evaluate_chunks(model, chunks):
        builder.add(scores)
    found = builder.build()
    assert (found.num_rows, found.num_outside, found.outside) == (8, 16, (0, 1, 2, 3, 4, 5, 6, 7, 16, 17))


def test_a_log_determinant_of_the_preprocessing_that_is_no_number_is_named_too() -> None:
    class Folding(Permutation):
        def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
            return super().forward(x)[0], torch.where(x[:, 0] == 7, torch.inf, 0.0)

    x = torch.zeros(5, 2)
    x[3] = 7
    with pytest.raises(FloatingPointError, match=r"log p is inf at row 3 .* not finite at 1 of 5 rows"):
        evaluate(Flow([Folding(2)], Flow([Permutation(2)], StandardNormal(2))), x)
