"""Some models at their worst; all of them in stress/extremes.py."""

from __future__ import annotations

import pytest
from stress.extremes import EXTREMES, MAKES, outcome

NAMES = ("planar with noise", "maf with batch norm", "maf_mog", "nsf", "glow", "maf_local")
LARGE = ("planar", "realnvp with noise", "made")
SAYS = {("glow", "weights times 100"): "FloatingPointError: log p is nan at row 0"}
CASES = [(name, extreme) for extreme in EXTREMES for name in (LARGE if extreme == "5,000 features" else NAMES)]


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize(("name", "extreme"), CASES, ids=[f"{name}, {extreme}" for name, extreme in CASES])
@pytest.mark.filterwarnings("ignore:.*miss their noise:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::marginflow.base.data_warning.DataWarning")  # of rows and weights that are extreme
@pytest.mark.filterwarnings("ignore::marginflow.base.data_warning.TrainingWarning")
def test_it_ends_in_numbers_or_in_an_error_that_says_why(name: str, extreme: str) -> None:
    how = outcome(MAKES[name], extreme)
    if (name, extreme) in SAYS:
        assert how.startswith(SAYS[name, extreme])
    else:
        assert how.startswith("finite")
        assert "Error" not in how


@pytest.mark.usefixtures("single")
def test_what_is_silent_is_told_from_what_is_said() -> None:
    with pytest.raises(AssertionError, match="an error that says nothing: 'no'"):
        outcome(lambda features: (_ for _ in ()).throw(ValueError("no")), "one feature")
