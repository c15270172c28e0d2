"""Small tables that are drawn, for the tests of the comparison on real tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.tables.measure import Task, kinds_of, task_of


def orders(number: int = 400) -> dict[str, Any]:
    """Levels with blanks, a truth, a count within bounds: 3 x 2 x 7 cells."""
    rng = np.random.default_rng(0)
    shop = rng.choice(3, number, p=(0.6, 0.3, 0.1))
    open_ = rng.random(number) < 0.2 + 0.3 * shop
    items = np.clip(rng.binomial(6, 0.2 + 0.2 * shop), 0, 6)
    return {
        "shop": pa.chunked_array([pa.array([["a", "b", None][i] for i in shop])]),
        "open": pa.chunked_array([pa.array(open_)]),
        "items": pa.chunked_array([pa.array(items)]),
    }


def reals(number: int = 300) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.standard_normal((number, 2)) @ np.array([[1.0, 0.8], [0.0, 0.3]]) * [2.0, 50.0] + [3.0, 100.0]


def the_task(columns: dict[str, Any], part: int) -> Task:
    return task_of(columns, part, kinds_of(columns))


def real_task() -> Task:
    return the_task({name: pa.chunked_array([column]) for name, column in zip("xy", reals().T, strict=True)}, 0)
