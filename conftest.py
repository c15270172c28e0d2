"""For every test and doctest: one thread a worker and a process that it starts, a fixed seed."""

import os

import pytest
import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers and their children share few cores
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.default_generator.manual_seed(0)
