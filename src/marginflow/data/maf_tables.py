"""The five tables of the MAF paper, preprocessed as its authors did, quirks included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pyarrow import csv

from marginflow.data.dataset import DataSet, Split
from marginflow.data.download import Published, Source
from marginflow.data.pickled_frames import FrameError, read_frame
from marginflow.storage.limits import array_of, require_claim

_ARCHIVE = "https://zenodo.org/record/1161203/files/data.tar.gz"
_MD5 = "9b9c9b0375315ad270eba4ce80c093ab"


def _source(name: str, folder: str, *files: str) -> Source:
    """Files of a folder of the published archive, which holds all five tables (817 MB)."""
    folders = (f"maf/{folder}", f"data/{folder}", folder)
    return Source(name, folders, {file: Published(_ARCHIVE, _MD5, f"data/{folder}/{file}") for file in files})


POWER = _source("power", "power", "data.npy")
GAS = _source("gas", "gas", "ethylene_CO.pickle")
HEPMASS = _source("hepmass", "hepmass", "1000_train.csv", "1000_test.csv")
MINIBOONE = _source("miniboone", "miniboone", "data.npy")
BSDS300 = _source("bsds300", "BSDS300", "BSDS300.hdf5")


def power() -> DataSet:
    """POWER: electricity of a household, x (N, 6); 1,659,917 training, 184,435 validation, 204,928 test rows.

    As in the MAF paper: rows shuffled by seed 42, columns 1 and 3 dropped, uniform noise drawn once against repeated
    values (0.001, 0.01 and 1 wide; the time column has none), the last tenth for test, the last tenth of the rest for
    validation, standardised by both remaining parts, validation included.

    The file lies below `data_root()`; where it does not, the published archive of all five tables (817 MB) is
    downloaded.

    Returns:
        A `DataSet`.

    Raises:
        ValueError: where a file is not the published one.
        FileNotFoundError: where there is neither file nor network.

    References:
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).
    """
    path = POWER.get("data.npy")
    x = _array(path, width=8)
    rng = np.random.RandomState(42)  # the authors' generator
    rng.shuffle(x)
    x = np.delete(x, [1, 3], axis=1)
    n = len(x)
    voltage, gap = 0.01 * rng.rand(n, 1), 0.001 * rng.rand(n, 1)
    x += np.hstack([gap, voltage, rng.rand(n, 3), np.zeros((n, 1))])
    return _standardised("power", *_tenths(x), path)


def gas(leak: bool = True) -> DataSet:
    """GAS: sensors under a mixture of gases, x (N, 8); 852,174 training, 94,685 validation, 105,206 test rows.

    As in the MAF paper: the columns Time, Meth and Eth dropped, then as long as any two columns correlate above 0.98
    the first such column; the last tenth for test, the last tenth of the rest for validation; no shuffling.

    The file lies below `data_root()`; where it does not, the published archive of all five tables (817 MB) is
    downloaded.

    Args:
        leak: the paper chooses columns and standardises by all rows, test rows included, and published figures are on
            these terms. False takes both from the training rows alone.

    Returns:
        A `DataSet`.

    Raises:
        ValueError: where a file is not the published one.
        FileNotFoundError: where there is neither file nor network.

    References:
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).
    """
    path = GAS.get("ethylene_CO.pickle")
    try:
        columns = read_frame(path)
        kept = np.stack([np.asarray(v, float) for k, v in columns.items() if k not in ("Time", "Meth", "Eth")], 1)
    except (FrameError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not the published table: {error}") from error
    measured = kept if leak else _tenths(kept)[0]
    chosen = _uncorrelated(measured)
    mean, deviation = measured[:, chosen].mean(0), measured[:, chosen].std(0, ddof=1)
    _require_variation(deviation, path)
    return _data_set("gas", _tenths((kept[:, chosen] - mean) / deviation))


def hepmass() -> DataSet:
    """HEPMASS: collisions of particles, x (N, 21); 315,123 training, 35,013 validation, 174,987 test rows.

    As in the MAF paper: rows of class 1 alone; the test file's last column, which the training file does not have,
    dropped; standardised by all rows of the training file, validation included; columns dropped whose smallest value
    (the paper's words say: any value) occurs more than five times; the last tenth of the training file for validation.

    The files lie below `data_root()`; where they do not, the published archive of all five tables (817 MB) is
    downloaded.

    Returns:
        A `DataSet`.

    Raises:
        ValueError: where a file is not the published one.
        FileNotFoundError: where there is neither file nor network.

    References:
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).
    """
    paths = [HEPMASS.get(file) for file in HEPMASS.files]
    (train, train_header), (test, test_header) = (_signal(path) for path in paths)
    width = train_header - 1
    if test_header - 2 != width or min(train.shape[1], test.shape[1]) < width:
        raise ValueError(
            f"{paths[1]} must have one column more than {paths[0].name}; got {test_header} and {train_header}: "
            "they are not the published files"
        )
    train, test = train[:, :width], test[:, :width]
    if min(len(train), len(test)) < 2:
        raise ValueError(f"{paths[0]} or {paths[1].name} is not the published table: no rows of class 1")
    mean, deviation = train.mean(0), train.std(0, ddof=1)
    _require_variation(deviation, paths[0])
    train, test = (train - mean) / deviation, (test - mean) / deviation
    kept = (train == train.min(0)).sum(0) <= 5
    return _data_set("hepmass", (*_last_tenth(train[:, kept]), test[:, kept]))


def miniboone() -> DataSet:
    """MINIBOONE: neutrinos, x (N, 43); 29,556 training, 3,284 validation, 3,648 test rows.

    As in the MAF paper, from its already cleaned file: the last tenth for test, the last tenth of the rest for
    validation, standardised by both remaining parts, validation included.

    The file lies below `data_root()`; where it does not, the published archive of all five tables (817 MB) is
    downloaded.

    Returns:
        A `DataSet`.

    Raises:
        ValueError: where a file is not the published one.
        FileNotFoundError: where there is neither file nor network.

    References:
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).
    """
    path = MINIBOONE.get("data.npy")
    return _standardised("miniboone", *_tenths(_array(path)), path)


def bsds300() -> DataSet:
    """BSDS300: patches of photographs, x (N, 63); 1,000,000 training, 50,000 validation, 250,000 test rows.

    As in the MAF paper, from its file with the three splits in it; not standardised.

    The file lies below `data_root()`; where it does not, the published archive of all five tables (817 MB) is
    downloaded.

    Returns:
        A `DataSet`.

    Raises:
        ValueError: where a file is not the published one.
        FileNotFoundError: where there is neither file nor network.

    References:
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).
    """
    import h5py

    path = BSDS300.get("BSDS300.hdf5")
    try:
        with h5py.File(path) as file:
            parts = [file[name] for name in ("train", "validation", "test")]
            require_claim(path, sum(part.nbytes for part in parts if isinstance(part, h5py.Dataset)))
            parts = [np.asarray(part, np.float32) for part in parts]
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        raise ValueError(f"{path} is not the published table: {error}") from error
    return _data_set("bsds300", parts)


def _array(path: Path, width: int | None = None) -> np.ndarray:
    """The array in a .npy file, (N, width) float64."""
    try:
        x = array_of(path)
        if x.ndim != 2 or x.dtype.kind not in "fiu" or (width and x.shape[1] != width):
            raise ValueError(f"got {x.dtype} of shape {x.shape}, expected numbers (rows, {width or 'columns'})")
        return x.astype(np.float64)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is not the published table: {error}") from error


def _signal(path: Path) -> tuple[np.ndarray, int]:
    """The rows of class 1 of a HEPMASS file without the class, and how many columns its first line names."""
    try:
        with path.open(encoding="utf-8") as file:
            header, first = len(file.readline().split(",")), len(file.readline().split(","))
        options = csv.ReadOptions(skip_rows=1, column_names=[str(i) for i in range(first)])
        columns = csv.read_csv(path, options).columns
        x = np.stack([column.cast(pa.float64()).to_numpy() for column in columns], 1)
    except (pa.ArrowException, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path} is not the published table: {str(error).splitlines()[0]}") from error
    return x[x[:, 0] == 1][:, 1:], header


def _last_tenth(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All but the last tenth of the rows, and that."""
    cut = len(x) - len(x) // 10
    return x[:cut], x[cut:]


def _tenths(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training, validation and test rows: the last tenth is for test, the last tenth of the rest for validation."""
    rest, test = _last_tenth(x)
    return *_last_tenth(rest), test


def _uncorrelated(x: np.ndarray) -> list[int]:
    """The columns left once, as long as any two correlate above 0.98, the first that does has been dropped."""
    correlated = np.corrcoef(x, rowvar=False) > 0.98
    chosen = list(range(x.shape[1]))
    while True:
        crowded = np.flatnonzero(correlated[np.ix_(chosen, chosen)].sum(1) > 1)
        if not len(crowded):
            return chosen
        del chosen[crowded[0]]


def _require_variation(deviation: np.ndarray, path: Path) -> None:
    if not bool((deviation > 0).all()):
        raise ValueError(f"{path} is not the published table: column {int(np.argmin(deviation))} is constant or broken")


def _standardised(name: str, train: np.ndarray, validation: np.ndarray, test: np.ndarray, path: Path) -> DataSet:
    """Splits standardised by the training and validation rows."""
    measured = np.concatenate([train, validation])
    mean, deviation = measured.mean(0), measured.std(0)
    _require_variation(deviation, path)
    return _data_set(name, [(part - mean) / deviation for part in (train, validation, test)])


def _data_set(name: str, parts: Sequence[np.ndarray]) -> DataSet:
    dtype = torch.get_default_dtype()
    train, validation, test = (Split(torch.from_numpy(np.ascontiguousarray(part)).to(dtype)) for part in parts)
    return DataSet(name, train, validation, test)
