"""The tables of the command line."""

from __future__ import annotations

import io
import math
import re

import torch
from rich.console import Console

from marginflow import models
from marginflow.base.moments import Estimate
from marginflow.data import DataSpec
from marginflow.evaluation.evaluate import Compared, evaluate
from marginflow.report.tables import comparison_table


def test_a_comparison_tells_errors_and_estimates_apart() -> None:
    accounting = evaluate(models.planar(2), torch.randn(50, 2))
    rows = [
        Compared("first", Estimate(64 * math.log(2), 0.1), None, accounting),
        Compared("second", Estimate(70.0, 0.1), Estimate(64 * math.log(2) * 0.5, 64 * math.log(2) * 0.01), accounting),
    ]
    output = io.StringIO()
    Console(file=output, width=160).print(comparison_table(rows, DataSpec((1, 8, 8), 17)))
    text = output.getvalue()
    assert re.search(r"first.*1\.0000 ± ", text)
    assert re.search(r"second.*0\.5000 ± 0\.0100", text)
    assert "same 50 test rows" in text
