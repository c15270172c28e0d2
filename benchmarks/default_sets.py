"""Ten tables of real columns, each by name and seed: five drawn by code or read from a census, five of scikit-learn.

All columns count as real numbers, whole counts and grey levels too, without noise: densities are in file units.
Values that repeat (`ties`) have no density, and a model that narrows on them wins without bound. What keeps the
comparison finite is the least deviation that each model allows; `ties` says where that can matter.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np

TABLES = Path(__file__).parents[2] / "shared/data/tables"
HELD_OUT = 0.2
CENSUS_ROWS = 4_000
CENSUS_CAP, AGE_CAP = 15.0001, 52.0  # of median income in 10,000 dollars, and of the houses' age in years


def moons(seed: int) -> np.ndarray:
    """Two half circles with noise 0.1: (2000, 2)."""
    from sklearn.datasets import make_moons

    return np.asarray(make_moons(2_000, noise=0.1, random_state=seed)[0])


def swiss_roll(seed: int) -> np.ndarray:
    """A rolled sheet with noise 0.5: (2000, 3)."""
    from sklearn.datasets import make_swiss_roll

    return np.asarray(make_swiss_roll(2_000, noise=0.5, random_state=seed)[0])


def blobs(seed: int) -> np.ndarray:
    """Six normal clusters, each with correlations of its own, and unequal shares: (2000, 5)."""
    rng = np.random.default_rng([seed, 0])
    centres = rng.uniform(-6, 6, (6, 5))
    mixings = rng.normal(size=(6, 5, 5)) * rng.uniform(0.45, 1.15, (6, 1, 1))
    kind = rng.choice(6, 2_000, p=np.arange(1, 7) / 21)
    return centres[kind] + np.einsum("nij,nj->ni", mixings[kind], rng.standard_normal((2_000, 5)))


def orders(seed: int) -> np.ndarray:
    """Orders of small buyers and of firms: amount, items, days since the last one, discount, weight: (3000, 5).

    Lognormal and Pareto tails; the items are a count made real by a lognormal factor, so no value repeats.
    """
    rng = np.random.default_rng([seed, 1])
    n = 3_000
    firm = rng.random(n) < 0.2
    items = (1 + rng.poisson(np.where(firm, 12, 1.5), n)) * rng.lognormal(0, 0.1, n)
    price = np.where(firm, rng.lognormal(2.2, 0.5, n), 8 * (1 + rng.pareto(2.5, n)))
    days = np.where(firm, rng.normal(30, 4, n), rng.exponential(60, n))
    discount = rng.beta(2, np.where(firm, 8, 30), n)
    amount = items * price * (1 - discount)
    return np.stack([amount, items, days, discount, 0.4 * items**0.9 * rng.lognormal(0, 0.6, n)], 1)


def census(seed: int) -> np.ndarray:
    """Blocks of California of 1990, some drawn by seed: (4000, 8). FileNotFoundError where the file is not.

    Median income in 10,000 dollars, age of the houses, rooms and bedrooms a household, people, people a household,
    latitude, longitude: what scikit-learn's `fetch_california_housing` gives, of the blocks without blanks.
    """
    with gzip.open(TABLES / "california_housing.csv.gz", "rt", newline="") as file:
        lines = [line for line in csv.DictReader(file) if all(line.values())]
    names = "median_income housing_median_age total_rooms total_bedrooms population households latitude longitude"
    income, age, rooms, bedrooms, people, households, north, east = np.array(
        [[float(line[name]) for name in names.split()] for line in lines]
    ).T
    rows = [income, age, rooms / households, bedrooms / households, people, people / households, north, east]
    return np.stack(rows, 1)[np.random.default_rng(seed).permutation(len(income))[:CENSUS_ROWS]]


def census_like(seed: int) -> np.ndarray:
    """Drawn with the traits of `census`, where its file is not: two regions, heavy tails, caps: (4000, 8)."""
    rng = np.random.default_rng([seed, 2])
    n = CENSUS_ROWS
    south = rng.random(n) < 0.6
    north = np.where(south, rng.normal(34.0, 0.5, n), rng.normal(37.8, 0.9, n))
    east = np.where(south, -118.2, -121.8) - 0.8 * (north - np.where(south, 34.0, 37.8)) + 0.3 * rng.standard_normal(n)
    income = np.clip(rng.lognormal(1.25, 0.45, n), 0.4999, CENSUS_CAP)
    age = np.clip(np.round(rng.normal(29, 13, n)), 1, AGE_CAP)
    rooms = 4.2 * (income / 3.5) ** 0.35 * rng.lognormal(0, 0.2, n) * (1 + 0.02 * rng.pareto(1.5, n))
    bedrooms = 1.03 * rng.lognormal(0, 0.06, n) * (1 + 0.02 * rng.pareto(1.5, n))
    people = np.round(rng.lognormal(7.05, 0.65, n) * (1 + 0.02 * rng.pareto(1.5, n)))
    together = 2.85 * rng.lognormal(0, 0.2, n) * (1 + 0.01 * rng.pareto(1.2, n))
    return np.stack([income, age, rooms, bedrooms, people, together, north, east], 1)


def california(seed: int) -> np.ndarray:
    """The census where its file is, else what is drawn like it: (4000, 8); `source` says which."""
    return census(seed) if _has_census() else census_like(seed)


def iris(seed: int) -> np.ndarray:
    """scikit-learn's: (150, 4)."""
    return _bundled("iris")


def wine(seed: int) -> np.ndarray:
    """scikit-learn's: (178, 13)."""
    return _bundled("wine")


def breast_cancer(seed: int) -> np.ndarray:
    """scikit-learn's: (569, 30)."""
    return _bundled("breast_cancer")


def digits(seed: int) -> np.ndarray:
    """scikit-learn's, the 61 pixels that vary, in grey levels 0 to 16: (1797, 61)."""
    rows = _bundled("digits")
    return rows[:, (rows != rows[0]).any(0)]


def diabetes(seed: int) -> np.ndarray:
    """scikit-learn's in the units as measured, without the two-valued column `sex`: (442, 9)."""
    return np.delete(_bundled("diabetes", scaled=False), 1, 1)


SETS: dict[str, Callable[[int], np.ndarray]] = {
    each.__name__: each
    for each in (moons, swiss_roll, blobs, california, orders, iris, wine, breast_cancer, digits, diabetes)
}


def rows_of(name: str, seed: int = 0) -> np.ndarray:
    """A table of `SETS`, (N, D) in float64; those of scikit-learn are the same for every seed."""
    return np.ascontiguousarray(SETS[name](seed), dtype=np.float64)


def split(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on, and the fifth that is held out, drawn by seed.

    Columns that are constant in the rows to train on are left out of both: nothing real can be learned of them, and one
    other value among the held-out rows would decide all. Among the digits some pixels are lit in 1 row of 1797.
    """
    order = np.random.default_rng([seed, 3]).permutation(len(rows))
    held_out = round(HELD_OUT * len(rows))
    train, test = rows[order[held_out:]], rows[order[:held_out]]
    varies = (train != train[0]).any(0)
    return train[:, varies], test[:, varies]


def source(name: str) -> str:
    """Where a table is from: "scikit-learn", "census" or "drawn"."""
    if name in ("iris", "wine", "breast_cancer", "digits", "diabetes"):
        return "scikit-learn"
    return "census" if name == "california" and _has_census() else "drawn"


def ties(rows: np.ndarray) -> tuple[float, float]:
    """The share of cells whose value stands in another row of the column too, and the most of a column at one value.

    >>> ties(np.array([[1.0, 0.1], [1.0, 0.2], [2.0, 0.3], [1.0, 0.4]]))
    (0.375, 0.75)
    """
    counts = [np.unique(column, return_counts=True)[1] for column in rows.T]
    tied = sum(int(each[each > 1].sum()) for each in counts)
    return tied / rows.size, max(int(each.max()) for each in counts) / len(rows)


def _bundled(name: str, **options: bool) -> np.ndarray:
    from sklearn import datasets

    return np.asarray(getattr(datasets, f"load_{name}")(**options).data)


def _has_census() -> bool:
    return (TABLES / "california_housing.csv.gz").is_file()
