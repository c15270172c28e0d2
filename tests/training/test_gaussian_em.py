"""EM for a mixture of Gaussians: its likelihood, scikit-learn's, weights, preprocessing, and what fit keeps."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Recorder
from sklearn.datasets import load_iris, load_wine, make_blobs, make_moons
from sklearn.mixture import GaussianMixture as Sklearn
from torch import Tensor

import marginflow
from marginflow import models
from marginflow.data import DataSet, Split
from marginflow.distributions import Flow, GaussianMixture, StandardNormal
from marginflow.distributions.em import EM
from marginflow.distributions.gaussian_em import GaussianEM
from marginflow.distributions.mixtures import em_of, is_fitted_by_em
from marginflow.training import TrainConfig, fit
from marginflow.transforms import Logit, Permutation, Planar, Standardise
from marginflow.transforms.calibrate import calibrate

SETS = {
    "moons": make_moons(1500, noise=0.05, random_state=0)[0],
    "blobs": make_blobs(900, 4, centers=5, random_state=1)[0],
    "iris": load_iris().data,
    "wine": load_wine().data,
}


def rows_of(name: str) -> Tensor:
    """Standardised rows."""
    x = torch.tensor(np.unique(SETS[name], axis=0))
    return (x - x.mean(0)) / x.std(0, correction=0)


def em_for(model: GaussianMixture | Flow, x: Tensor, weight: Tensor | None = None) -> EM:
    em = em_of(model, Split(x, None, weight), lambda: None)
    assert isinstance(em, GaussianEM)
    return em


def mean_of(model: GaussianMixture | Flow, x: Tensor) -> float:
    return float(model.log_prob(x).mean().detach())


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("components", "ridge"), [(1, 1e-6), (6, 1e-6), (6, 0.05), (25, 1e-3)])
def test_no_step_lowers_the_likelihood(name: str, components: int, ridge: float) -> None:
    """Variances at the ridge included, which many small components have."""
    x = rows_of(name)
    model = GaussianMixture(x.shape[1], components, ridge)
    em = em_for(model, x)
    em.start(0)
    losses = [-mean_of(model, x)]
    for _ in range(40):
        assert em.step() == pytest.approx(losses[-1], abs=1e-7)
        losses.append(-mean_of(model, x))
    for before, after in pairwise(losses):
        assert after <= before + 1e-7
    assert components == 1 or losses[-1] < losses[0] - 0.01
    assert float(torch.linalg.eigvalsh(model.covariances().detach()).min()) > 0.99 * ridge


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("components", [1, 3, 6])
def test_it_fits_as_well_as_that_of_scikit_learn(name: str, components: int) -> None:
    x = rows_of(name)
    found, expected = [], []
    for seed in range(3):  # each ends in an optimum of its own
        model = GaussianMixture(x.shape[1], components)
        em = em_for(model, x)
        em.start(seed)
        for _ in range(150):
            em.step()
        found.append(mean_of(model, x))
        theirs = Sklearn(components, random_state=seed, max_iter=500, tol=1e-5).fit(x.numpy())
        expected.append(theirs.score(x.numpy()))
    assert max(found) > np.mean(expected) - 0.01
    assert np.mean(found) > min(expected) - 0.02


def test_from_where_theirs_ended_it_stays() -> None:
    x = rows_of("blobs")
    theirs = Sklearn(5, random_state=0, tol=1e-10, max_iter=500).fit(x.numpy())
    model = GaussianMixture(4, 5)
    weights, means, covariances = map(torch.tensor, (theirs.weights_, theirs.means_, theirs.covariances_))
    model.set_components(weights, means, covariances)
    torch.testing.assert_close(model.log_prob(x).detach(), torch.tensor(theirs.score_samples(x.numpy())))
    assert em_for(model, x).step() == pytest.approx(-theirs.score(x.numpy()), abs=1e-9)
    torch.testing.assert_close(model.means.detach(), means, atol=1e-4, rtol=0)
    torch.testing.assert_close(model.covariances().detach(), covariances, atol=1e-4, rtol=0)


def test_one_component_has_the_mean_and_covariance_of_the_rows() -> None:
    x = torch.tensor(SETS["wine"])
    model = GaussianMixture(13)
    em = em_for(model, x)
    em.start(0)
    em.step()
    torch.testing.assert_close(model.means[0].detach(), x.mean(0))
    torch.testing.assert_close(model.covariances()[0].detach(), x.T.cov(correction=0))


def test_an_offset_loses_no_digits() -> None:
    x = rows_of("iris")
    found = []
    for offset in (0.0, 1e6):
        model = GaussianMixture(4, 3)
        em = em_for(model, x + offset)
        em.start(0)
        found.append([em.step() for _ in range(20)][-1])
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_whole_weights_are_rows_so_often() -> None:
    x = rows_of("blobs")[:300]
    weight = torch.randint(0, 4, (300,))
    copies = x.repeat_interleave(weight, 0)
    model, other = GaussianMixture(4, 5), GaussianMixture(4, 5)
    one, two = em_for(model, x, weight.double()), em_for(other, copies)
    one.start(0)
    other.load_state_dict(model.state_dict())
    for _ in range(10):
        assert one.step() == pytest.approx(two.step())
    torch.testing.assert_close(dict(model.state_dict()), dict(other.state_dict()))


def test_the_start_sees_weights() -> None:
    """Rows that weigh nothing draw no cluster."""
    near, far = rows_of("iris"), rows_of("iris") + 1000
    model = GaussianMixture(4, 4)
    em_for(model, torch.cat([near, far]), torch.cat([torch.ones(len(near)), torch.zeros(len(far))])).start(0)
    assert float(model.means.detach().abs().max()) < 10


@pytest.mark.parametrize("rows", [2, 5, 20])
def test_more_components_than_different_rows_do_no_harm(rows: int) -> None:
    x = rows_of("iris")[:rows].repeat(3, 1)
    x[0] += 1e-15  # nearly the same
    model = GaussianMixture(4, 30)
    em = em_for(model, x)
    em.start(0)
    losses = [em.step() for _ in range(20)]
    assert all(map(math.isfinite, losses))
    assert torch.isfinite(model.log_prob(torch.randn(20, 4) * 10)).all()


def test_a_component_without_rows_stays_where_it_is() -> None:
    x = rows_of("moons")
    model = GaussianMixture(2, 3)
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [1e6, 1e6]])
    model.set_components(torch.ones(3), means, torch.eye(2).expand(3, 2, 2))
    em = em_for(model, x)
    losses = [em.step() for _ in range(5)]
    assert losses[-1] < losses[0]
    torch.testing.assert_close(model.means[2].detach(), means[2])
    torch.testing.assert_close(model.covariances()[2].detach(), torch.eye(2))
    assert float(model.log_weights[2].detach()) < -20


def test_it_sees_rows_as_transforms_without_parameters_leave_them() -> None:
    u = torch.rand(400, 2) * torch.tensor([0.5, 0.9])
    whole = Flow([Logit(0.01), Standardise(2)], base=Flow([Permutation(2, [1, 0])], base=GaussianMixture(2, 3)))
    calibrate(whole, [u])
    z = whole.transform(u)[0]
    em = em_for(whole, u)
    assert isinstance(em, GaussianEM)
    torch.testing.assert_close(em.x, z[:, [1, 0]])
    em.start(0)
    before = mean_of(whole, u)  # of the rows as given
    assert em.step() == pytest.approx(-before)


def test_only_where_all_before_it_is_exact_and_has_nothing_to_train() -> None:
    mixture = GaussianMixture(2, 2)
    layer = Planar(2)
    assert is_fitted_by_em(Flow([Standardise(2)], base=models.gaussian_mixture(2)))
    assert not is_fitted_by_em(Flow([layer], base=mixture))
    assert em_of(Flow([layer], base=mixture), Split(torch.randn(9, 2)), lambda: None) is None
    assert not is_fitted_by_em(Flow([Standardise(2)], base=StandardNormal(2)))
    assert is_fitted_by_em(Flow([layer.requires_grad_(False)], base=mixture))


def test_a_context_is_refused_with_what_takes_one() -> None:
    x, context = torch.randn(50, 2), torch.randn(50, 1)
    with pytest.raises(ValueError, match=r"takes no context: .* models.maf\(2, context_features=1\)"):
        em_of(GaussianMixture(2), Split(x, context), lambda: None)
    with pytest.raises(ValueError, match="nothing in this model uses a context"):
        fit(models.gaussian_mixture(2), (x, context), {"epochs": 1, "device": "cpu"})


def data_of(name: str) -> DataSet:
    x = 50 + 3 * rows_of(name)[torch.randperm(len(rows_of(name)), generator=torch.Generator().manual_seed(0))]
    few = len(x) // 10
    return DataSet("rows", Split(x[2 * few :]), Split(x[:few]), Split(x[few : 2 * few]))


def whole_model(features: int, components: int) -> Flow:
    torch.manual_seed(0)
    return Flow([Standardise(features)], base=models.gaussian_mixture(features, components=components))


@pytest.mark.parametrize("precision", ["64-true", "32-true"])
def test_fit_takes_a_step_an_epoch_and_keeps_the_best(tmp_path: Path, precision: str) -> None:
    data, recorder, model = data_of("blobs"), Recorder(), whole_model(4, 60)
    model = model.double() if precision == "64-true" else model.float()
    config = TrainConfig(epochs=60, patience=4, ema=0.9, batch_size=5000, device="cpu", precision=precision)
    history = fit(model, data, config, tmp_path, observers=[recorder])
    assert len(recorder.losses) == len(history) < 60
    best = min(history, key=lambda record: record.validation_nll or math.inf)
    assert best.validation_nll == pytest.approx(-mean_of(model, data.validation.x), abs=1e-4)
    assert {record.lr for record in history} == {None}
    loaded = marginflow.load(tmp_path)
    torch.testing.assert_close(loaded.log_prob(data.test.x), model.log_prob(data.test.x))


def test_float32_trains_like_float64() -> None:
    found = []
    for model in (whole_model(4, 3).float(), whole_model(4, 3).double()):
        precision = "64-true" if model.base.base.means.dtype == torch.float64 else "32-true"
        fit(model, data_of("blobs"), {"epochs": 20, "device": "cpu", "precision": precision})
        found.append(mean_of(model, data_of("blobs").test.x))
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_a_training_that_is_resumed_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    data, config = data_of("blobs"), {"device": "cpu", "precision": "64-true", "seed": 3}
    model = whole_model(4, 6)
    whole = fit(model, data, {"epochs": 6, **config})
    for epochs in (3, 6):
        again = whole_model(4, 6)
        history = fit(again, data, {"epochs": epochs, **config}, tmp_path, resume=epochs == 6)
    assert [record.train_nll for record in history] == [record.train_nll for record in whole]
    torch.testing.assert_close(dict(again.state_dict()), dict(model.state_dict()), rtol=0, atol=0)


def test_an_optimiser_is_refused() -> None:
    model = whole_model(4, 2)
    with pytest.raises(ValueError, match="trained by EM, which needs no optimiser: leave it out"):
        fit(model, data_of("blobs"), optimiser=torch.optim.SGD(model.parameters(), 0.1))
