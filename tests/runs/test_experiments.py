"""Experiments by name: those at hand, those of the package, and names that are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from marginflow.runs import experiments
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
