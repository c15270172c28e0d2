"""marginflow evaluate --data: rows far out are counted and named, and end nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers import Call, succeeds
from pyarrow import csv

pytestmark = pytest.mark.usefixtures("single")


def people(n: int = 300) -> pa.Table:
    rng = np.random.default_rng(3)
    age = rng.integers(18, 80, n)
    return pa.table({"height": rng.normal(170, 9, n), "age": age, "city": rng.choice(["Rome", "Oslo"], n)})


def scores(path: str) -> np.ndarray:
    return csv.read_csv(path)["log_prob"].to_numpy().astype(float)


@pytest.mark.parametrize("model", ["maf", "realnvp", "mixed", "mixture"])
def test_rows_far_out_of_any_model_are_counted(call: Call, model: str) -> None:
    table = people() if model.startswith("mix") else people().select(["height"]).append_column(
        "mass", pa.array(np.random.default_rng(4).normal(70, 10, 300))
    )  # fmt: skip
    csv.write_csv(table, "people.csv")
    hidden = () if model == "mixture" else ("--set", "model.hidden=[8]")
    succeeds(call("train", "people.csv", "--set", f"model.name={model}", "--set", "train.epochs=1", *hidden))
    succeeds(call("evaluate", "runs/people", "--no-figures", "-o", "held.csv"))
    held = scores("held.csv")
    rows = table.slice(0, 60).to_pylist()
    rows[5]["height"], rows[7]["height"], rows[9]["height"] = 1e30, -1e6, 1e100
    csv.write_csv(pa.Table.from_pylist(rows), "new.csv")
    shown = " ".join(succeeds(call("evaluate", "runs/people", "--data", "new.csv", "-o", "new_scores.csv")).split())
    found = scores("new_scores.csv")
    assert not np.isnan(found).any()
    least = held.min()
    unlikely = np.isfinite(found) & (found < least - 1e-5 * max(abs(least), 1.0))  # as far as rounding may go
    assert unlikely[7] or not np.isfinite(found[7])
    assert f"{int(unlikely.sum())} of 60 rows" in shown
    assert f"less likely than any of the {len(held)} held-out rows" in shown
    assert "3 of 60 rows hold a number out of its column's range" in shown
    assert "row 7: " in shown
    assert "column 'height' holds -1e+06, below" in shown.replace("-1000000.0", "-1e+06")
    if not np.isfinite(found).all():
        assert f"{int((~np.isfinite(found)).sum())} of 60 rows have density 0, or one too small" in shown
    rest = np.isfinite(found) & ~unlikely
    assert f"log p is {found[rest].mean():.3f}"[:-1] in shown
    # without what evaluate wrote the table itself tells the same
    record = json.loads(Path("runs/people/evaluation.json").read_text())["held_out"]
    assert record["num_rows"] == len(held)
    assert record["least_log_prob"] == pytest.approx(least, rel=1e-5)
    Path("runs/people/evaluation.json").unlink()
    again = " ".join(succeeds(call("evaluate", "runs/people", "--data", "new.csv")).split())
    assert f"{int(unlikely.sum())} of 60 rows" in again


def test_cells_that_are_no_numbers_are_named_and_count_as_no_number_out_of_range(call: Call) -> None:
    mass = pa.array(np.random.default_rng(4).normal(70, 10, 300))
    table = people().select(["height"]).append_column("mass", mass)
    csv.write_csv(table, "people.csv")
    maf = ("--set", "model.name=maf", "--set", "model.hidden=[8]", "--set", "train.epochs=1")
    succeeds(call("train", "people.csv", *maf))
    lines = ["height,mass", *(f"{row['height']},{row['mass']}" for row in table.slice(0, 60).to_pylist())]
    lines[1], lines[6], lines[8], lines[10] = "1e6,70", "tall,70", "-1e6,70", "170,"
    Path("new.csv").write_text("\n".join(lines) + "\n")
    for written in (False, True):  # with the held-out rows of the table itself, and those that evaluate has written
        shown = " ".join(succeeds(call("evaluate", "runs/people", "--data", "new.csv", "-o", "new_scores.csv")).split())
        found = scores("new_scores.csv")
        assert np.isneginf(found[[5, 9]]).all()
        assert "2 of 60 rows hold a number out of its column's range" in shown
        assert "row 5: column 'height' holds 'tall', no number" in shown
        assert "row 9: column 'mass' has no value" in shown
        assert "their combination is rare" not in shown
        if not written:
            succeeds(call("evaluate", "runs/people", "--no-figures"))
    del lines[10], lines[6]
    Path("rest.csv").write_text("\n".join(lines) + "\n")
    succeeds(call("evaluate", "runs/people", "--data", "rest.csv", "-o", "rest.csv.gz"))
    assert np.delete(found, [5, 9]) == pytest.approx(scores("rest.csv.gz"), rel=1e-5)


def test_without_held_out_rows_it_says_so(call: Call) -> None:
    csv.write_csv(people(), "people.csv")
    succeeds(call("train", "people.csv", "--set", "model.name=mixture", "--set", "train.epochs=1"))
    Path("people.csv").rename("elsewhere.csv")
    result = call("evaluate", "runs/people", "--data", "elsewhere.csv")
    assert "less likely than" not in succeeds(result)
    assert "warning: rows far out are not counted, for want of held-out rows: " in result.stderr
    assert "mean over 300 rows of 3 columns" in result.stdout


def test_the_words_say_what_is_a_probability(call: Call) -> None:
    csv.write_csv(people(), "people.csv")
    mixture = ("--set", "model.name=mixture", "--set", "train.epochs=1")
    succeeds(call("train", "people.csv", *mixture))
    both = " ".join(succeeds(call("evaluate", "runs/people", "--no-figures", "-o", "held.csv")).split())
    held = csv.read_csv("held.csv")
    for name in held.column_names:
        values = held[name].to_numpy()
        assert f"{values.mean():.4f}"[:-2] in both
        assert f"± {values.std(ddof=1) / len(values) ** 0.5:.4f}"[:-2] in both
    assert "times a density of what is real, per unit" in both
    succeeds(call("train", "people.csv", *mixture, "--drop", "height", "--overwrite"))
    alone = " ".join(succeeds(call("evaluate", "runs/people", "--no-figures")).split())
    assert "that of a probability" in alone
    assert "log density" not in alone
    succeeds(call("train", "people.csv", *mixture, "--context", "city", "--overwrite"))
    assert "log p given 'city' is" in succeeds(call("evaluate", "runs/people", "--no-figures"))
