"""What the compressed parts of a .feather file claim to become, told before anything is made of them.

Such a file is a row of messages, each a description in flatbuffers and a body. Arrow reads the description, but shows
neither how large the parts of the body become nor takes a limit; so the few numbers of it are read here.
Apache Arrow, Columnar Format, Encapsulated message format and Buffer compression.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

BATCH, DICTIONARY = 3, 2  # kinds of message
MAGIC = 8  # bytes before the first message


def claimed_by_feather(path: Path) -> int:
    """The bytes that all parts of the file claim to become; ValueError where its messages are damaged."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    reader = pa.ipc.MessageReader.open_stream(pa.BufferReader(pa.py_buffer(mapped).slice(MAGIC)))
    claimed = 0
    try:
        for message in reader:
            claimed += _claimed(message.metadata.to_pybytes(), message.body)
            if hasattr(mapped, "madvise"):  # or a large file would stay mapped, page by page
                mapped.madvise(mmap.MADV_DONTNEED)
        return claimed
    except (struct.error, OverflowError) as error:
        raise ValueError(f"a description in it is damaged ({error})") from error


def _claimed(description: bytes, body: pa.Buffer | None) -> int:
    """What the parts of one message claim to become."""
    (root,) = struct.unpack_from("<I", description, 0)
    kind = _field(description, root, 1)
    header = _field(description, root, 2)
    if kind is None or header is None or body is None or description[kind] not in (BATCH, DICTIONARY):
        return 0
    batch = _pointed_at(description, header)
    if description[kind] == DICTIONARY:
        inner = _field(description, batch, 1)
        if inner is None:
            return 0
        batch = _pointed_at(description, inner)
    parts, compressed = _field(description, batch, 2), _field(description, batch, 3)
    if parts is None or compressed is None:
        return body.size
    return sum(_becomes(body, *place) for place in _pairs(description, _pointed_at(description, parts)))


def _becomes(body: pa.Buffer, offset: int, size: int) -> int:
    """A part of a body begins with its size uncompressed, or -1 where it is left as it is."""
    if size == 0 or not 0 <= offset <= body.size - 8:
        return 0
    (becomes,) = struct.unpack_from("<q", memoryview(body), offset)
    return max(becomes, 0) if becomes != -1 else size


def _field(table: bytes, at: int, number: int) -> int | None:
    """Where a field of a flatbuffers table lies; None where it is left out."""
    (back,) = struct.unpack_from("<i", table, at)
    (size,) = struct.unpack_from("<H", table, at - back)
    place = 4 + 2 * number
    if place + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", table, at - back + place)
    return at + offset if offset else None


def _pointed_at(table: bytes, at: int) -> int:
    (offset,) = struct.unpack_from("<I", table, at)
    return at + offset


def _pairs(table: bytes, at: int) -> Iterator[tuple[int, int]]:
    """The pairs of whole numbers in a vector."""
    (count,) = struct.unpack_from("<I", table, at)
    return ((first, second) for first, second in struct.iter_unpack("<qq", table[at + 4 : at + 4 + 16 * count]))
