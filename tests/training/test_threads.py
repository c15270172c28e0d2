"""How many threads a training takes."""

from __future__ import annotations

import pytest
import torch

from marginflow import TrainConfig, fit, models
from marginflow.base.devices import SMALL


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Counting:
    """Notes the number of threads of each step."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def on_step(self, epoch: int, step: int, num_steps: int, loss: float) -> None:
        self.threads.append(torch.get_num_threads())

    def on_epoch(self, record: object, model: torch.nn.Module) -> None:
        """Nothing."""


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("hidden", "expected"), [([8], 1), ([2048, 2048], 2)])
def test_small_steps_take_one_thread_and_leave_the_others_as_they_were(hidden: list[int], expected: int) -> None:
    model, seen = models.maf(4, hidden=hidden, blocks=1), Counting()
    work = 32 * sum(each.numel() for each in model.parameters())
    assert (work < SMALL) == (expected == 1)
    fit(model, torch.randn(64, 4), TrainConfig(epochs=1, batch_size=32), observers=[seen])
    assert set(seen.threads) == {expected}
    assert torch.get_num_threads() == 2
