"""The benchmark of tables of any kind: both densities on the same rows, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import visits
from pyarrow import parquet

from benchmarks import mixed


@pytest.mark.filterwarnings("ignore::marginflow.base.data_warning.DataWarning")
def test_a_table_is_modelled_twice_and_its_rows_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed, "COMPONENTS", (1, 2))
    monkeypatch.setattr(mixed, "SAMPLES", 50)
    small = ("model.hidden=[16]", "train.epochs=1", "train.batch_size=100")
    whole = mixed.trained
    monkeypatch.setattr(
        mixed,
        "trained",
        lambda path, seed, *settings: whole(path, seed, *settings, *(small if "model.name=mixed" in settings else ())),
    )
    parquet.write_table(visits(), tmp_path / "visits.parquet")
    found, model, data = mixed.beside_the_mixture(tmp_path / "visits.parquet", 0)
    assert found["gain"] == pytest.approx(found["mixture"] - found["mixed"])
    assert found["rows"] == len(data.test.x)
    assert found["components"] in (1, 2)
    assert mixed.rates(model, data)["log_prob_rows_a_second"] > 0


def test_the_table_names_each_seed_and_what_is_not_there() -> None:
    row = {"seed": 1, "mixed": 27.0, "mixture": 31.0, "components": 512, "gain": 4.0, "standard_error": 0.1,
           "rows": 10, "seconds": 61.2}  # fmt: skip
    rates = {"log_prob_rows_a_second": 51_234.0, "sample_seconds": 2.0}
    record = {"tables": {"diamonds": [row]}, "rates": {"diamonds": rates}, "skipped": {"adult-train": "x is not there"}}
    said = mixed.table(record)
    assert "| diamonds | 1 | 27.000 | 31.000 | 512 | 4.000 ± 0.100 | 3.5 | 61 |" in said
    assert "log p of 51,234 rows a second, 100,000 samples in 2.0 s" in said
    assert "adult-train skipped: x is not there" in said
