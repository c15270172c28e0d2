"""The tables: where they are, what their columns are called, what is left out and why; repeated rows are dropped.

Cells are as the files have them: what a column is, the library's own inference says (`measure`). Columns are named
where a file has no header. Four tables are for choosing settings, the others are run once at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from marginflow.data.tables.cells import Texts
from marginflow.data.tables.dialect import Asked
from marginflow.data.tables.read import read

FOLDER = Path("../shared/data/tables")
ROWS_OF_FLIGHTS = 50_000
Columns = dict[str, Any]  # by name: cells of text, or a column of Arrow


@dataclass(frozen=True)
class TableSet:
    """A table of the comparison.

    Attributes:
        files: in the folder, rows behind rows; none of what is drawn.
        names: of the columns of a file without header, with blanks between.
        headed: whether a file has a header; columns without names are x0, x1, ...
        dropped: columns that are left out, each with the reason.
        most: rows that are drawn of it, by seed 0; None takes all.
        mend: changes cells before anything else.
        draw: makes the table by seed 0 where it has no file.
        real: whether all columns count as real numbers, whatever their values tell.
        role: "counted" among the eleven, "beside" them, or "settings", for choosing those.
    """

    files: tuple[str, ...] = ()
    names: str = ""
    headed: bool = True
    dropped: Mapping[str, str] = field(default_factory=dict)
    most: int | None = None
    mend: Callable[[Columns], Columns] = lambda columns: columns
    draw: Callable[[], Columns] | None = None
    real: bool = False
    role: str = "counted"


def _without_dots(columns: Columns) -> Columns:
    """Adult's labels, which end in a dot in the file of test rows."""
    cells = columns["income"]
    return {**columns, "income": Texts(pc.utf8_rtrim(cells.cells, "."), cells.decimal, cells.thousands)}  # pyright: ignore[reportAttributeAccessIssue]


def _moons() -> Columns:
    from benchmarks.default_sets import moons

    return {name: pa.chunked_array([column]) for name, column in zip("xy", moons(0).T, strict=True)}


def _synthetic() -> Columns:
    """Orders that are made up: levels, counts, prices on a grid with a spike, a rate with blanks, its law known."""
    rng = np.random.default_rng(0)
    n = 4_000
    kind = rng.choice(4, n, p=(0.4, 0.3, 0.2, 0.1))
    items = 1 + rng.poisson(np.array([0.5, 2, 5, 20])[kind])
    price = np.round(items * rng.lognormal(np.array([1.0, 2.0, 2.5, 3.0])[kind], 0.4), 2)
    price[rng.random(n) < 0.15] = 0.0
    rate = rng.normal(kind, 0.5) + 0.01 * items
    blank = rng.random(n) < np.array([0.05, 0.05, 0.3, 0.6])[kind]
    return {
        "kind": pa.chunked_array([np.array(["a", "b", "c", "d"])[kind].tolist()]),
        "items": pa.chunked_array([items]),
        "price": pa.chunked_array([price]),
        "rate": pa.chunked_array([pa.array(rate, mask=blank)]),
        "late": pa.chunked_array([rng.random(n) < np.where(items > 4, 0.5, 0.1)]),
    }


def _people() -> Columns:
    """People that are made up, many rows: levels, a count with a spike, decimals that depend on each other."""
    rng = np.random.default_rng(0)
    n = 50_000
    kind = rng.choice(3, n, p=(0.5, 0.3, 0.2))
    a = rng.normal(size=n) * (1 + kind)
    b = rng.gamma(2 + kind, 1, n)
    c = np.sin(2 * a) + 0.3 * rng.normal(size=n) * (1 + 0.5 * np.tanh(b))
    d = np.exp(0.5 * a + 0.2 * rng.normal(size=n))
    job = np.clip((2 * kind + a + 1.5 * rng.normal(size=n) + 4).astype(int), 0, 13)
    school = np.clip((job / 2 + 2 * rng.normal(size=n)).astype(int), 0, 9)
    state = rng.choice(30, n, p=rng.dirichlet(np.full(30, 0.4)))
    married = (rng.random(n) < 0.3 + 0.05 * school) + rng.integers(0, 2, n) * (b > 3)
    gain = np.where(rng.random(n) < 0.9, 0, np.round(np.exp(6 + 0.3 * school + 0.5 * rng.normal(size=n))))
    levels = {"job": job, "school": school, "state": state, "married": married}
    numbers = {
        "gain": gain.astype(int), "age": np.clip(np.round(30 + 8 * a + 2 * school), 17, 90).astype(int),
        "a": np.round(a, 2), "b": np.round(b, 2), "c": np.round(c, 2), "d": np.round(d, 2),
        "product": np.round(b * d * rng.lognormal(0, 0.1, n), 1),
        "either": np.round(np.where(kind == 1, a * b, c - b) + 0.1 * rng.standard_t(4, n), 2),
        "share": np.round(rng.beta(1 + b, 2 + kind), 3),
    }  # fmt: skip
    named = {name: np.char.add("l", each.astype(int).astype(str)).tolist() for name, each in levels.items()}
    return {name: pa.chunked_array([pa.array(each)]) for name, each in (named | numbers).items()}


ADULT = (
    "age workclass fnlwgt education education-num marital-status occupation relationship race sex capital-gain "
    "capital-loss hours-per-week native-country income"
)
GERMAN = (
    "status duration history purpose amount savings employment rate personal debtors residence property age plans "
    "housing credits job dependants telephone foreign risk"
)
COLIC = (
    "surgery age hospital temperature pulse respiration extremities peripheral_pulse membranes refill pain peristalsis "
    "distension tube reflux reflux_ph faeces abdomen cell_volume protein appearance fluid_protein outcome lesion "
    "lesion_1 lesion_2 lesion_3 data"
)
ABALONE = "sex length diameter height whole shucked viscera shell rings"
_ADULT_FILES = ("adult-train.csv.gz", "adult-test.csv.gz")
_SAME_TIME = "a function of sched_dep_time"
SETS: dict[str, TableSet] = {
    "moons": TableSet(draw=_moons, role="settings"),
    "abalone": TableSet(("abalone.csv",), ABALONE, role="settings"),
    "synthetic": TableSet(draw=_synthetic, role="settings"),
    "people": TableSet(draw=_people, role="settings"),
    "adult": TableSet(_ADULT_FILES, ADULT, mend=_without_dots),
    "adult without fnlwgt": TableSet(
        _ADULT_FILES, ADULT, dropped={"fnlwgt": "a weight of the census"}, mend=_without_dots, role="beside"
    ),
    "flights": TableSet(
        ("nycflights13_flights.parquet",), dropped={
            "year": "constant", "hour": _SAME_TIME, "minute": _SAME_TIME, "time_hour": f"{_SAME_TIME} and the day",
            "tailnum": "4,000 levels, near an identifier",
        }, most=ROWS_OF_FLIGHTS,
    ),
    "california": TableSet(("california_housing.csv.gz",)),
    "diamonds": TableSet(("diamonds.csv.gz",)),
    "birdstrikes": TableSet(("birdstrikes.csv.gz",), dropped={"Cost Total $": "the sum of two others"}),
    "german": TableSet(("german.csv",), GERMAN),
    "horse colic": TableSet(("horse-colic.csv",), COLIC, dropped={"hospital": "the number of a patient"}),
    "penguins_raw": TableSet(("penguins_raw.csv",)),
    "protein": TableSet(("protein.csv.gz",), headed=False, real=True),
    "concrete": TableSet(("concrete.csv.gz",), headed=False),
    "bike": TableSet(("bike.csv.gz",), headed=False),
}  # fmt: skip


def missing(name: str) -> str | None:
    """Why a table cannot be read here; None where it can."""
    absent = [str(FOLDER / each) for each in SETS[name].files if not (FOLDER / each).is_file()]
    return f"{', '.join(absent)} not there" if absent else None


def columns_of(name: str, most: int | None = None) -> Columns:
    """The columns of a table, its repeated rows dropped, at most so many rows."""
    about = SETS[name]
    draw = about.draw or (lambda: _joined([_read(FOLDER / each, about) for each in about.files]))
    found = about.mend(draw())
    found = {column: cells for column, cells in found.items() if column not in about.dropped}
    some = _some(found, about.most)
    return _some(take(some, _first_of_each(some)), most)


def take(columns: Columns, rows: np.ndarray) -> Columns:
    """Some rows of a table."""
    index = pa.array(rows)
    return {name: _with_cells(column, _cells(column).take(index)) for name, column in columns.items()}


def size_of(columns: Columns) -> int:
    """The number of rows of a table."""
    return len(next(iter(columns.values())))


def _some(columns: Columns, most: int | None) -> Columns:
    rows = size_of(columns)
    if most is None or rows <= most:
        return columns
    return take(columns, np.sort(np.random.default_rng(0).permutation(rows)[:most]))


def _first_of_each(columns: Columns) -> np.ndarray:
    """The first row of each group of rows whose cells are the same."""
    codes = [_cells(column).combine_chunks().dictionary_encode() for column in columns.values()]
    places = np.stack([each.indices.fill_null(-1).to_numpy(zero_copy_only=False) for each in codes], 1)
    return np.sort(np.unique(places, axis=0, return_index=True)[1])


def _read(path: Path, about: TableSet) -> Columns:
    if path.suffix == ".parquet":
        return read(path).columns
    named = about.names.split()
    found = read(path, Asked(header=None if about.headed and not named else False)).columns
    return dict(zip(named, found.values(), strict=True)) if named else found


def _joined(tables: list[Columns]) -> Columns:
    """Rows behind rows."""
    first = tables[0]
    return {
        name: _with_cells(column, pa.chunked_array([c for each in tables for c in _cells(each[name]).chunks]))
        for name, column in first.items()
    }


def _cells(column: Any) -> pa.ChunkedArray:
    return column.cells if isinstance(column, Texts) else column


def _with_cells(column: Any, cells: pa.ChunkedArray) -> Any:
    return Texts(cells, column.decimal, column.thousands) if isinstance(column, Texts) else cells
