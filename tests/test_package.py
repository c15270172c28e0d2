"""The package's own door: public names, imported lazily; and what one sees before torch is there."""

from __future__ import annotations

import pytest

import marginflow as mf
from marginflow.cli.list import PACKAGE, first_lines
from marginflow.data import DATA_SETS
from marginflow.models import FLOWS, IMAGE_MODELS, MODELS, NOISES


def test_the_public_names_are_all_that_one_sees() -> None:
    assert dir(mf) == sorted(mf.__all__)
    assert set(mf._NAMES) < set(mf.__all__)
    for name in mf.__all__:
        assert getattr(mf, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'flows'"):
        _ = mf.flows


@pytest.mark.parametrize(
    ("file", "table", "functions"),
    [
        ("models/__init__.py", "MODELS", MODELS),
        ("models/__init__.py", "IMAGE_MODELS", IMAGE_MODELS),
        ("models/__init__.py", "NOISES", {name: noise for name, noise in NOISES.items() if name not in FLOWS}),
        ("data/load.py", "DATA_SETS", DATA_SETS),
    ],
)  # fmt: skip
def test_names_read_from_files_are_those_of_the_modules(file: str, table: str, functions: dict) -> None:
    expected = {name: (function.__doc__ or "").strip().splitlines()[0] for name, function in functions.items()}
    assert list(first_lines(PACKAGE / file, table).items()) == list(expected.items())
