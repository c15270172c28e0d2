"""What stays beside a record, in a folder of its name that is not committed: log p of test rows, and rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from benchmarks.tables.two_sample import Plain


@dataclass(frozen=True)
class Beside:
    """The files of a part of a table.

    Attributes:
        output: the record.
        table: its name.
        part: its number.
    """

    output: Path
    table: str
    part: int

    def keep_rows(self, of: str, rows: Plain) -> None:
        """Keep samples of a model, or rows of the table."""
        self._folder.mkdir(parents=True, exist_ok=True)
        parquet.write_table(
            pa.table({name: pa.array(column) for name, column in rows.items()}), self._file(of, "parquet")
        )

    def rows(self, of: str) -> dict[str, np.ndarray] | None:
        """These rows; None where none are kept."""
        file = self._file(of, "parquet")
        if not file.is_file():
            return None
        found = parquet.read_table(file)
        return {name: found[name].to_numpy() for name in found.column_names}

    def keep_log_prob(self, of: str, log_prob: np.ndarray) -> None:
        """Keep log p of the test rows by a model."""
        self._folder.mkdir(parents=True, exist_ok=True)
        np.save(self._file(of, "npy"), log_prob)

    def log_probs(self) -> dict[str, np.ndarray]:
        """Log p of the test rows by every model of which it is kept."""
        start = self._file("", "npy").name.removesuffix(".npy")
        return {each.stem.removeprefix(start): np.load(each) for each in sorted(self._folder.glob(f"{start}*.npy"))}

    @property
    def _folder(self) -> Path:
        return self.output.with_suffix("")

    def _file(self, of: str, ending: str) -> Path:
        return self._folder / f"{self.table.replace(' ', '-')}.{self.part}.{of}.{ending}"
