"""The MAF paper's tables, on small files of the same layout, against the steps that its authors published."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from marginflow import data
from marginflow.data import maf_tables
from marginflow.data.pickled_frames import read_frame

FIXTURES = Path(__file__).parents[1] / "fixtures"
RNG = np.random.default_rng(0)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARGINFLOW_DATA", str(tmp_path))
    return tmp_path


def put(root: Path, folder: str, name: str, content: bytes | np.ndarray) -> Path:
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    return path


def splits(loaded: data.DataSet) -> list[np.ndarray]:
    return [part.x[:].numpy() for part in (loaded.train, loaded.validation, loaded.test)]


def assert_splits(loaded: data.DataSet, expected: Sequence[np.ndarray]) -> None:
    for ours, theirs in zip(splits(loaded), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def test_power_is_shuffled_noised_and_standardised_with_validation(root: Path) -> None:
    raw = RNG.standard_normal((200, 8)) * np.arange(1, 9)
    put(root, "power", "data.npy", raw)
    rng = np.random.RandomState(42)
    shuffled = raw.copy()
    rng.shuffle(shuffled)
    voltage, gap, meters = 0.01 * rng.rand(200, 1), 0.001 * rng.rand(200, 1), rng.rand(200, 3)
    x = shuffled[:, [0, 2, 4, 5, 6, 7]] + np.hstack([gap, voltage, meters, np.zeros((200, 1))])
    mean, deviation = x[:180].mean(0), x[:180].std(0)
    scaled = (x - mean) / deviation
    assert_splits(data.load("power"), [scaled[:162], scaled[162:180], scaled[180:]])


def test_miniboone_is_cut_in_order(root: Path) -> None:
    raw = RNG.standard_normal((105, 5)) + 3
    put(root, "data/miniboone", "data.npy", raw.astype(np.float32))
    scaled = (raw.astype(np.float32).astype(float) - (m := raw[:95].astype(np.float32).astype(float)).mean(0)) / m.std(
        0
    )
    assert_splits(data.load("miniboone"), [scaled[:86], scaled[86:95], scaled[95:]])


@pytest.mark.parametrize("layout", ["frame_2016", "frame_recent"])
def test_gas_with_the_leak_and_without(root: Path, layout: str) -> None:
    raw = np.load(FIXTURES / "frame.npy")  # Time, Meth, Eth, a, b, c; c correlates with b; then n, the row number
    put(root, "gas", "ethylene_CO.pickle", (FIXTURES / f"{layout}.pickle").read_bytes())
    kept = np.stack([raw[:, 3], raw[:, 5], np.arange(200.0)], 1)  # of b and c the first goes
    for leak, measured in ((True, kept), (False, kept[:162])):
        scaled = (kept - measured.mean(0)) / measured.std(0, ddof=1)
        assert_splits(data.load("gas", leak=leak), [scaled[:162], scaled[162:180], scaled[180:]])
    assert not np.allclose(splits(data.load("gas"))[2], splits(data.load("gas", leak=False))[2])


def hepmass_csv(x: np.ndarray, header: int, trailing: str = "") -> bytes:
    names = ",".join(["# label", *(f"f{i}" for i in range(header - 1))])
    rows = "\n".join(",".join(f"{v:.17g}" for v in row) + trailing for row in x)
    return f"{names}\n{rows}\n".encode()


@pytest.mark.parametrize("trailing", ["", ",9"])
def test_hepmass_quirks(root: Path, trailing: str) -> None:
    rng = np.random.default_rng(1)
    train, test = rng.standard_normal((120, 5)), rng.standard_normal((40, 6))
    train[:, 0], test[:, 0] = np.arange(120) % 2, np.arange(40) % 2
    train[:40, 2] = train[:, 2].min()  # its smallest value occurs more than five times among class 1: goes
    train[:40, 3] = 0.25  # so does this value, which is not the smallest: stays
    put(root, "hepmass", "1000_train.csv", hepmass_csv(train, 5, trailing))
    put(root, "hepmass", "1000_test.csv", hepmass_csv(test, 6))
    signal, held_out = train[train[:, 0] == 1, 1:], test[test[:, 0] == 1, 1:5]
    scale = [(part - signal.mean(0)) / signal.std(0, ddof=1) for part in (signal, held_out)]
    kept = [part[:, [0, 2, 3]] for part in scale]
    assert_splits(data.load("hepmass"), [kept[0][:54], kept[0][54:], kept[1]])


def test_bsds300_comes_as_it_is(root: Path) -> None:
    parts = {name: RNG.standard_normal((n, 63)) for name, n in (("train", 40), ("validation", 5), ("test", 10))}
    (root / "BSDS300").mkdir()
    with h5py.File(root / "BSDS300" / "BSDS300.hdf5", "w") as file:
        for name, part in parts.items():
            file[name] = part
    loaded = data.load("bsds300")
    for ours, theirs in zip(splits(loaded), parts.values(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


GOOD: dict[str, Callable[[], dict[str, bytes]]] = {
    "power": lambda: {"data.npy": npy(RNG.standard_normal((50, 8)))},
    "miniboone": lambda: {"data.npy": npy(RNG.standard_normal((50, 4)))},
    "gas": lambda: {"ethylene_CO.pickle": (FIXTURES / "frame_2016.pickle").read_bytes()},
    "hepmass": lambda: {
        "1000_train.csv": hepmass_csv(np.ones((50, 4)) * np.arange(50)[:, None], 4),
        "1000_test.csv": hepmass_csv(np.ones((50, 5)), 5),
    },
    "bsds300": lambda: {"BSDS300.hdf5": b"\x89HDF\r\n\x1a\n" + b"\x00" * 2000},
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "noise"])
def test_truncated_and_mislabelled_files_are_refused(root: Path, name: str, damage: str) -> None:
    for file, content in GOOD[name]().items():
        damaged = {
            "truncated": content[: len(content) // 2],
            "empty": b"",
            "text": b"<html>not found</html>",
            "noise": bytes(RNG.integers(256, size=500, dtype=np.uint8)),
        }[damage]
        put(root, data.SOURCES[name].folders[-1], file, damaged)
    with pytest.raises(ValueError, match=r"is not the published table|published files"):
        data.load(name)


def test_tables_of_another_shape_are_refused(root: Path) -> None:
    put(root, "power", "data.npy", np.zeros((50, 5)))
    with pytest.raises(ValueError, match=r"got float64 of shape \(50, 5\), expected numbers \(rows, 8\)"):
        data.load("power")
    put(root, "miniboone", "data.npy", np.zeros((50, 5)))
    with pytest.raises(ValueError, match="column 0 is constant or broken"):
        data.load("miniboone")
    put(root, "hepmass", "1000_train.csv", hepmass_csv(np.ones((20, 5)), 5))
    put(root, "hepmass", "1000_test.csv", hepmass_csv(np.ones((20, 5)), 5))
    with pytest.raises(ValueError, match=r"one column more than 1000_train.csv; got 5 and 5"):
        data.load("hepmass")


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch evil",)


def test_a_pickle_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "frame.pickle"
    path.write_bytes(pickle.dumps({"_mgr": _Evil()}))
    with pytest.raises(ValueError, match=r"it names (posix|nt)\.system, which a frame of numbers does not need"):
        read_frame(path)
    assert not (tmp_path / "evil").exists()
    path.write_bytes(pickle.dumps([1, 2, 3]))
    with pytest.raises(ValueError, match="it holds list, not a frame"):
        read_frame(path)


@pytest.mark.parametrize("layout", ["frame_2016", "frame_recent"])
def test_both_layouts_of_frames_are_read(layout: str) -> None:
    columns = read_frame(FIXTURES / f"{layout}.pickle")
    raw = np.load(FIXTURES / "frame.npy")
    assert list(columns) == ["Time", "Meth", "Eth", "a", "b", "c", "n"]
    for i, values in enumerate(list(columns.values())[:6]):
        np.testing.assert_array_equal(values, raw[:, i])
    np.testing.assert_array_equal(columns["n"], np.arange(200))


def archive_of(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def test_files_come_out_of_the_published_archive(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = npy(RNG.standard_normal((50, 4)))
    asked: list[str] = []

    def retrieve(url: str, checksum: str, name: str, folder: Path, **_: object) -> str:
        asked.append(f"{url} {checksum}")
        folder.mkdir(exist_ok=True)
        archive_of(folder / name, {"data/power/other": b"x", "./data/miniboone/data.npy": content})
        return str(folder / name)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    assert len(data.load("miniboone").train.x) == 41
    assert data.source("miniboone").path() == root / "maf" / "miniboone"
    assert len(data.load("miniboone").train.x) == 41
    assert asked == ["https://zenodo.org/record/1161203/files/data.tar.gz md5:9b9c9b0375315ad270eba4ce80c093ab"]
    with pytest.raises(ValueError, match=r"does not hold data/hepmass/1000_train.csv, .*: delete it"):
        data.source("hepmass").fetch()
    (root / "archives" / "data.tar.gz").write_bytes(b"\x1f\x8b broken")
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: str(root / "archives" / "data.tar.gz"))
    with pytest.raises(ValueError, match="cannot be unpacked"):
        data.source("gas").fetch()
    assert not list(root.rglob("*.part"))


def test_a_download_that_is_not_the_published_file_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def retrieve(*_: object, **__: object) -> str:
        raise ValueError("MD5 hash of downloaded file does not match the known hash")

    monkeypatch.setattr("pooch.retrieve", retrieve)
    with pytest.raises(ValueError, match=r"data.tar.gz is not the published file: MD5 hash"):
        data.source("bsds300").fetch()


def test_sources_say_where_they_are(root: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"gas: ethylene_CO.pickle not found below .*: marginflow data fetch gas"
    ):
        data.source("gas").path()
    with pytest.raises(ValueError, match="'half_moons' is drawn, or comes with a library: there are files of mnist"):
        data.source("half_moons")
    with pytest.raises(ValueError, match="'mnits' is unknown"):
        data.source("mnits")


def test_splits_are_in_the_default_precision(root: Path) -> None:
    put(root, "miniboone", "data.npy", RNG.standard_normal((50, 4)))
    assert maf_tables.miniboone().train.x.dtype == torch.get_default_dtype()
