"""Image data sets: real ones where they are, small files of the same layout otherwise."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from marginflow import data
from marginflow.data.images import datasets as images


def has_mnist() -> bool:
    return any((data.data_root() / "mnist" / f"train-images-idx3-ubyte{end}").exists() for end in ("", ".gz"))


needs_mnist = pytest.mark.skipif(not has_mnist(), reason="no MNIST files below MARGINFLOW_DATA or the user's cache")


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def test_digits_are_all_there_in_17_levels() -> None:
    digits = data.load("digits", labels=True)
    assert digits.spec == data.DataSpec((1, 8, 8), levels=17, context_features=10, labels=tuple("0123456789"))
    assert digits.train.x.dtype == torch.uint8
    assert digits.train.x.max() == 16
    assert sum(len(part.x) for part in (digits.train, digits.validation, digits.test)) == 1797
    assert digits.train.context is not None
    assert torch.equal(digits.train.context.sum(1), torch.ones(1437))


def test_noise_drawn_once_is_repeatable_and_leads_back_to_the_pixels() -> None:
    fresh, once = data.load("digits"), data.load("digits", noise="once")
    assert torch.equal((once.train.x * 17).floor().to(torch.uint8), fresh.train.x)
    assert torch.equal(once.train.x, data.load("digits", noise="once").train.x)
    assert not torch.equal(once.train.x, data.load("digits", noise="once", seed=43).train.x[:])
    assert once.dequantised
    assert once.spec.log_volume == pytest.approx(-64 * np.log(17))
    assert fresh.spec.log_volume == 0


@needs_mnist
def test_mnist_is_the_maf_protocols() -> None:
    mnist = data.load("mnist", labels=True)
    assert [len(part.x) for part in (mnist.train, mnist.validation, mnist.test)] == [50_000, 10_000, 10_000]
    assert mnist.spec == data.DataSpec((1, 28, 28), levels=256, context_features=10, labels=tuple("0123456789"))
    assert mnist.train.context is not None
    assert mnist.train.context[:5].argmax(1).tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.context is not None
    assert mnist.test.context[:5].argmax(1).tolist() == [7, 2, 1, 0, 4]
    assert mnist.train.x.double().mean() == pytest.approx(33.3, abs=0.3)


@needs_mnist
def test_mnist_dequantised_once_has_the_papers_constant(single: None) -> None:
    """c = 4620.2 nats leads from logit space to bits per pixel at alpha = 1e-6."""
    from marginflow.transforms import Logit

    _, log_det = Logit(1e-6)(data.load("mnist", noise="once").test.x[:])
    assert float(log_det.mean()) == pytest.approx(4620.2, abs=0.5)


def write_mnist(root: Path, name: str, content: bytes, *, packed: bool = True) -> Path:
    folder = root / "mnist"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARGINFLOW_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("packed", [True, False])
def test_a_file_that_is_not_the_published_one_is_refused(root: Path, packed: bool) -> None:
    write_mnist(root, "train-images-idx3-ubyte", idx(np.zeros((2, 28, 28), np.uint8)), packed=packed)
    with pytest.raises(ValueError, match=r"train-images.* is not the published file: MD5 .* expected 6bbc9ace"):
        data.load("mnist")


def test_a_truncated_file_is_refused(root: Path) -> None:
    path = write_mnist(root, "train-images-idx3-ubyte", idx(np.zeros((2, 28, 28), np.uint8)))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"cannot be unpacked .* delete it"):
        data.load("mnist")
    path.write_bytes(b"no gzip at all")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        data.load("mnist")


@pytest.mark.parametrize("at", range(0, 300, 11))
def test_a_file_damaged_anywhere_is_refused(root: Path, at: int) -> None:
    noise = np.random.default_rng(0).integers(256, size=(8, 28, 28), dtype=np.uint8)
    path = write_mnist(root, "train-images-idx3-ubyte", idx(noise))
    content = bytearray(path.read_bytes())
    content[at : at + 50] = b"\xff" * 50
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"cannot be unpacked|not the published file"):
        data.load("mnist")


def test_no_file_and_no_network_says_which_files_to_put_where(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr("pooch.retrieve", unreachable)
    with pytest.raises(FileNotFoundError, match=r"put train-images-idx3-ubyte\.gz, .*t10k-labels.* into .*mnist"):
        data.load("mnist")
    assert not list(root.iterdir())


def test_a_downloaded_file_is_checked_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def retrieve(url: str, checksum: str, name: str, folder: Path, **_: object) -> str:
        return str(write_mnist(folder.parent, name.removesuffix(".gz"), b"something else"))

    monkeypatch.setattr("pooch.retrieve", retrieve)
    with pytest.raises(ValueError, match="not the published file"):
        data.load("mnist")


def test_files_of_the_right_content_are_found_in_every_layout(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    contents = {
        "train-images-idx3-ubyte": idx(np.random.default_rng(0).integers(0, 256, (60_000, 1, 1), dtype=np.uint8)),
        "train-labels-idx1-ubyte": idx(np.arange(60_000).astype(np.uint8) % 10),
        "t10k-images-idx3-ubyte": idx(np.zeros((100, 1, 1), np.uint8)),
        "t10k-labels-idx1-ubyte": idx(np.zeros(100, np.uint8)),
    }
    sums = {name: ("", hashlib.md5(content).hexdigest()) for name, content in contents.items()}
    monkeypatch.setattr(images, "MNIST_FILES", sums)
    for folder, packed in ((root, False), (root / "MNIST" / "raw", True)):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            path = folder / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(content) if packed else content)
        assert len(data.load("mnist").validation.x) == 10_000
        for path in folder.glob("*ubyte*"):
            path.unlink()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00\x08", "is not an idx file"),
        (b"\x01\x02\x08\x01" + b"\x00" * 10, "is not an idx file"),
        (b"\x00\x00\x08\x03" + b"\x00" * 3, "truncated"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], "holds 5 bytes of data, expected 6"),
        (b"\x00\x00\x08\x04" + b"\xff" * 16, "truncated"),
    ],
)
def test_damaged_idx_files_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        images.parse_idx(content, Path("some-file"))
