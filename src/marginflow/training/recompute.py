"""Gradient checkpointing while a training lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from marginflow.transforms import Sequential


@contextmanager
def recomputing(model: nn.Module, on: bool) -> Iterator[None]:
    """Inside, where `on`, transforms one after the other keep what enters each and compute the rest once more."""
    chains = [module for module in model.modules() if isinstance(module, Sequential) and module.recompute != on]
    for chain in chains:
        chain.recompute = on
    try:
        yield
    finally:
        for chain in chains:
            chain.recompute = not on
