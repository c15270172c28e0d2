"""Measures of samples against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from marginflow.evaluation.sample_quality import energy_distance, mean_distance, two_sample_accuracy


def test_two_normals_in_one_dimension_have_the_closed_form() -> None:
    """E|X - Y| of N(0, 1) and N(m, 1) is that of |N(m, 2)|; of two draws of one of them 2 / sqrt(pi)."""
    torch.default_generator.manual_seed(0)
    m = 1.0
    folded = math.sqrt(4 / math.pi) * math.exp(-(m**2) / 4) + m * math.erf(m / 2)
    x, y = torch.randn(4000, 1), torch.randn(4000, 1) + m
    assert energy_distance(x, y) == pytest.approx(2 * folded - 4 / math.sqrt(math.pi), abs=0.03)


def test_two_draws_of_one_distribution_are_no_distance_apart_on_average() -> None:
    torch.default_generator.manual_seed(0)
    distances = torch.tensor([energy_distance(torch.randn(200, 3), torch.randn(300, 3)) for _ in range(50)])
    assert abs(distances.mean()) < 4 * distances.std() / 50**0.5
    assert (distances < 0).any()


def test_images_are_taken_flat() -> None:
    x, y = torch.randn(20, 2, 3), torch.randn(30, 2, 3)
    assert energy_distance(x, y) == energy_distance(x.flatten(1), y.flatten(1))


def test_samples_that_cannot_be_compared_are_refused() -> None:
    for x, y in ((torch.randn(1, 2), torch.randn(5, 2)), (torch.randn(5, 2), torch.randn(5, 3))):
        with pytest.raises(ValueError, match="rows of one shape"):
            energy_distance(x, y)


@pytest.mark.slow
def test_a_classifier_cannot_tell_two_draws_of_one_distribution_and_can_tell_two_apart() -> None:
    accuracy, error = two_sample_accuracy(torch.randn(500, 3), torch.randn(500, 3))
    assert abs(accuracy - 0.5) < 4 * error
    apart, _ = two_sample_accuracy(torch.randn(500, 3), torch.randn(500, 3) + 2)
    assert apart > 0.9
    with pytest.raises(ValueError, match="10 rows each"):
        two_sample_accuracy(torch.zeros(5, 2), torch.zeros(5, 2))


def test_the_mean_distance_of_normal_rows_is_known_and_of_one_row_over_and_over_0() -> None:
    assert abs(mean_distance(torch.randn(3000, 1)) - 2 / math.pi**0.5) < 0.03
    assert mean_distance(torch.ones(5, 2)) == 0
    with pytest.raises(ValueError, match="needs two"):
        mean_distance(torch.ones(1, 2))
