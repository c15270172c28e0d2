"""Tests calculate in float64 unless they say otherwise; experiments on real data are skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from helpers import call as call
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def single() -> Iterator[None]:
    """For a test in float32, as users train."""
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(torch.float64)
