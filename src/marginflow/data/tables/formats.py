"""Endings of a table's file: which are read and written, and what to do with others."""

from __future__ import annotations

from pathlib import Path

TEXT = (".csv", ".tsv", ".txt", ".dat")
PACKED = tuple(f"{ending}.gz" for ending in TEXT)
BINARY = (".parquet", ".feather", ".npy")
FORMATS = (*TEXT, *PACKED, *BINARY)
ENDINGS = f"{', '.join((*TEXT, *BINARY))} (the first {len(TEXT)} also as .gz)"  # for messages
_UNPACK = "unpack it first, or compress the text with gzip"
_SAVE = "save the sheet as .csv"
_CONVERT = "write it as .parquet or .csv first"
_REMEDIES = {
    **dict.fromkeys((".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz", ".gz", ".lz4"), _UNPACK),
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), _SAVE),
    **dict.fromkeys((".pkl", ".pickle", ".json", ".jsonl", ".h5", ".hdf5", ".rds", ".rdata", ".sav", ".dta"), _CONVERT),
    **dict.fromkeys((".arrow", ".ipc", ".orc", ".avro", ".npz", ".mat", ".arff", ".sas7bdat", ".db"), _CONVERT),
}


def ending_of(path: Path) -> str:
    """The ending of a file in small letters, with that before .gz."""
    last = path.suffix.lower()
    return Path(path.stem).suffix.lower() + last if last == ".gz" else last


def stem_of(path: Path) -> str:
    """The name of a file without its ending."""
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def is_text(ending: str) -> bool:
    """Whether a file of this ending holds lines of text."""
    return ending in TEXT or ending in PACKED


def require_format(path: Path, what: str = "") -> str:
    """The ending of a table; ValueError for another, with what to do. what: that it may be, by default a table."""
    ending = ending_of(path)
    if ending not in FORMATS:
        remedy = _REMEDIES.get(path.suffix.lower())
        needed = f"be {what}: {ENDINGS}" if what else f"end in {ENDINGS}"
        raise ValueError(
            f"{path} must {needed}; got {ending or 'no ending'!r}{'' if remedy is None else f': {remedy}'}"
        )
    return ending


def require_file(path: Path) -> str:
    """The ending of a table's file; ValueError for another, FileNotFoundError where there is none."""
    ending = require_format(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, or is not a file")
    return ending
