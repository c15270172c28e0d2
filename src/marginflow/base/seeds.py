"""Seeds: generators that start at one inside a `with` statement only, and deterministic computation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import SupportsIndex

import torch

from marginflow.base.arguments import as_whole

SEEDS = 2**30  # of them: three are derived from a data set's, and generators take 32 bits


def require_seed(seed: SupportsIndex) -> int:
    """A seed, a whole number in range; ValueError otherwise."""
    found = as_whole(seed, "seed", least=None, most=None)
    if not 0 <= found < SEEDS:
        raise ValueError(f"seed must lie between 0 and 2^30; got {seed}")
    return found


@contextmanager
def seeded(seed: SupportsIndex) -> Iterator[None]:
    """Inside, torch's global generators start at `seed`; afterwards they continue as if nothing had been drawn.

    Args:
        seed: a whole number from 0 to 2^30 - 1.

    Returns:
        A context manager.

    Raises:
        ValueError: where the seed is out of range.

    Examples:
        >>> with seeded(0):
        ...     a = torch.rand(1)
        >>> with seeded(0):
        ...     b = torch.rand(1)
        >>> bool(a == b)
        True
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        # torch.manual_seed would format a traceback three times where there is no GPU
        seed = require_seed(seed)
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)
        yield


class RandomStream:
    """Random numbers from a seed that continue where they stopped; inside `on()`, torch's generators give them.

    So what is made in parts gets the same numbers, whatever else is drawn between, and changes nothing else.

    Args:
        seed: a whole number from 0 to 2^30 - 1.

    Raises:
        ValueError: where the seed is out of range.

    Examples:
        >>> stream = RandomStream(0)
        >>> with stream.on():
        ...     a = torch.rand(1)
        >>> with stream.on():
        ...     b = torch.rand(1)
        >>> with seeded(0):
        ...     both = torch.rand(1), torch.rand(1)
        >>> both == (a, b)
        True
    """

    def __init__(self, seed: SupportsIndex) -> None:
        self.seed = require_seed(seed)
        self.state: tuple[torch.Tensor, list[torch.Tensor]] | None = None

    @contextmanager
    def on(self) -> Iterator[None]:
        """Inside, the numbers continue; afterwards torch's generators are as if nothing had been drawn."""
        with seeded(self.seed):
            if self.state is not None:
                torch.set_rng_state(self.state[0])
                torch.cuda.set_rng_state_all(self.state[1])
            yield
            self.state = torch.get_rng_state(), torch.cuda.get_rng_state_all()


@contextmanager
def deterministic(on: bool = True) -> Iterator[None]:
    """Inside, torch refuses operations whose result depends on the order in which threads finish.

    Args:
        on: False changes nothing.

    Returns:
        A context manager.

    Raises:
        ValueError: where an operation inside has no deterministic form.

    Examples:
        >>> with deterministic():
        ...     torch.are_deterministic_algorithms_enabled()
        True
    """
    if not on:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which CUDA asks for
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise ValueError(f"{str(error).splitlines()[0]}: leave deterministic out, or compute on the CPU") from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
