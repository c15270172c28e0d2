"""The page on marginal likelihoods: its Python runs, and the lines of code that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import marginflow as mf
from marginflow.distributions.annealing import Path as AnnealingPath
from marginflow.distributions.importance_weights import ImportanceWeights

PAGE = (Path(__file__).parents[2] / "docs" / "marginalising.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.usefixtures("single")
def test_its_block_runs() -> None:
    names: dict[str, object] = {}
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(block, names)
    assert len(names["result"].log_prob) == len(names["gap"].upper) == 20  # pyright: ignore


def test_the_code_that_it_names_is_there() -> None:
    known = {"Marginalising": mf.Marginalising, "ImportanceWeights": ImportanceWeights, "Path": AnnealingPath}
    named = re.findall(r"\| `(\w+)\.(\w+)` \|", PAGE)
    assert len(named) == 4
    assert all(hasattr(known[owner], method) for owner, method in named)
