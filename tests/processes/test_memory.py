"""How much memory a process takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import needs_cifar10

MEMORY = """
import torch
from marginflow import Flow, Marginalising, TrainConfig, evaluate, fit, models
from marginflow.data import DataSet, Split
from marginflow.distributions import StandardNormal
from marginflow.transforms import Flatten, Logit
torch.set_num_threads(1)
flow = models.maf(784 + 256, hidden=[1024, 1024], blocks=5, batch_norm=True)
model = Flow([Logit(1e-6), Flatten((1, 28, 28))], Marginalising(flow, StandardNormal(256)))
train, rest = Split(torch.rand(50_000, 1, 28, 28)), Split(torch.rand(200, 1, 28, 28))
small = Split(train.x[:1000])
fit(model, DataSet("like MNIST", small, rest, rest), TrainConfig(epochs=1))
evaluate(model, rest.x[:5], num_samples=1000)
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux")
def test_mnist_size_training_and_a_thousand_samples_stay_under_2_5_gigabytes() -> None:
    """50,000 rows in memory, the marginalising MNIST model; the chunks, not K or the rows, set the peak.

    It is that of the process alone: getrusage counts also what stood where it was started.
    """
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2500


@needs_cifar10
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux")
@pytest.mark.parametrize("noise", ["fresh", "once"])
def test_cifar10_takes_less_than_300_mb(noise: str) -> None:
    """What the process grows by, at its peak."""
    code = f"""
from marginflow import data

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

data.load("digits", noise="once", labels=True)  # whatever the first data set ever brings with it
before = peak()
cifar = data.load("cifar10", noise="{noise}", labels=True)
print(peak() - before)
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 180_000 < int(output) < 300_000  # kilobytes; the pixels alone are 184 MB
