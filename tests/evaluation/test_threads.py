"""Eight threads on one model: the same densities as one thread's, samples of the same distribution."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from registry import image_model, roused
from torch import Tensor

from marginflow import models, sample
from marginflow.base.devices import evaluation_mode
from marginflow.base.distribution import Distribution
from marginflow.distributions import Marginalising, StandardNormal, log_likelihood

THREADS, ROUNDS = 8, 5

MODELS: dict[str, Callable[[], Distribution]] = {
    "planar": lambda: models.planar(4, blocks=3),
    "radial": lambda: models.radial(4, blocks=3),
    "maf": lambda: models.maf(4, hidden=[32, 32], blocks=3),
    "maf_mog": lambda: models.maf_mog(4, hidden=[32], blocks=2),
    "iaf": lambda: models.iaf(4, hidden=[32], blocks=2),
    "nsf": lambda: models.nsf(4, hidden=[32], blocks=2),
    "realnvp": lambda: models.realnvp(4, hidden=[32], blocks=3),
    "glow": lambda: roused(image_model("glow")),
    "maf_local": lambda: image_model("maf_local"),
}


def together(work: Callable[[int], Tensor]) -> list[Tensor]:
    """What eight threads give that begin at the same moment."""
    barrier = Barrier(THREADS)

    def begin(i: int) -> Tensor:
        with torch.no_grad():  # which counts for one thread
            barrier.wait()
            return work(i)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("name", MODELS)
def test_threads_see_the_densities_of_one(name: str) -> None:
    model, same = MODELS[name]().eval(), MODELS[name]().eval()
    same.load_state_dict(model.state_dict())
    shape = model.event_shape
    assert shape is not None
    rows = [torch.randn(200, *shape) for _ in range(THREADS)]
    with torch.no_grad():
        found = together(lambda i: torch.stack([model.log_prob(rows[i]) for _ in range(ROUNDS)]))  # nothing is warm
        alone = [same.log_prob(x) for x in rows]
    for of_thread, expected in zip(found, alone, strict=True):
        assert torch.equal(of_thread, expected.expand(ROUNDS, -1))


@pytest.mark.slow
@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("name", MODELS)
def test_threads_draw_different_samples_of_the_density(name: str) -> None:
    torch.default_generator.manual_seed(0)
    model = MODELS[name]().eval()
    drawn = torch.cat(together(lambda _: torch.cat([sample(model, 100).x for _ in range(ROUNDS)])))
    with torch.no_grad():
        z = model.transform(drawn)[0].flatten(1)
    assert len(z.unique(dim=0)) == len(z) == THREADS * ROUNDS * 100
    assert float(z.mean(0).abs().max()) < 8 / len(z) ** 0.5
    base = model.base.sample(100_000).flatten(1)
    assert float((z.var(0) / base.var(0) - 1).abs().max()) < 8 * (2 / len(z)) ** 0.5


@pytest.mark.usefixtures("single")
def test_a_model_in_training_mode_is_put_back_by_the_last_thread() -> None:
    torch.default_generator.manual_seed(0)
    model = models.maf(4, hidden=[32], blocks=2, dropout=0.5).train()
    x = torch.randn(100, 4)
    expected = float(log_likelihood(model, x).log_prob.mean())

    def work(_: int) -> Tensor:
        found = []
        for _ in range(10 * ROUNDS):
            found.append(log_likelihood(model, x).log_prob.mean())
            sample(model, 5)
        return torch.stack(found)

    assert torch.cat(together(work)).unique().tolist() == [pytest.approx(expected)]
    assert all(module.training for module in model.modules())


@pytest.mark.usefixtures("single")
def test_threads_estimate_a_marginal_while_others_sample() -> None:
    torch.default_generator.manual_seed(1)
    model = Marginalising(models.maf(3, hidden=[16], blocks=2), StandardNormal(1)).eval()
    x = torch.randn(50, 2)
    expected = log_likelihood(model, x, num_samples=4000).log_prob

    def work(i: int) -> Tensor:
        return log_likelihood(model, x, num_samples=4000).log_prob if i % 2 else sample(model, 4000).x

    found = together(work)
    for i, each in enumerate(found):
        if i % 2:
            assert float((each - expected).abs().max()) < 0.2
        else:
            assert bool(torch.isfinite(each).all())


def test_a_copy_made_in_evaluation_mode_is_in_it_until_it_is_trained() -> None:
    model = models.maf(2, hidden=[8], dropout=0.5).train()
    with evaluation_mode(model):
        copied = copy.deepcopy(model)
    assert model.training
    assert not copied.training
    copied.train()
    x = torch.randn(50, 2)
    torch.testing.assert_close(log_likelihood(copied, x).log_prob, log_likelihood(model, x).log_prob)
    assert all(module.training for module in copied.modules())
