"""The compiled inverse among threads and in forked processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run_alone(program: str, **environment: str) -> str:
    """What a program prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return done.stdout


THREADS = """
import threading, torch
from marginflow.transforms import MaskedAutoregressive
made, z = MaskedAutoregressive(20, [64]), torch.randn(300, 20)
torch.set_num_threads(8)
with torch.no_grad():
    expected = made.inverse(z)[0]
equal = []
def draw():
    with torch.no_grad():
        for _ in range(20):
            equal.append(torch.equal(made.inverse(z)[0], expected))
threads = [threading.Thread(target=draw) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(equal), all(equal))
"""


@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_many_threads_may_sample_at_once_and_be_more_than_there_are_cores(layer: str) -> None:
    assert run_alone(THREADS, NUMBA_THREADING_LAYER=layer) == "80 True\n"


FORKED = """
import multiprocessing, torch
from marginflow.transforms import MaskedAutoregressive
made, z = MaskedAutoregressive(20, [64]), torch.randn(300, 20)
torch.set_num_threads(2)
def draw(queue):
    with torch.no_grad():
        queue.put(made.inverse(z)[0].sum().item())
with torch.no_grad():
    expected = made.inverse(z)[0].sum().item()
context = multiprocessing.get_context("fork")
queue = context.Queue()
child = context.Process(target=draw, args=(queue,))
child.start()
print(abs(queue.get(timeout=30) - expected) < 1e-3)
child.join()
"""


def test_a_forked_process_can_sample() -> None:
    assert run_alone(FORKED) == "True\n"


COUNT = """
import torch
from marginflow.transforms import MaskedAutoregressive
made = MaskedAutoregressive(5, [8])
for num_threads in (1, 100):  # fewer and more than there are cores
    torch.set_num_threads(num_threads)
    with torch.no_grad():
        made.inverse(torch.randn(9000, 5))
    print(torch.get_num_threads())
"""


def test_the_compiled_loop_leaves_torchs_threads_alone() -> None:
    assert run_alone(COUNT) == "1\n100\n"
