"""The tables of the command line."""

from __future__ import annotations

import io
import math
import re

import pytest
import torch
from rich.console import Console, RenderableType

from marginflow import models
from marginflow.base.literal import literal
from marginflow.base.moments import Estimate
from marginflow.data import DataSpec
from marginflow.evaluation.check.findings import Finding, Findings
from marginflow.evaluation.compared import Compared
from marginflow.evaluation.evaluate import evaluate
from marginflow.report.tables import accounting_table, comparison_table, findings_table


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


def printed(table: RenderableType, width: int = 80) -> str:
    output = io.StringIO()
    Console(file=output, width=width, force_terminal=True, color_system=None).print(table)
    return output.getvalue()


@pytest.mark.parametrize("name", ["[bold]x[/bold]", "[/x]", "[red]", ":smile:", "a\\[b]", "\x1b[31mred", "bell\x07"])
def test_names_are_shown_as_they_stand(name: str) -> None:
    accounting = evaluate(models.planar(2), torch.randn(50, 2))
    compared = [Compared(name, Estimate(1.0, 0.1), None, accounting)]
    finding = Findings([Finding("map", "fail", f"column {name} fails", f"drop {name}")])
    for table in (
        comparison_table(compared, DataSpec((2,))),
        accounting_table({name: accounting}),
        findings_table(finding),
    ):
        text = printed(table, 160)
        assert literal(name) in text
        assert "\x1b[31m" not in text
        assert "\x07" not in text


def test_long_names_are_folded_and_numbers_never_broken() -> None:
    accounting = evaluate(models.planar(2), torch.randn(50, 2))
    name = "a_run_with_a_very_long_name_" * 4
    first = Compared(name, Estimate(171709.686, 78326.949), None, accounting)
    second = Compared(name + "b", Estimate(2e9, 3e8), Estimate(171693.436, 78326.571), accounting)
    text = printed(comparison_table([first, second], DataSpec((2,))))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "171709.686 ± 78326.949" in text
    assert "2.000e+09 ± 3.000e+08" in text
    shown = "".join(line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│"))
    assert shown == name + name + "b"


def test_what_is_no_number_is_told_in_words() -> None:
    accounting = evaluate(models.planar(2), torch.randn(50, 2))
    for value, error, word in ((math.inf, math.nan, "infinity"), (math.nan, math.nan, "undefined")):
        text = printed(comparison_table([Compared("a", Estimate(value, error), None, accounting)], DataSpec((2,))))
        assert word in text
        assert not re.search(r"\b(nan|inf)\b", text)
    one = evaluate(models.planar(1), torch.randn(1, 1))
    text = printed(accounting_table({"a": one}))
    assert "± unknown" in text
    assert "means over 1 row of 1 feature, " in text
