"""The public names, imported lazily."""

import subprocess
import sys

import pytest

import marginflow as mf


def test_every_public_name_is_there() -> None:
    for name in mf.__all__:
        assert getattr(mf, name) is not None
        assert name in dir(mf)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'flows'"):
        _ = mf.flows


def test_importing_the_package_imports_no_torch() -> None:
    code = "import marginflow, marginflow.cli, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
