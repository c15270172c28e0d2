"""Speed that users were promised."""

from __future__ import annotations

import math
import statistics
import time

import pytest
import torch
from torch.nn import functional

from benchmarks.images import BATCH as IMAGES
from benchmarks.images import SHAPE, build, stepping
from benchmarks.timing import interleaved
from marginflow import TrainConfig, data, fit, models
from marginflow.data import DataSet

EPOCHS, BATCH, LAYERS = 2, 100, 8
ROUNDS = 15  # other work on the machine disturbs a few of them only


def bare_training(rows: DataSet) -> float:
    """Seconds a step of planar x 8 written out in bare PyTorch: the same operations, loss, clipping and optimiser."""
    layers = [tuple(torch.randn(shape).mul(0.3).requires_grad_() for shape in ((2,), (2,), ())) for _ in range(LAYERS)]
    parameters = [parameter for layer in layers for parameter in layer]
    optimiser = torch.optim.Adam(parameters, 5e-4, fused=True)
    steps, started = 0, time.perf_counter()
    for _ in range(EPOCHS):
        for index in torch.randperm(len(rows.train.x)).split(BATCH):
            z = rows.train.x[index]
            log_det = torch.zeros(())
            for u, w, b in layers:
                w_u = torch.dot(w, u)
                bounded = functional.celu(w_u, 1 - 1e-3)
                u_hat = torch.addcmul(u, w, (bounded - w_u) / torch.dot(w, w).clamp_min(1e-38))
                h = torch.tanh(torch.addmv(b, z, w))
                z = torch.addr(z, h, u_hat)
                log_det = log_det + torch.log1p(bounded * (1 - h.square()))
            loss = -(-0.5 * z.square().sum(1) - math.log(2 * math.pi) + log_det).mean()
            if not math.isfinite(loss.item()):
                raise FloatingPointError
            loss.backward()
            torch.nn.utils.clip_grad_value_(parameters, 5e-6)
            optimiser.step()
            optimiser.zero_grad()
            steps += 1
    return (time.perf_counter() - started) / steps


def our_training(rows: DataSet) -> float:
    """Seconds a step of the same in `fit`, all that surrounds it included."""
    config = TrainConfig(epochs=EPOCHS, batch_size=BATCH, clip_value=5e-6)
    started = time.perf_counter()
    fit(models.planar(2, blocks=LAYERS), rows, config)
    return (time.perf_counter() - started) / (EPOCHS * (len(rows.train.x) // BATCH))


@pytest.mark.alone
@pytest.mark.usefixtures("single")
def test_a_step_of_half_moons_costs_at_most_1_3_times_bare_pytorch() -> None:
    rows = data.load("half_moons", num_train=6_000, num_validation=100)
    our_training(rows)  # the first call pays for imports
    ratios = [our_training(rows) / bare_training(rows) for _ in range(ROUNDS)]  # interleaved
    assert statistics.median(ratios) <= 1.3, ratios


@pytest.mark.filterwarnings("ignore::UserWarning")  # of normflows, which calls torch.lu
@pytest.mark.alone
@pytest.mark.usefixtures("single")
def test_a_step_of_glow_costs_no_more_than_that_of_normflows() -> None:
    """The benchmark's flows with one step a level instead of eight; on an idle machine 0.75 of theirs."""
    x = torch.randn(IMAGES, *SHAPE)
    seconds = interleaved({name: stepping(build(name, 1), x) for name in ("marginflow", "normflows")}, ROUNDS)
    assert seconds["marginflow"] <= seconds["normflows"]
