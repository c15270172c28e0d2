"""Image data sets: digits, MNIST, CIFAR-10, from their published files."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
import torch

from marginflow.base.seeds import require_seed
from marginflow.data.dataset import DataSet
from marginflow.data.download import Published, Source
from marginflow.data.images.pixels import Flips, Noise, image_set

DIGITS = tuple("0123456789")

_MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
# name -> MD5 of the compressed file as published, MD5 of its content
MNIST_FILES = {
    "train-images-idx3-ubyte": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": ("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": ("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": ("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
}
MNIST = Source(
    "mnist",
    ("mnist", "MNIST/raw", ""),
    {f"{name}.gz": Published(f"{_MNIST_MIRROR}{name}.gz", md5) for name, (md5, _) in MNIST_FILES.items()},
)

LARGEST = 2**26  # bytes, of a file of MNIST once it is unpacked

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_ROWS, CIFAR10_PIXELS = 10_000, 3 * 32 * 32  # of each file
_CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10 = Source(
    "cifar10",
    (_CIFAR10_FOLDER, f"cifar10/{_CIFAR10_FOLDER}", "cifar10", ""),
    {
        f"{name}.bin": Published(
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            "c32a1d4ab5d03f1284b67883e8d87530",
            f"{_CIFAR10_FOLDER}/{name}.bin",
        )
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    },
)


def digits(noise: Noise = "fresh", labels: bool = False, seed: int = 42) -> DataSet:
    """scikit-learn's 1,797 real handwritten digits: (N, 1, 8, 8), 17 grey levels; no download.

    Split by `seed` into 1,437 training, 180 validation and 180 test images.

    Args:
        noise: "fresh" keeps uint8 pixels, for `Dequantise` to draw at every call; "once" has u drawn from `seed`,
            always the same, and x is (pixel + u) / 17 in [0, 1).
        labels: whether the digit is a one-hot context (N, 10).
        seed: of the split, and of u where it is drawn once.

    Returns:
        A `DataSet` of images.

    Raises:
        ValueError: for an unknown noise, or a seed out of range.

    Examples:
        >>> digits().train.x.shape, digits().levels
        (torch.Size([1437, 1, 8, 8]), 17)
    """
    from sklearn.datasets import load_digits

    images, target = load_digits(return_X_y=True)
    order = np.random.default_rng(require_seed(seed)).permutation(len(images))
    pixels = torch.from_numpy(images[order].astype(np.uint8)).view(-1, 1, 8, 8)
    target = torch.from_numpy(target[order])
    return image_set(
        "digits", pixels, target, cuts=(1437, 1617), levels=17, noise=noise, labels=labels, seed=seed, classes=DIGITS
    )


def mnist(noise: Noise = "fresh", labels: bool = False, seed: int = 42) -> DataSet:
    """MNIST as in the MAF paper: 50,000 training, 10,000 validation (the last of train), 10,000 test images.

    x (N, 1, 28, 28), 256 grey levels.

    The four idx files lie, compressed or not, in `data_root()`, its mnist/ or its MNIST/raw/ folder; where they do
    not, they are downloaded to mnist/.

    Args:
        noise: "fresh" keeps uint8 pixels, for `Dequantise` to draw at every call; "once" has u drawn from `seed`,
            always the same, and x is (pixel + u) / 256 in [0, 1), the papers' protocol. `x[:]` is then the tensor.
        labels: whether the digit is a one-hot context (N, 10).
        seed: of u where it is drawn once.

    Returns:
        A `DataSet` of images.

    Raises:
        ValueError: for a file with a wrong checksum, an unknown noise, or a seed out of range.
        FileNotFoundError: where there is neither file nor network.
    """
    images, target = (
        torch.cat([torch.from_numpy(_mnist_file(f"{part}-{kind}-ubyte")) for part in ("train", "t10k")])
        for kind in ("images-idx3", "labels-idx1")
    )
    return image_set(
        "mnist",
        images[:, None],
        target,
        cuts=(50_000, 60_000),
        levels=256,
        noise=noise,
        labels=labels,
        seed=seed,
        classes=DIGITS,
    )


def cifar10(noise: Noise = "fresh", flips: Flips = "stored", labels: bool = False, seed: int = 42) -> DataSet:
    """CIFAR-10 as in the MAF paper: 45,000 training images and their mirror images, 5,000 validation, 10,000 test.

    x (N, 3, 32, 32), planes R, G, B, 256 grey levels; validation is the last 5,000 of the published training set.
    Whatever is chosen, the pixels alone are held in memory: 184 MB.

    The files data_batch_1.bin ... data_batch_5.bin and test_batch.bin lie in `data_root()`, its
    cifar-10-batches-bin/, its cifar10/ or its cifar10/cifar-10-batches-bin/ folder; where they do not, they are
    downloaded to cifar-10-batches-bin/.

    Args:
        noise: "fresh" keeps uint8 pixels, for `Dequantise` to draw at every call; "once" has u drawn from `seed`,
            always the same, and x is (pixel + u) / 256 in [0, 1), the papers' protocol. `x[:]` is then the tensor.
        flips: "stored" makes 90,000 training rows of the 45,000 images and their mirror images, the paper's protocol;
            "drawn" mirrors each of 45,000 rows with probability one half whenever it is taken; "none" does not.
        labels: whether the class is a one-hot context (N, 10).
        seed: of u where it is drawn once.

    Returns:
        A `DataSet` of images.

    Raises:
        ValueError: for a file of another size or with labels above 9, an unknown noise or flips, or a seed out of
            range.
        FileNotFoundError: where there is neither file nor network.
    """
    records = np.empty((6 * CIFAR10_ROWS, 1 + CIFAR10_PIXELS), np.uint8)
    for i, name in enumerate(CIFAR10.files):
        records[i * CIFAR10_ROWS : (i + 1) * CIFAR10_ROWS] = parse_cifar10(CIFAR10.get(name))
    pixels = torch.from_numpy(records)[:, 1:].view(-1, 3, 32, 32)
    return image_set(
        "cifar10",
        pixels,
        torch.from_numpy(records[:, 0].copy()),
        cuts=(45_000, 50_000),
        levels=256,
        noise=noise,
        labels=labels,
        seed=seed,
        classes=CIFAR10_CLASSES,
        flips=flips,
    )


def parse_cifar10(path: Path) -> np.ndarray:
    """The records of a binary CIFAR-10 file: (10,000, 1 + 3,072) uint8, the label and the planes R, G, B."""
    size, expected = path.stat().st_size, CIFAR10_ROWS * (1 + CIFAR10_PIXELS)
    remedy = "delete it and call marginflow data fetch cifar10"
    if size != expected:
        raise ValueError(
            f"{path} is not a CIFAR-10 file of {CIFAR10_ROWS} records: it has {size} bytes, expected {expected}: "
            f"{remedy}"
        )
    records = np.fromfile(path, np.uint8).reshape(CIFAR10_ROWS, -1)
    wrong = np.flatnonzero(records[:, 0] > 9)
    if len(wrong):
        raise ValueError(
            f"{path} is not a CIFAR-10 file: record {wrong[0]} has label {records[wrong[0], 0]}, expected 0 ... 9 "
            f"({len(wrong)} such records): {remedy}"
        )
    return records


def _mnist_file(name: str) -> np.ndarray:
    """One of the four files, found or downloaded, checked against its checksum and parsed."""
    path = MNIST.get(f"{name}.gz")
    return parse_idx(_content(path, MNIST_FILES[name][1]), path)


def _content(path: Path, checksum: str) -> bytes:
    """The unpacked content of a file; ValueError where it is truncated or not what it should be."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}): delete it, it will be downloaded again") from error
    if len(content) > LARGEST:
        raise ValueError(f"{path} is not the published file: it holds more than {LARGEST:,} bytes: delete it")
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != checksum:
        raise ValueError(
            f"{path} is not the published file: MD5 of its content is {found}, expected {checksum}: "
            "delete it, it will be downloaded again"
        )
    return content


def parse_idx(content: bytes, path: Path) -> np.ndarray:
    """The array in an idx file of bytes: magic 00 00 08 ndim, sizes as big-endian uint32, then the bytes."""
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(
            f"{path} is not an idx file of bytes: it starts with {content[:4].hex(' ')}, expected 00 00 08"
        )
    header = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:header]) if len(content) >= header else ()
    expected = int(np.prod(shape, dtype=object)) if shape else -1
    if len(content) - header != expected:
        raise ValueError(f"{path} is truncated: it holds {len(content) - header} bytes of data, expected {expected}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()
