"""Image data sets: pixels as uint8 (N, C, H, W), or dequantised once."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pooch
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

from marginflow.data.dataset import DataSet, Split, check_seed
from marginflow.transforms.preprocess import dequantisation_noise

Noise = Literal["fresh", "once"]

MNIST_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
# name -> MD5 of the compressed file as published, MD5 of its content
MNIST_FILES = {
    "train-images-idx3-ubyte": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
    "train-labels-idx1-ubyte": ("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
    "t10k-images-idx3-ubyte": ("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
    "t10k-labels-idx1-ubyte": ("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
}


def data_root() -> Path:
    """Where data files live: MARGINFLOW_DATA, or the user's cache."""
    return Path(os.environ.get("MARGINFLOW_DATA") or pooch.os_cache("marginflow"))


def digits(noise: Noise = "fresh", labels: bool = False, seed: int = 42) -> DataSet:
    """scikit-learn's 1,797 real handwritten digits: (N, 1, 8, 8), 17 grey levels; no download.

    Split by `seed` into 1,437 training, 180 validation and 180 test images. noise, labels: see `mnist`.

    >>> digits().train.x.shape, digits().levels
    (torch.Size([1437, 1, 8, 8]), 17)
    """
    images, target = load_digits(return_X_y=True)
    order = np.random.default_rng(check_seed(seed)).permutation(len(images))
    pixels = torch.from_numpy(images[order].astype(np.uint8)).view(-1, 1, 8, 8)
    return _image_set(
        "digits",
        pixels,
        torch.from_numpy(target[order]),
        cuts=(1437, 1617),
        levels=17,
        noise=noise,
        labels=labels,
        seed=seed,
    )


def mnist(noise: Noise = "fresh", labels: bool = False, seed: int = 42) -> DataSet:
    """MNIST as in the MAF paper: 50,000 training, 10,000 validation (the last of train), 10,000 test images.

    x (N, 1, 28, 28), 256 grey levels.

    noise: "fresh" keeps uint8 pixels, for `Dequantise` to draw at every call; "once" draws u now, from `seed`, and
        x holds (pixel + u) / 256 in [0, 1), the papers' protocol.
    labels: the digit as a one-hot context (N, 10).

    Files: the four idx files, compressed or not, in `data_root()`, its mnist/ or its MNIST/raw/ folder; else they
    are downloaded there. A file with a wrong checksum is refused: ValueError. FileNotFoundError where there
    is neither file nor network.
    """
    images, targets = (
        torch.cat([torch.from_numpy(_mnist_file(f"{part}-{kind}-ubyte")) for part in ("train", "t10k")])
        for kind in ("images-idx3", "labels-idx1")
    )
    return _image_set(
        "mnist",
        images[:, None],
        targets.long(),
        cuts=(50_000, 60_000),
        levels=256,
        noise=noise,
        labels=labels,
        seed=seed,
    )


def _image_set(
    name: str,
    pixels: Tensor,
    target: Tensor,
    *,
    cuts: tuple[int, int],
    levels: int,
    noise: Noise,
    labels: bool,
    seed: int,
) -> DataSet:
    """Pixels cut into splits, with noise and labels as asked for."""
    if noise not in ("fresh", "once"):
        raise ValueError(f'noise must be "fresh" or "once"; got {noise!r}')
    if noise == "once":
        u = dequantisation_noise(pixels, torch.get_default_dtype(), torch.Generator().manual_seed(check_seed(seed)))
        pixels = u.add_(pixels).div_(levels)
    context = functional.one_hot(target.long(), 10).float() if labels else None
    whole = Split(pixels, context)
    parts = [whole.take(rows) for rows in (slice(0, cuts[0]), slice(cuts[0], cuts[1]), slice(cuts[1], None))]
    return DataSet(name, *parts, levels=levels, dequantised=noise == "once")


def _mnist_file(name: str) -> np.ndarray:
    """One of the four files, found or downloaded, checked against its checksum and parsed."""
    root = data_root()
    for folder in (root / "mnist", root / "MNIST" / "raw", root):
        for path in (folder / f"{name}.gz", folder / name):
            if path.exists():
                return parse_idx(_content(path, MNIST_FILES[name][1]), path)
    pooch.get_logger().setLevel("WARNING")  # the progress bar says enough
    folder = root / "mnist"
    try:
        path = pooch.retrieve(
            MNIST_MIRROR + f"{name}.gz", f"md5:{MNIST_FILES[name][0]}", f"{name}.gz", folder, progressbar=True
        )
    except ValueError as error:  # pooch's word for a wrong checksum
        raise ValueError(f"the download of {name}.gz from {MNIST_MIRROR} is not the published file: {error}") from error
    except OSError as error:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise FileNotFoundError(
            f"MNIST's {name}.gz is not in {root} and could not be downloaded ({type(error).__name__}): put "
            f"{', '.join(f'{each}.gz' for each in MNIST_FILES)} into {folder}, or point MARGINFLOW_DATA at "
            "the folder that holds mnist/"
        ) from error
    return parse_idx(_content(Path(path), MNIST_FILES[name][1]), Path(path))


def _content(path: Path, checksum: str) -> bytes:
    """The unpacked content of a file; ValueError where it is truncated or not what it should be."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}): delete it, it will be downloaded again") from error
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
