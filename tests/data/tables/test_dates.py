"""Dates and times in text against the datetime module: read as what they are, written back as they were."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marginflow.data.tables.dates import Form, form_of

MOMENTS = [datetime(1969, 12, 31, 23, 59, 58), datetime(1999, 1, 9, 0, 5), datetime(2024, 2, 29, 12, 30, 1)]
MOMENTS += [datetime(2013, 5, day, 13, 7, 59) for day in range(1, 32)]
# the form found, and how datetime writes the same
FORMS = {
    "%Y-%m-%d": "%Y-%m-%d", "%Y/%m/%d": "%Y/%m/%d", "%d/%m/%Y": "%d/%m/%Y", "%m/%d/%Y": "%m/%d/%Y",
    "%-m/%-d/%Y": "%-m/%-d/%Y", "%d.%m.%Y": "%d.%m.%Y", "%-d.%-m.%Y": "%-d.%-m.%Y", "%d-%m-%Y": "%d-%m-%Y",
    "%d-%b-%Y": "%d-%b-%Y", "%-d %B %Y": "%-d %B %Y", "%b %-d, %Y": "%b %-d, %Y", "%B %d, %Y": "%B %d, %Y",
    "%Y-%m-%d %H:%M:%S": "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ": "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%d %H:%M:%S+02:00": "%Y-%m-%d %H:%M:%S+02:00", "%-m/%-d/%Y %-H:%M": "%-m/%-d/%Y %-H:%M",
    "%Y-%m-%d %H:%M:%S.%6f": "%Y-%m-%d %H:%M:%S.%f", "%m/%d/%Y %I:%M %p": "%m/%d/%Y %I:%M %p",
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_column_of_dates_is_read_and_written_as_datetime_does(form: str) -> None:
    cells = pa.array([each.strftime(FORMS[form]) for each in MOMENTS])
    found = form_of(cells)
    assert found is not None
    assert found.text == form
    expected = [
        (datetime.strptime(cell, FORMS[form].replace("%-", "%")).replace(tzinfo=None) - datetime(1970, 1, 1))
        / timedelta(seconds=1)
        for cell in cells.to_pylist()
    ]
    np.testing.assert_allclose(found.read(cells), expected, rtol=0, atol=1e-6)
    assert found.write(found.read(cells)).to_pylist() == cells.to_pylist()


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        (["08:30", "23:59"], "%H:%M"),
        (["8:30:15", "12:00:00"], "%-H:%M:%S"),
        (["8:30 AM", "12:05 PM"], "%-I:%M %p"),
        (["10:00:00.125", "10:00:00.250"], "%H:%M:%S.%3f"),
        (["10:00:00.5", "10:00:00.25"], "%H:%M:%S.%f"),
        (["31/12/99", "01/01/00"], "%d/%m/%y"),
    ],
)
def test_times_of_day_and_years_of_two_digits(cells: list[str], form: str) -> None:
    found = form_of(pa.array(cells))
    assert found is not None
    assert found.text == form
    assert found.write(found.read(pa.array(cells))).to_pylist() == cells


@pytest.mark.parametrize(
    "cells",
    [
        ["01/02/2024", "03/04/2024"],  # either may be the day
        ["2024-02-30", "2024-01-01"],
        ["25:00", "08:00"],
        ["2024-01-01", "yesterday"],
        ["2024-01-01", "2024-01-01 08:00"],
        ["1.2", "3.4"],
        ["10:00 XM"],
        ["13:00 PM"],
        [],
    ],
)
def test_what_is_no_date_or_may_be_two_is_text(cells: list[str]) -> None:
    assert form_of(pa.array(cells, pa.string())) is None


def test_the_first_of_several_months_tells_day_from_month() -> None:
    months = [f"01/{month:02}/2024" for month in range(1, 13)]
    found = form_of(pa.array(months))
    assert found is not None
    assert found.text == "%d/%m/%Y"


@given(st.lists(st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31)), min_size=1, max_size=20))
def test_any_moment_survives(moments: list[datetime]) -> None:
    form = Form("%Y-%m-%d %H:%M:%S.%6f")
    cells = pa.array([each.strftime("%Y-%m-%d %H:%M:%S.%f") for each in moments])
    whole = np.array([(each - datetime(1970, 1, 1)) // timedelta(seconds=1) for each in moments])
    assert np.array_equal(
        np.floor(form.read(cells) + 1e-5), np.floor(whole + np.array([m.microsecond for m in moments]) / 1e6 + 1e-5)
    )
    assert Form("%Y-%m-%d %H:%M:%S").write(whole.astype(float)).to_pylist() == [each[:-7] for each in cells.to_pylist()]
