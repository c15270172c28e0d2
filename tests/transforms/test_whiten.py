"""Whitening that starts from the data."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal

from marginflow.data import DataSet, Split
from marginflow.distributions import Flow, StandardNormal
from marginflow.training import TrainConfig, fit
from marginflow.transforms import ActNorm, Sequential, Whiten
from marginflow.transforms.calibrate import calibrate, rows_to_initialise


def correlated(num_rows: int) -> torch.Tensor:
    mix = torch.tensor([[2.0, 0.0, 0.0], [1.5, 0.3, 0.0], [-1.0, 0.2, 4.0]])
    return torch.randn(num_rows, 3) @ mix.T + torch.tensor([5.0, -1.0, 0.0])


def test_what_comes_out_is_white_and_the_density_is_the_normal_with_that_covariance() -> None:
    x = correlated(500)
    whiten = Whiten(3)
    calibrate(whiten, [x[:100], x[100:]])
    z, _ = whiten(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-10, rtol=0)
    torch.testing.assert_close(torch.cov(z.T, correction=0), torch.eye(3), atol=1e-3, rtol=0)
    ridge = Whiten.RIDGE * x.var(0, correction=0).mean() * torch.eye(3)
    normal = MultivariateNormal(x.mean(0), torch.cov(x.T, correction=0) + ridge)
    torch.testing.assert_close(Flow(whiten, StandardNormal(3)).log_prob(x), normal.log_prob(x), rtol=1e-9, atol=1e-9)


def test_of_images_each_pixel_is_a_row() -> None:
    x = correlated(600)
    flat, images = Whiten(3), Whiten(3)
    calibrate(flat, [x])
    calibrate(images, [x.view(100, 2, 3, 3).permute(0, 3, 1, 2)])
    torch.testing.assert_close(flat.factor, images.factor)


def test_it_starts_once_and_in_one_pass_behind_another() -> None:
    model = Sequential(Whiten(3), Whiten(3))
    calibrate(model, [correlated(300)])
    second = model[1]
    assert isinstance(second, Whiten)
    torch.testing.assert_close(second.matrix(), torch.eye(3), atol=1e-3, rtol=0)
    kept = second.factor.clone()
    calibrate(model, [correlated(50)])
    assert torch.equal(second.factor, kept)


def test_fit_has_it_start_and_trains_it() -> None:
    x = correlated(6000)
    data = DataSet("correlated", *(Split(each) for each in (x[:2000], x[2000:4000], x[4000:])))
    model = Flow(Whiten(3), StandardNormal(3))
    history = fit(model, data, TrainConfig(epochs=2, lr=1e-3))
    entropy = 3 * 1.4189 + float(torch.tensor([2.0, 0.3, 4.0]).log().sum())
    assert abs((history[-1].validation_nll or 0) - entropy) < 0.2


def test_constant_features_and_wrong_statistics() -> None:
    whiten = Whiten(2)
    calibrate(whiten, [torch.ones(10, 2)])
    assert torch.isfinite(whiten(torch.ones(1, 2))[0]).all()
    with pytest.raises(ValueError, match="mean and covariance must have shapes"):
        Whiten(2).set_statistics(torch.zeros(2), torch.ones(2))


def test_fit_starts_it_from_enough_rows_to_be_white_on_others() -> None:
    """From 250 rows of 100 features a covariance is so far off that other rows have 30 nats too many."""
    x = torch.randn(4000, 100)
    data = DataSet("white", *(Split(each) for each in (x[:2000], x[2000:3000], x[3000:])))
    model = Flow(Whiten(100), StandardNormal(100))
    history = fit(model, data, TrainConfig(epochs=1, lr=1e-12))
    entropy = 100 * 1.4189
    assert abs((history[0].validation_nll or 0) - entropy) < 10
    images = torch.Size([1000, 48, 8, 8])
    assert rows_to_initialise([Whiten(100)], x.shape) == 1000
    assert rows_to_initialise([Whiten(48)], images) == rows_to_initialise([ActNorm(1000)], x.shape) == 250


def test_fewer_rows_than_features_have_no_covariance() -> None:
    with pytest.raises(ValueError, match="a covariance of 3 features needs more than 3 rows; got 3"):
        calibrate(Whiten(3), [torch.randn(3, 3)])
