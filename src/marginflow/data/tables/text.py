"""The text of a file, decompressed within bounds and decoded: what a table of text is read from."""

from __future__ import annotations

import codecs
import gzip
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from marginflow.base.data_error import DataError
from marginflow.storage.limits import require_expansion

BLOCK = 2**20  # bytes that are decoded at once
GZIP = b"\x1f\x8b"
# of other formats, by their first bytes
_OTHERS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or save the sheet as .csv",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save the sheet as .csv",
    b"BZh": "compressed with bzip2: unpack it, or compress the text with gzip",
    b"\xfd7zXZ": "compressed with xz: unpack it, or compress the text with gzip",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it, or compress the text with gzip",
    b"PAR1": "of the parquet format: let its name end in .parquet",
    b"ARROW1": "of the feather format: let its name end in .feather",
    b"\x93NUMPY": "an array of numpy: let its name end in .npy",
    b"\x89HDF": "of the HDF5 format: write it as .parquet or .csv first",
    b"%PDF": "a PDF: a table of text is needed",
}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class _Bounded(io.RawIOBase):
    """A compressed file whose text may not become far larger than it is."""

    def __init__(self, path: Path) -> None:
        self.path, self.file, self.count = path, gzip.GzipFile(path), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self.file.readinto(buffer)
        self.count += found
        require_expansion(self.path, self.count)
        return found

    def close(self) -> None:
        self.file.close()
        super().close()


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed where gzip compressed them, whatever its name says."""
    with path.open("rb") as file:
        first = file.read(8)
    for start, what in _OTHERS.items():
        if first.startswith(start):
            raise ValueError(f"it is {what}")
    if first.startswith(GZIP):
        with io.BufferedReader(_Bounded(path), BLOCK) as packed:
            yield cast(BinaryIO, packed)
    else:
        with path.open("rb") as file:
            yield file


def encoding_of(sample: bytes, asked: str | None, whole: bool) -> str:
    """The encoding of a text by its first bytes; ValueError for one that is not known, or where it is no text.

    whole: whether there is no more of it.
    """
    if asked is not None:
        try:
            known = codecs.lookup(asked).name
        except LookupError:
            raise ValueError(f"encoding {asked!r} is unknown; there are utf-8, cp1252, latin-1, utf-16, ...") from None
        return "utf-8-sig" if known == "utf-8" else known
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return encoding
    zeros = [sample[parity::2].count(0) for parity in (0, 1)]
    for parity, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):  # of ASCII letters every other byte is 0
        if 4 * zeros[parity] > len(sample) / 2 and not zeros[1 - parity]:
            return encoding
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, whole)
    except UnicodeDecodeError:
        return "latin-1" if re.search(rb"[\x81\x8d\x8f\x90\x9d]", sample) else "cp1252"
    return "utf-8"


def texts(path: Path, encoding: str) -> Iterator[str]:
    """The text of a file, block after block; ValueError where it is none in this encoding."""
    decoder, first, count = codecs.getincrementaldecoder(encoding)(), True, 0
    with opened(path) as file:
        while True:
            block = file.read(BLOCK)
            try:
                text = decoder.decode(block, not block)
            except UnicodeError as error:
                where = count + getattr(error, "start", 0)
                what = f"{path} is no {encoding.removesuffix('-sig')} text near byte {where:,}"
                raise DataError([what], [("set its encoding, such as", {"encoding": "cp1252"})]) from None
            if "\0" in text:
                raise ValueError("it holds NUL characters, which are no text: it is damaged, or of another format")
            count += len(block)
            text = text.removeprefix("\ufeff") if first else text
            first = first and not text
            if text:
                yield text
            if not block:
                return
