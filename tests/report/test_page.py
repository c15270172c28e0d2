"""The report's page: one file, without network, drawn by a browser, with the numbers of the JSON."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from helpers import evaluated_quickly, fails, run, succeeds
from nasty_names import NASTY

from marginflow.base.literal import literal
from marginflow.report.page import HEIGHT, about_curve, curve, estimate, write_page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# a window of a browser without a screen is never as narrow as a phone, a frame in it is
FRAME = """<!doctype html><iframe src="page.html" width="{width}" height="900"></iframe>
<script>addEventListener("load", () => {{
  const shown = document.querySelector("iframe").contentDocument, window = shown.defaultView;
  shown.querySelectorAll("figure button")[0].click();
  const sizes = [...shown.querySelectorAll("figure img, dialog img")].map(each => each.naturalWidth);
  const lines = [...shown.querySelectorAll("polyline")].map(each => each.getTotalLength());
  const width = window.innerWidth, wide = shown.documentElement.scrollWidth - width;
  const open = shown.querySelector("dialog").open, page = shown.body.innerHTML;
  const out = document.createElement("output"); out.id = "shown";
  out.textContent = JSON.stringify({{sizes, lines, width, wide, open}}); document.body.append(out);
  const copy = document.createElement("div"); copy.innerHTML = page; document.body.append(copy);
}});</script>"""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What reproduce writes of an item with noise, after two epochs."""
    folder = tmp_path_factory.mktemp("report")
    with patch("marginflow.runs.items.items", lambda: {"fig2": evaluated_quickly("fig2")}):
        succeeds(
            run("reproduce", "fig2", "--epochs", "2", "--run-dir", folder / "runs", "--results", folder, "--report")
        )
    return folder / "fig2.json"


class Cells(HTMLParser):
    """The text of table cells that say which number they hold."""

    def __init__(self) -> None:
        super().__init__()
        self.key: str | None = None
        self.found: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.key = dict(attrs).get("data-key") if tag == "td" else None

    def handle_endtag(self, tag: str) -> None:
        self.key = None

    def handle_data(self, data: str) -> None:
        if self.key:
            self.found[self.key] = data


def cells(page: str) -> dict[str, str]:
    parser = Cells()
    parser.feed(page)
    return parser.found


def check_numbers(page: str, result: Path) -> None:
    test: dict[str, Any] = json.loads(result.read_text())["runs"][0]["test"]
    shown = cells(page)
    for key in ("joint_nll", "noise_entropy", "bound", "importance_weighted"):
        value, error = (float(each) for each in shown[key].split(" ± "))
        assert value == pytest.approx(test[key]["value"], abs=5e-4), key
        assert error == pytest.approx(test[key]["standard_error"], abs=5e-4), key
    assert shown["bits_per_dim"] == "-"


def test_the_page_holds_everything_and_the_numbers_of_the_json(result: Path) -> None:
    page = result.with_suffix(".html").read_text()
    check_numbers(page, result)
    outside = [each for each in re.findall(r'(?:src|href)="([^"]*)"', page) if not each.startswith(("data:", "#"))]
    assert outside == []
    assert "http" not in page
    assert "-7.27" in page


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Debian's chromium")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_draws_it_and_enlarges_a_figure(result: Path, tmp_path: Path, width: int) -> None:
    (tmp_path / "page.html").write_bytes(result.with_suffix(".html").read_bytes())
    page = tmp_path / "frame.html"
    page.write_text(FRAME.format(width=width))
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
        "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1300,1000",
        "--virtual-time-budget=5000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<output id="shown">(.*?)</output>', dom)
    assert found, "the page's scripts have not run"
    shown = json.loads(found[1])
    assert all(size > 300 for size in shown["sizes"])
    assert len(shown["sizes"]) == 2
    assert all(length > 50 for length in shown["lines"])
    assert shown["open"]
    assert shown["width"] == width
    assert shown["wide"] <= 0
    check_numbers(dom, result)


def test_a_run_directory_does_as_well(result: Path, tmp_path: Path) -> None:
    directory = result.parent / "runs" / "half_moons_planar_marginal_num_samples_20"
    succeeds(run("report", str(directory), str(result), "-o", str(tmp_path / "both.html")))
    page = (tmp_path / "both.html").read_text()
    assert page.count("<section id=") == 2
    assert [page.count(f'id="section-{number}"') for number in (1, 2)] == [1, 1]
    fails(run("report", directory, result, directory, "-o", tmp_path / "thrice.html"), "a source is named twice")


def test_what_was_trained_on_since_it_was_evaluated_is_refused(result: Path, tmp_path: Path) -> None:
    shutil.copytree(result.parent / "runs" / "half_moons_planar_marginal_num_samples_20", directory := tmp_path / "run")
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"epoch": 3, "train_nll": 9.0, "validation_nll": 9.0, "best": False}) + "\n")
    fails(run("report", directory, "-o", tmp_path / "page.html"), "was trained on since: call marginflow evaluate")
    (directory / "evaluation.json").write_text("{}")
    fails(run("report", directory, "-o", tmp_path / "page.html"), "evaluation.json is damaged")
    (directory / "evaluation.json").unlink()
    fails(run("report", directory, "-o", tmp_path / "page.html"), "was not evaluated: call marginflow evaluate")


def test_one_epoch_is_a_point_and_none_is_nothing() -> None:
    assert curve([{"epoch": 1, "train_nll": 2.0, "validation_nll": None}], "train_nll") == "0.0,0.0"
    assert curve([{"epoch": 1, "train_nll": 2.0, "validation_nll": None}], "validation_nll") == ""
    assert curve([], "train_nll") == ""


def test_what_comes_from_files_is_text(result: Path, tmp_path: Path) -> None:
    record = json.loads(result.read_text())
    record["title"] = "<script>alert(1)</script>"
    (tmp_path / "fig2.png").write_bytes((result.parent / "fig2.png").read_bytes())
    (tmp_path / "fig2.json").write_text(json.dumps(record))
    succeeds(run("report", str(tmp_path / "fig2.json"), "-o", str(tmp_path / "page.html")))
    assert "<script>alert" not in (tmp_path / "page.html").read_text()


def test_what_is_no_result_is_refused_and_nothing_written(result: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    whole = json.loads(result.read_text())
    (run_of_it,) = whole["runs"]
    without_label = {key: value for key, value in run_of_it.items() if key != "label"}
    of_text = {**run_of_it, "test": {**run_of_it["test"], "bound": {"value": "low", "standard_error": 0.1}}}
    other = {**run_of_it, "experiment": {"a": 1}}
    broken = [{**whole, "figures": [], "runs": [each]} for each in (without_label, of_text, other)]
    for text in (b"\xff\xfe", b"{", *(json.dumps(content).encode() for content in ([1], {}, *broken))):
        wrong.write_bytes(text)
        fails(run("report", wrong, "-o", tmp_path / "page.html"), "wrong.json is not a result of reproduce")
    wrong.write_text(json.dumps(whole))
    fails(run("report", wrong, "-o", tmp_path / "page.html"), "fig2.png is missing: put it beside its JSON")
    fails(run("report", str(tmp_path / "none"), "-o", str(tmp_path / "page.html")), "is not a run directory")
    fails(run("report", str(result), "-o", str(tmp_path / "page.pdf")), "must end in .html")
    assert not list(tmp_path.glob("page*"))


def test_estimates_that_are_missing_are_a_dash() -> None:
    assert estimate(None) == "-"


def test_a_bad_epoch_does_not_flatten_the_curve_of_a_page() -> None:
    records = [{"epoch": i, "train_nll": 3 - 0.1 * i, "validation_nll": 2.9 - 0.1 * i} for i in range(1, 9)]
    records[2] |= {"train_nll": 1e6, "validation_nll": math.nan}
    heights = [float(each.split(",")[1]) for each in curve(records, "train_nll").split()]
    assert len(heights) == 8
    assert heights[2] == 0
    assert heights[7] == pytest.approx(HEIGHT * 0.7 / 0.8, abs=0.1)
    assert len(curve(records, "validation_nll").split()) == 7
    told = about_curve(records)
    assert told.startswith("epoch 1 to 8, 2.100 to 2.900 nats")
    assert "1 above, at most 1e+06, at the upper edge" in told
    assert "1 not finite, left out" in told
    assert curve([{"epoch": 1, "train_nll": math.nan}], "train_nll") == ""


def test_estimates_that_are_no_numbers_are_words() -> None:
    assert estimate({"value": math.inf, "standard_error": math.nan}) == "infinity"
    assert estimate({"value": math.nan, "standard_error": 1.0}) == "undefined"


@pytest.mark.parametrize("name", NASTY)
def test_names_are_text_in_a_page(result: Path, tmp_path: Path, name: str) -> None:
    record = json.loads(result.read_text())
    record |= {"title": name, "caption": name, "figures": []}
    record["runs"][0]["label"] = name
    page = write_page({tmp_path / "fig2.json": record}, tmp_path / "page.html").read_text()

    class Headings(HTMLParser):
        found = ""
        inside = False

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.inside = tag == "h2"

        def handle_endtag(self, tag: str) -> None:
            self.inside = False

        def handle_data(self, data: str) -> None:
            self.found += data if self.inside else ""

    parser = Headings()
    parser.feed(page)
    assert parser.found == literal(name)
