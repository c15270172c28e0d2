"""Images kept as bytes: flips, noise drawn once, CIFAR-10 by its protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import needs_cifar10

from marginflow import data
from marginflow.data.images import datasets as images
from marginflow.data.images.pixels import Pixels, noise_steps


def some_pixels(n: int = 6) -> torch.Tensor:
    return torch.randint(256, (n, 3, 4, 5), dtype=torch.uint8)


def test_stored_flips_are_the_mirror_images_behind_the_images() -> None:
    pixels = some_pixels()
    rows = Pixels(pixels, flips="stored")
    assert len(rows) == 12
    assert rows.shape == (12, 3, 4, 5)
    assert torch.equal(rows[:6], pixels)
    assert torch.equal(rows[6:], torch.from_numpy(pixels.numpy()[:, :, :, ::-1].copy()))
    assert torch.equal(rows[torch.tensor([7, 1])], torch.stack([pixels[1].flip(2), pixels[1]]))


def test_drawn_flips_mirror_about_half_of_the_rows_anew_each_time() -> None:
    pixels = some_pixels(200)
    rows = Pixels(pixels, flips="drawn")
    assert len(rows) == 200
    torch.default_generator.manual_seed(0)
    first, second = rows[:], rows[:]
    for taken in (first, second):
        mirrored = (taken == pixels.flip(3)).flatten(1).all(1)
        assert ((taken == pixels).flatten(1).all(1) | mirrored).all()
        assert 70 < int(mirrored.sum()) < 130
    assert not torch.equal(first, second)


def test_noise_drawn_once_is_a_function_of_seed_row_and_position() -> None:
    pixels = some_pixels()
    rows = Pixels(pixels, seed=3)
    whole = rows[:]
    assert whole.dtype == torch.get_default_dtype()
    assert torch.equal((whole * 256).floor().to(torch.uint8), pixels)
    assert torch.equal(rows[torch.tensor([4, 2])], whole[[4, 2]])
    assert torch.equal(rows[2:5], whole[2:5])
    assert not torch.equal(Pixels(pixels, seed=4)[:], whole)
    flipped = Pixels(pixels, flips="stored", seed=3)[6:] * 256
    assert torch.equal(flipped.floor().to(torch.uint8), pixels.flip(3))
    assert torch.equal(flipped, whole.flip(3) * 256)  # the MAF paper mirrors what it has dequantised


def test_noise_is_uniform_and_independent() -> None:
    steps = noise_steps(np.arange(500), 399, seed=1).astype(float)
    assert steps.min() == 0
    assert steps.max() == 4095
    n = steps.size
    u = (steps + 0.5) / 4096 - 0.5
    assert abs(u.mean()) < 4 * np.sqrt(1 / 12 / n)
    assert abs(u.var() * 12 - 1) < 0.02
    counts = np.histogram(steps, bins=64, range=(0, 4096))[0]
    assert ((counts - n / 64) ** 2 / (n / 64)).sum() < 110  # chi square, 63 degrees of freedom
    for shifted in (
        u[1:] * u[:-1],
        u[:, 1:] * u[:, :-1],
        u[:, 4:] * u[:, :-4],
        u * noise_steps(np.arange(500), 399, 2),
    ):
        assert abs(shifted.mean() / shifted.std()) < 4.5 / np.sqrt(shifted.size)


def record(label: int, value: int) -> bytes:
    return bytes([label]) + bytes([value]) * images.CIFAR10_PIXELS


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with CIFAR-10 files of a few records."""
    monkeypatch.setenv("MARGINFLOW_DATA", str(tmp_path))
    monkeypatch.setattr(images, "CIFAR10_ROWS", 20)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for i, name in enumerate(images.CIFAR10.files):
        (folder / name).write_bytes(b"".join(record(j % 10, 20 * i + j) for j in range(20)))
    return folder


def test_small_files_of_the_same_layout_are_read(root: Path) -> None:
    records = images.parse_cifar10(root / "data_batch_2.bin")
    assert records.shape == (20, 3073)
    assert records[3, 0] == 3
    assert set(records[3, 1:]) == {23}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "has 61459 bytes, expected 61460"),
        (lambda content: content + b"\x00", "has 61461 bytes, expected 61460"),
        (lambda content: b"", "has 0 bytes"),
        (lambda content: content[:3073] + b"\x0a" + content[3074:], "record 1 has label 10, expected 0 ... 9"),
    ],
)
def test_truncated_and_mislabelled_files_are_refused(root: Path, change: object, message: str) -> None:
    path = root / "data_batch_3.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"data_batch_3.*{message}.*marginflow data fetch cifar10"):
        data.load("cifar10")


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match="flips must be one of none, stored, drawn; got 'both'"):
        images.image_set(
            "x", some_pixels(), torch.zeros(6), cuts=(2, 4), levels=256, noise="fresh", labels=False, seed=0,
            classes=("a",), flips="both",
        )  # fmt: skip


@needs_cifar10
def test_cifar10_is_the_maf_protocols() -> None:
    cifar = data.load("cifar10", labels=True)
    assert [len(part.x) for part in (cifar.train, cifar.validation, cifar.test)] == [90_000, 5_000, 10_000]
    assert cifar.spec.event_shape == (3, 32, 32)
    assert cifar.spec.labels[3] == "cat"
    raw = np.fromfile(images.CIFAR10.get("data_batch_1.bin"), np.uint8).reshape(-1, 3073)
    np.testing.assert_array_equal(cifar.train.x[:10_000].numpy(), raw[:, 1:].reshape(-1, 3, 32, 32))
    assert cifar.train.context is not None
    np.testing.assert_array_equal(cifar.train.context[:10_000].argmax(1).numpy(), raw[:, 0])
    np.testing.assert_array_equal(cifar.train.context[45_000:55_000].argmax(1).numpy(), raw[:, 0])
    fifth = np.fromfile(images.CIFAR10.get("data_batch_5.bin"), np.uint8).reshape(-1, 3073)
    np.testing.assert_array_equal(cifar.validation.x[:].numpy().reshape(5000, -1), fifth[5000:, 1:])
    colours = torch.cat([cifar.train.x[:45_000], cifar.validation.x[:]]).double().div(255).mean((0, 2, 3))
    np.testing.assert_allclose(colours.numpy(), [0.4914, 0.4822, 0.4465], atol=1e-4)


@needs_cifar10
def test_cifar10_dequantised_once_has_the_papers_constant(single: None) -> None:
    """c = 4809.4 nats leads from logit space to bits per pixel at alpha = 0.05."""
    from marginflow.transforms import Logit

    _, log_det = Logit(0.05)(data.load("cifar10", noise="once").test.x[:])
    assert float(log_det.mean()) == pytest.approx(4809.4, abs=0.5)
