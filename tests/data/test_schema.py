"""Columns and schemas: what contradicts itself is refused, and text brings the same schema back."""

from __future__ import annotations

from typing import Any

import pytest
from schemas import levels, reals, steps

from marginflow.data import Column, Grid, Schema, Warp

LINE, Q = Warp("standardise"), (0.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"kind": "numeric"}, "kind must be one of real, positive, .*; got 'numeric'"),
        ({"kind": "real", "lower": 2.0, "upper": 1.0}, "lower bound 2 is above the upper bound 1"),
        ({"kind": "integer", "grid": Grid(), "lower": 0.0, "atoms": (-1.0,)}, "atom -1 is outside of the bounds 0.0"),
        ({"kind": "category"}, "kind 'category' needs levels"),
        ({"kind": "real", "levels": ("a",)}, "kind 'real' takes no levels"),
        ({"kind": "integer"}, "kind 'integer' needs a grid"),
        ({"kind": "real", "grid": Grid()}, "kind 'real' takes no grid"),
        ({"kind": "real", "quantiles": Q}, "kind 'real' needs a warp"),
        ({"kind": "integer", "grid": Grid(), "atoms": (3.0, 1.0)}, "atoms must be different and rise; got"),
        ({"kind": "real", "lower": 0.0, "warp": LINE, "quantiles": Q}, "its warp goes on beyond the bound 0"),
        ({"kind": "real", "upper": 3.0, "warp": Warp("log"), "quantiles": Q}, "its warp goes on beyond the bound 3"),
    ],
)
def test_a_column_that_contradicts_itself_is_refused(about: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"column 'a': {said}"):
        Column("a", **about)


@pytest.mark.parametrize(
    "warp", [Warp("log", 1.0), Warp("softplus", 1.0, 2.0), Warp("logit", 1.0, 4.0)], ids=lambda warp: warp.shape
)
def test_a_warp_that_ends_at_the_bounds_is_taken(warp: Warp) -> None:
    upper = 5.0 if warp.shape == "logit" else None
    assert Column("a", "real", lower=1.0, upper=upper, warp=warp, quantiles=(2.0, 3.0)).warp == warp


def test_text_brings_a_schema_back() -> None:
    schema = Schema((levels("a", "category", 3, True), steps("b", "decimal", 4, [1]), reals("c", "log", [1.25], True)))
    assert Schema.from_json(schema.to_json()) == schema


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", '{"columns": [3]}', '{"columns": [{"name": "a"}]}'])
def test_text_that_is_no_schema_is_a_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"this is no schema|Expecting value|no column is left"):
        Schema.from_json(text)


def test_names_are_different_and_some_column_is_modelled() -> None:
    with pytest.raises(ValueError, match="a name stands for several columns: \\['a'\\]"):
        Schema((levels("a", "boolean", 2), levels("a", "boolean", 2)))
    with pytest.raises(ValueError, match="no column is left to be modelled"):
        Schema((Column("a", "identifier", reason="row numbers"),))
