"""Experiments by name: those at hand, those of the package, and names that are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from marginflow.base.data_warning import DataWarning
from marginflow.runs import experiments
from marginflow.runs.build import load_data
from marginflow.runs.experiments import THESIS, about, at_hand, find, ours
from marginflow.runs.items import items

MINE = "# My own.\n[data]\nname = 'digits'\n[model]\nname = 'planar'\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The experiments/ folder of an empty directory where we are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    return tmp_path / "experiments"


def test_ones_own_come_first_and_the_packages_are_there_too(here: Path) -> None:
    for name in ("half_moons_maf", "thesis", "mine"):
        (here / f"{name}.toml").write_text(MINE)
    found = at_hand()
    assert {found[name].parent.resolve() for name in ("half_moons_maf", "thesis", "mine")} == {here}
    assert about(find(Path("mine"))) == "My own."
    assert find(Path("mnist_maf")) == ours("mnist_maf.toml")
    assert ours("half_moons_maf.toml").parent.resolve() != here


def test_the_list_of_the_thesis_is_no_experiment() -> None:
    assert "thesis" not in at_hand(experiments.FOLDERS[1:])
    with pytest.raises(ValueError, match="lists what marginflow reproduce makes"):
        find(ours(THESIS))


@pytest.mark.parametrize("given", ["mnist_mav", "experiments/mnist_mav.toml", "nowhere/mnist_mav"])
def test_a_name_that_is_none_is_answered_by_the_closest(here: Path, given: str) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"neither a file nor the name of an experiment; did you mean mnist_maf\?"
    ):
        find(Path(given))


def test_a_package_without_its_experiments_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(experiments, "FOLDERS", (tmp_path, tmp_path / "a", tmp_path / "b"))
    with pytest.raises(FileNotFoundError, match=f"{THESIS} is neither in .*a or .*b: install marginflow again"):
        ours(THESIS)


def test_every_item_names_experiments_of_the_package() -> None:
    for item in items().values():
        assert item.title
        for trained in item.trained:
            assert ours(f"{trained.experiment}.toml").is_file()
            assert replace(trained, overrides=("a.b=1",)).run == f"{trained.experiment}_b_1"


def test_several_files_and_a_pattern_are_one_experiment(here: Path, tmp_path: Path) -> None:
    for name in ("year-2020.csv", "year-2019.csv"):
        (tmp_path / name).write_text("x,y\n" + "1.5,2\n" * 50)
    expected = [str(tmp_path / "year-2019.csv"), str(tmp_path / "year-2020.csv")]
    for given in ([Path("year-*.csv")], [Path("year-2019.csv"), Path("year-2020.csv")]):
        assert experiments.read(given, []).data.model_dump()["path"] == expected
        assert experiments.run_name(given) == "year"
    alone = experiments.read([Path("year-2020.csv")], [])
    assert alone.data.model_dump()["path"] == expected[1]
    assert experiments.read(Path("year-2020.csv"), []) == alone
    with pytest.raises(FileNotFoundError, match=r"years-\*.csv fits no file: this folder holds 'year-2019.csv'"):
        experiments.read([Path("years-*.csv")], [])
    with pytest.raises(ValueError, match=r"mine\.md must be a table"):
        experiments.read([Path("year-2020.csv"), Path("mine.md")], [])


def test_a_file_may_name_several_tables_of_its_own_folder(here: Path, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (here / name).write_text("x,y\n" + "1.5,2\n" * 50)
    toml = "[data]\nname = 'table'\npath = {}\n[model]\nname = 'maf'\n"
    (here / "both.toml").write_text(toml.format("['a.csv', 'b.csv']"))
    found = experiments.read(Path("both"), [])
    assert found.data.model_dump()["path"] == [str(here.absolute() / "a.csv"), str(here.absolute() / "b.csv")]
    with pytest.warns(DataWarning, match="is constant"):
        assert len(load_data(found).train.x) == 80
    (here / "pattern.toml").write_text(toml.format("'?.csv'"))
    with pytest.warns(DataWarning, match="is constant"):
        assert len(load_data(experiments.read(Path("pattern"), [])).train.x) == 80
    (here / "away.toml").write_text(toml.format("['a.csv', '../b.csv']"))
    with pytest.raises(ValueError, match=r"data\.path = '\.\./b\.csv' lies outside the folder"):
        experiments.read(Path("away"), [])
