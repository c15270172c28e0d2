"""The comparison on real tables: paired differences, tests of samples, what is kept, and what is said."""

from __future__ import annotations

import math
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from drawn_tables import orders, reals, the_task
from torch import Tensor

from benchmarks import kept
from benchmarks.tables import measured, page, sets, standing, studies
from benchmarks.tables.beside import Beside
from benchmarks.tables.fitted import CannotTake, Fitted
from benchmarks.tables.measure import FOLDS, Task, split
from benchmarks.tables.membership import membership
from benchmarks.tables.paired import difference, over_parts, verdict
from benchmarks.tables.two_sample import plain, together, two_sample


def test_the_command_keeps_its_record_and_page_and_refuses_a_trial_in_the_committed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MARGINFLOW_PRODUCTS", "torch")  # as the command would
    output = tmp_path / "record.json"

    def run(*arguments: str) -> None:
        monkeypatch.setattr("sys.argv", ["tables", *arguments])
        runpy.run_module("benchmarks.tables", run_name="__main__")

    threads = torch.get_num_threads()
    run("--tables", "synthetic", "--rows", "200", "--models", "independent,normals", "--output", str(output))
    torch.set_num_threads(threads)
    table = kept.read(output)["tables"]["synthetic"]
    assert len(table["parts"]) == FOLDS
    assert all("log_p" in each["models"]["independent"] for each in table["parts"].values())
    said = capsys.readouterr().out
    assert "A trial on at most 200 rows" in said
    assert output.with_suffix(".md").read_text() in said
    for wrong in (["--rows", "200"], ["--as", "wide"], ["--set", "model.orders=2", "--output", "x.json"]):
        with pytest.raises(SystemExit):
            run(*wrong)
    assert "give --output FILE.json" in capsys.readouterr().err


def test_studies_are_kept_and_each_setting_stands_beside_the_one_it_comes_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARGINFLOW_PRODUCTS", "torch")
    quick = ("model.hidden=[8]", "train.epochs=1")
    two = {studies.AS_IT_COMES: (*quick, "model.orders=2"), "one order": (*quick, "model.orders=1")}
    settings = {**two, studies.WITHOUT_ATOMS: two[studies.AS_IT_COMES]}
    monkeypatch.setitem(studies.TABLES, "synthetic", settings)
    output, threads = tmp_path / "record.json", torch.get_num_threads()
    monkeypatch.setattr(
        "sys.argv", ["tables", "--studies", "--tables", "synthetic", "--rows", "200", "--output", str(output)]
    )
    runpy.run_module("benchmarks.tables", run_name="__main__")
    torch.set_num_threads(threads)
    table = kept.read(output)["tables"]["synthetic"]
    assert all(set(part["models"]) == set(settings) for part in table["parts"].values())
    beside = [Beside(output, "synthetic", part).log_probs() for part in range(FOLDS)]
    gains = [each["one order"] - each[studies.AS_IT_COMES] for each in beside]
    line = next(line for line in output.with_suffix(".md").read_text().splitlines() if line.startswith("| one order |"))
    assert f"{np.concatenate(gains).mean():+.3f} ± " in line
    assert any((each[studies.WITHOUT_ATOMS] != each[studies.AS_IT_COMES]).any() for each in beside)
    parameters = [[part["models"][each]["parameters"] for each in two] for part in table["parts"].values()]
    assert all(several > one for several, one in parameters)


def test_differences_and_their_errors_by_hand() -> None:
    own, other = np.array([3.0, 5.0, 7.0, 1.0]), np.array([2.0, 2.0, 2.0, -np.inf])
    found = difference(own, other)
    assert (found["gain"], found["rows"]) == (3.0, 3)  # of 1, 3, 5
    assert found["standard_error"] == pytest.approx(2 / math.sqrt(3))
    assert verdict(found) == "ahead"  # the other gives a row no probability
    assert verdict(difference(own[:3], other[:3])) == "ahead"  # 2.6 standard errors
    assert verdict(difference(other[:3], own[:3])) == "behind"
    assert verdict(difference(other, own)) == "behind"
    assert verdict(difference(own[:2], other[:2])) == "level"  # 2 +- 1
    part = {"gain": 1.0, "standard_error": 0.3, "rows": 100, "own_outside": 0, "other_outside": 0}
    rows = over_parts([part, part, part])
    assert rows["standard_error"] == pytest.approx(0.3 / math.sqrt(3))  # means do not vary
    both = over_parts([part, {**part, "gain": 3.0, "rows": 200}])
    assert both["gain"] == pytest.approx(7 / 3)
    assert both["standard_error"] == pytest.approx(1.0)  # they do
    assert verdict(both) == "ahead"
    assert verdict({**both, "gain": 2.0}) == "level"


def test_trees_tell_other_rows_apart_and_not_the_same() -> None:
    rng = np.random.default_rng(0)
    rows, same = ({"x": rng.standard_normal(600), "y": rng.choice(["a", "b"], 600).astype(object)} for _ in range(2))
    other = {"x": rows["x"] + 3, "y": rows["y"]}
    levels = {"x": same["x"], "y": np.where(rng.random(600) < 0.9, "a", None)}
    assert abs(two_sample(same, rows, seeds=2)["auc"] - 0.5) < 0.06  # pyright: ignore
    assert two_sample(other, rows, seeds=2)["auc"] > 0.9  # pyright: ignore
    found = two_sample(levels, rows, seeds=2)
    assert found is not None
    assert found["auc"] > 0.7
    assert found["scale"] == pytest.approx(2 * (1 - found["auc"]))
    assert two_sample({"x": np.zeros(10)}, {"x": np.zeros(10)}) is None


def test_rows_of_several_schemas_stand_together_as_in_the_file() -> None:
    tasks = [the_task(orders(200), part) for part in range(2)]
    found = together([plain(task.test, task.schema) for task in tasks])
    whole = {name: column.to_pylist() for name, column in orders(200).items()}
    rows = np.concatenate([split(200, part)[2] for part in range(2)])
    assert found["shop"].tolist() == [whole["shop"][i] for i in rows]
    assert found["items"].tolist() == [whole["items"][i] for i in rows]


def test_membership_by_counting_pairs() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.integers(0, 9, 40).astype(float), rng.integers(0, 7, 30).astype(float)
    pairs = [(a > b) + 0.5 * (a == b) for a in inside for b in outside]
    assert membership(inside, outside) == pytest.approx(np.mean(pairs))


class Constant:
    """A density whose log p is given."""

    def __init__(self, value: float) -> None:
        self.value = value

    def log_prob(self, x: Tensor) -> np.ndarray:
        return np.full(len(x), self.value) + x[:, 2].numpy() * self.value / 100

    def sample(self, number: int, seed: int) -> Tensor:
        return torch.zeros(number, 4, dtype=torch.float64)


def test_a_later_call_goes_on_where_the_first_one_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def model(name: str, value: float) -> Callable[[Task], Fitted]:
        def fit(task: Task) -> Fitted:
            calls.append(name)
            if name == "broken" and calls.count("broken") == 2:
                raise RuntimeError("no memory")
            if name == "kernels":
                raise CannotTake("levels")
            return Fitted(Constant(value), {"components": 3})

        return fit

    monkeypatch.setitem(
        sets.SETS, "moons", sets.TableSet(draw=lambda: {**orders(300), "rate": pa.chunked_array([reals()[:, 0]])})
    )
    monkeypatch.setattr("benchmarks.tables.two_sample.SEEDS", 1)
    output = tmp_path / "results" / "record.json"
    models = {"ours": model("ours", -1.0), "kernels": model("kernels", 0.0), "broken": model("broken", -2.0)}
    measured.measure(output, "moons", {"ours": models["ours"]}, 3)
    assert calls == ["ours"] * FOLDS
    measured.measure(output, "moons", models, 3)
    assert calls.count("ours") == FOLDS
    assert [calls.count(each) for each in ("kernels", "broken")] == [FOLDS, FOLDS]
    table = kept.read(output)["tables"]["moons"]
    assert [each["models"]["broken"].get("failed") for each in table["parts"].values()].count(None) == FOLDS - 1
    assert standing.why_not(table, "kernels") == "levels"
    measured.measure(output, "moons", models, 3)
    assert [calls.count(each) for each in ("ours", "kernels", "broken")] == [FOLDS, FOLDS, FOLDS + 1]  # it failed once
    table = kept.read(output)["tables"]["moons"]
    found = standing.beside(table, "ours", "broken")
    assert found is not None
    items = np.array(sets.columns_of("moons")["items"].to_pylist())
    assert found["gain"] == pytest.approx(1 + items.mean() / 100)  # of all rows, each once
    assert (found["verdict"], found["rows"], found["parts"]) == ("ahead", len(items), FOLDS)
    assert table["two_sample"]["all"]["ours"]["auc"] > table["two_sample"]["all"]["real rows"]["auc"]
    with pytest.raises(ValueError, match="give another --output"):
        measured.measure(output, "moons", models, 3, most=100)


def _record() -> dict[str, Any]:
    gain = {"gain": 1.0, "standard_error": 0.1, "rows": 100, "own_outside": 0, "other_outside": 0}
    models = {
        "ours": {"log_p": -5.0, "outside": 0, "membership": 0.5, "seconds": 61.0, "chosen": "maf"},
        "independent": {"log_p": -6.0, "outside": 0, "membership": 0.5, "seconds": 1.0},
        "mixture": {"log_p": -5.0, "outside": 1, "membership": 0.5, "seconds": 2.0},
        "kernels": {"reason": "levels: 3"},
    }
    about = {
        "rows": 1_000,
        "dropped": {"id": "a number"},
        "role": "counted",
        "real": False,
        "folds": False,
        "at_most": None,
    }
    part = {
        "about": {"kinds": {"category": 2}, "left_out": 3}, "models": models,
        "paired": {"ours": {"independent": gain, "mixture": {**gain, "gain": 0.1}}},
    }  # fmt: skip
    test = {"auc": 0.6, "deviation": 0.0, "scale": 0.8, "rows": 100}
    tests = {"ours": test, "mixture": {**test, "scale": 0.7}, "real rows": {**test, "auc": 0.5}}
    adult = {
        "about": about,
        "parts": {"0": part},
        "two_sample": {"0": tests},
    }
    return {"tables": {"adult": adult, "bike": {"about": about}}, "skipped": {"protein": "no file"}}


def test_the_page_says_where_a_mixture_is_enough_and_what_was_asked() -> None:
    said = page.page(_record())
    assert "| adult | -5.00 | -6.00 | -5.00 (1 rows p = 0) |" in said
    assert "| adult | +1.000 ± 0.100 | +0.100 ± 0.100 | product mixture | level |" in said
    assert "On adult ours is not ahead of product mixture, which is enough" in said
    assert "ahead on 0, level on 1, behind on 0 of 1 counted tables" in said
    assert "Two-sample AUC on adult: 0.600, asked at most 0.53, not met" in said
    assert "nearer to 0.5 than every baseline's on 1 of 1 counted tables" in said
    assert "protein skipped: no file." in said
    assert "bike" not in said


def test_a_dash_says_why_where_another_table_has_the_model() -> None:
    record = _record()
    other = {**record["tables"]["adult"]["parts"]["0"]["models"], "kernels": {"log_p": -1.0, "outside": 0}}
    part = {**record["tables"]["adult"]["parts"]["0"], "models": other}
    record["tables"]["bike"]["parts"] = {"0": part}
    said = page.page(record)
    assert "| adult | -5.00 | -6.00 | -5.00 (1 rows p = 0) | - |" in said
    assert "- kernels, adult: levels: 3." in said
