"""marginflow compare on tables: paired errors by row and by seed, and what cannot be compared."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers import Call, fails, succeeds
from pyarrow import csv

pytestmark = pytest.mark.usefixtures("single")


def write_people(n: int = 200) -> None:
    rng = np.random.default_rng(1)
    height = rng.normal(170, 9, n)
    mass = np.round(rng.normal(70, 10, n), 7) + 1e-9 * height
    csv.write_csv(pa.table({"height": height, "mass": mass, "age": rng.integers(18, 80, n)}), "people.csv")


def trained(call: Call, name: str, *options: object) -> None:
    succeeds(call("train", "people.csv", "--set", "train.epochs=1", *options, "--run-dir", f"runs/{name}"))


def scores(call: Call, name: str) -> dict[str, np.ndarray]:
    succeeds(call("evaluate", f"runs/{name}", "--no-figures", "-o", "scores.csv"))
    table = csv.read_csv("scores.csv")
    return {column: table[column].to_numpy() for column in table.column_names}


def row_of(output: str, name: str) -> list[str]:
    line = next(line for line in output.splitlines() if re.match(rf"│ {re.escape(name)} ", line))
    return [each.strip() for each in line.strip("│").split("│")]


def number_in(cell: str) -> tuple[float, float]:
    value, error = cell.split(" ± ")
    return float(value), float(error)


def test_errors_are_paired_by_rows_and_count_seeds(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    write_people()
    for seed in (1, 2, 3):
        trained(
            call, f"m{seed}", "--set", "model.name=mixed", "--set", "model.hidden=[4]", "--set", f"train.seed={seed}"
        )
        trained(call, f"x{seed}", "--set", "model.name=mixture", "--set", f"train.seed={seed}")
    runs = [f"{kind}{seed}" for kind in "mx" for seed in (1, 2, 3)]
    shown = succeeds(call("compare", *[f"runs/{name}" for name in runs]))
    parts = {name: scores(call, name) for name in runs}
    log_p = {name: each["log_prob"] for name, each in parts.items()}
    best = max(runs, key=lambda name: log_p[name].mean())
    rows = len(log_p[best])
    for name in runs:
        cells = row_of(shown, name)
        assert cells[1] == {"m": "mixed", "x": "mixture"}[name[0]]
        assert cells[2] == name[1]
        columns = (log_p[name], parts[name]["log_prob_discrete"], parts[name]["log_prob_real"])
        for cell, values in zip(cells[4:7], columns, strict=True):
            assert number_in(cell) == pytest.approx((values.mean(), values.std(ddof=1) / rows**0.5), abs=6e-4)
        if name == best:
            assert cells[7:] == ["-", "best"]
            continue
        apart = log_p[best] - log_p[name]
        behind, error = apart.mean(), apart.std(ddof=1) / rows**0.5
        assert number_in(cells[7]) == pytest.approx((behind, error), abs=6e-4)
        assert cells[8] == ("behind" if behind > 2 * error else "level")
    by_experiment = shown[shown.index("by experiment") :]
    groups = {"mixed": [log_p[f"m{seed}"] for seed in (1, 2, 3)], "mixture": [log_p[f"x{seed}"] for seed in (1, 2, 3)]}
    means = {name: np.stack(each).mean(0) for name, each in groups.items()}
    spread = {name: np.stack(each).mean(1).std(ddof=1) for name, each in groups.items()}
    first, second = sorted(groups, key=lambda name: -means[name].mean())
    for name in groups:
        _, seeds, log_prob, between, *_ = row_of(by_experiment, name)
        assert (seeds, float(log_prob)) == ("3", pytest.approx(means[name].mean(), abs=6e-4))
        assert float(between) == pytest.approx(spread[name], abs=6e-4)
    apart = means[first] - means[second]
    error = np.sqrt(apart.var(ddof=1) / rows + (spread[first] ** 2 + spread[second] ** 2) / 3)
    assert number_in(row_of(by_experiment, second)[4]) == pytest.approx((apart.mean(), error), abs=6e-4)


def test_a_single_seed_has_no_spread_and_settings_tell_groups_apart(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    write_people()
    maf = ("--columns", "height,mass", "--set", "model.name=maf", "--set", "model.blocks=1")
    trained(call, "a", *maf, "--set", "model.hidden=[4]")
    trained(call, "b", *maf, "--set", "model.hidden=[4]", "--set", "train.seed=5")
    trained(call, "c", *maf, "--set", "model.hidden=[6]")
    assert "by experiment" not in succeeds(call("compare", "runs/a", "runs/c"))
    shown = succeeds(call("compare", "runs/a", "runs/b", "runs/c"))
    assert "maf, model.hidden=[4]" in shown
    assert row_of(shown, "maf, model.hidden=[6]")[3] == "unknown"
    assert "by rows alone" in shown
    assert "discrete" not in shown
    assert "that of a density" in shown
    fails(call("compare", "runs/a", "runs/a"), "a run is named twice")


def test_a_narrow_terminal_breaks_no_number(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    write_people()
    names = ("people_by_mixture", "people_by_flow", "again")
    for seed, name in enumerate(names):
        model = ("--model", "mixture") if name == names[0] else ("--model", "mixed", "--set", "model.hidden=[4]")
        trained(call, name, *model, "--set", f"train.seed={seed}")
    shown = {}
    for columns in (80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        shown[columns] = succeeds(call("compare", *[f"runs/{name}" for name in names]))
    assert max(map(len, shown[80].splitlines())) <= 80
    first, second, by_experiment = shown[80].split("┏")[1:]
    for name in names:
        wide = row_of(shown[200], name)
        assert number_in(wide[4])[0] == pytest.approx(scores(call, name)["log_prob"].mean(), abs=6e-4)
        assert row_of(first, name) == [wide[0], wide[1], wide[4], *wide[7:]]
        assert row_of(second, name) == [wide[0], *wide[2:4], *wide[5:7]]
    assert row_of(by_experiment, "mixture")[1] == "1"


def test_a_long_name_is_folded_beside_whole_numbers(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    write_people()
    names = ("short", "a_name_that_is_longer_than_half_a_line_of_the_terminal")
    for name in names:
        trained(call, name, "--model", "mixture")
    lines = succeeds(call("compare", *[f"runs/{name}" for name in names])).split("┏")[1].splitlines()
    cells = [[each.strip() for each in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert "".join(row[0] for row in cells) in ("".join(names), "".join(names[::-1]))
    assert [row[1] for row in cells if row[1]] == ["mixture"] * 2
    expected = scores(call, "short")["log_prob"].mean()
    assert [number_in(row[2])[0] for row in cells if row[2]] == pytest.approx([expected] * 2, abs=6e-4)


def test_a_density_and_a_probability_are_refused_and_the_remedy_can_be_typed(call: Call) -> None:
    write_people()
    trained(call, "maf", "--set", "model.name=maf", "--set", "model.hidden=[4]")
    mixed = ("--set", "model.name=mixed", "--set", "model.hidden=[4]")
    trained(call, "mixed", *mixed)
    result = call("compare", "runs/mixed", "runs/maf")
    fails(result, r"column 'age' has probabilities \(integer\) in one and a density \(real\) in the other")
    typed = result.stderr.strip()
    options = shlex.split(typed[typed.index("--set") :])
    trained(call, "again", *mixed, *options)
    assert "behind the best" in succeeds(call("compare", "runs/again", "runs/maf"))


def test_other_splits_columns_and_contexts_are_refused_with_words(call: Call) -> None:
    write_people()
    mixture = ("--set", "model.name=mixture")
    trained(call, "a", *mixture)
    trained(call, "b", *mixture, "--set", "data.seed=4")
    trained(call, "c", *mixture, "--drop", "age")
    trained(call, "d", *mixture, "--context", "age")
    fails(call("compare", "runs/a", "runs/b"), "data.seed is 0 in one and 4 .* test rows differ: .* --set data.seed=0")
    fails(call("compare", "runs/a", "runs/c"), "of different columns, runs/a alone has 'age': train both on the same")
    fails(call("compare", "runs/a", "runs/d"), "log p is of all columns, the other's given 'age': .*same --context")


def test_the_page_of_a_table_has_log_p_and_no_empty_accounting(call: Call) -> None:
    write_people()
    trained(call, "a", "--set", "model.name=mixture")
    held = scores(call, "a")
    succeeds(call("report", "runs/a", "-o", "page.html"))
    page = Path("page.html").read_text()
    for name, values in held.items():
        assert f'data-key="{name}"' in page
        cell = re.search(rf'data-key="{name}" title="([^"]*)"', page)
        assert cell is not None
        assert float(cell[1]) == pytest.approx(values.mean(), rel=1e-5)
    headings = re.findall('<th scope="col">([^<]*)', page)
    assert headings[1] == "log p, nats a row"
    for word in ("the thesis", "noise entropy", "bits/dim", "effective sample size"):
        assert not any(word in heading for heading in headings)


def test_a_check_of_a_table_asks_in_words_and_leaves_out_what_does_not_apply(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    write_people()
    trained(call, "a", "--set", "model.name=mixture")
    shown = succeeds(call("check", "runs/a"))
    line = next(line for line in shown.splitlines() if "Is log p a number for every row and sample?" in line)
    assert line.split("│")[2].strip() == "yes"
    assert "Do the probabilities of all possible rows sum to 1? (normalisation)" in shown
    assert "does not apply: latents" in shown
    assert " skip " not in shown
    assert "nothing speaks against log p and samples of this run: " in shown
