"""Files from strangers: damaged ones, and such as claim more than they hold, end in an error of ours."""

from __future__ import annotations

import gzip
import io
import pickle
import random
import shutil
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import feather, parquet
from stress.fuzz import CORPUS, mutated
from stress.loaders import load, valid

from marginflow import data
from marginflow.data import DataSpec
from marginflow.data.arrow_limits import claimed_by_feather
from marginflow.data.images import datasets as images
from marginflow.data.pickled_frames import read_frame
from marginflow.data.tables import read as columns
from marginflow.data.tables import table as tables
from marginflow.data.tables.other_rows import chunks_for
from marginflow.distributions import Flow
from marginflow.runs.build import build, load_data
from marginflow.runs.experiments import at_hand
from marginflow.runs.load import load as load_run
from marginflow.runs.read_toml import read
from marginflow.runs.schema import Experiment
from marginflow.storage.files import packed
from marginflow.storage.limits import require_model_size
from marginflow.training.checkpoint import load_trainer
from marginflow.training.metrics import read_metrics
from marginflow.transforms import Planar


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return valid(tmp_path_factory.mktemp("valid"))


@pytest.fixture(autouse=True)
def _as_users(single: None) -> None:
    """In float32."""


def placed(name: str, source: Path, content: bytes, folder: Path) -> Path:
    """A damaged file where its loader looks for it."""
    if name.startswith("run "):
        shutil.rmtree(folder / "run", ignore_errors=True)
        shutil.copytree(source.parent, folder / "run")
        (folder / "run" / "checksums.json").unlink()
        path = folder / "run" / source.name
    else:
        path = folder / "maf" / "BSDS300" / source.name if name == "hdf5" else folder / source.name
        path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kept", sorted(CORPUS.glob("*")), ids=lambda path: path.name)
def test_what_once_failed_is_refused_now(kept: Path, seeds: dict[str, Path], tmp_path: Path) -> None:
    name = kept.name.split("-")[0].replace("_", " ")
    with pytest.raises((ValueError, OSError)):
        load(name, placed(name, seeds[name], kept.read_bytes(), tmp_path))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_end_in_an_error_of_ours_or_in_success(
    seeds: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few hundred of the ten thousand of tests/stress/fuzz.py."""
    monkeypatch.setenv("MARGINFLOW_DATA", "")
    chance, refused = random.Random(0), 0
    for name, source in seeds.items():
        load(name, source)
        for _ in range(20):
            path = placed(name, source, mutated(source.read_bytes(), chance), tmp_path)
            try:
                load(name, path)
            except (ValueError, OSError):
                refused += 1
    assert refused > 10 * len(seeds)


def test_a_state_names_nothing_that_takes_memory_or_runs_code(tmp_path: Path) -> None:
    class Takes:
        def __reduce__(self) -> tuple[object, tuple[int]]:
            return bytearray, (2**40,)

    for content in ({"position": Takes()}, {"position": print}):
        torch.save(content, tmp_path / "trainer.pt")
        with pytest.raises(
            ValueError, match=r"it names (builtins|__builtin__) (bytearray|print), which a state does not"
        ):
            load_trainer(tmp_path)
    torch.save({"x": torch.zeros(3)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as archive, zipfile.ZipFile(tmp_path / "trainer.pt", "w") as other:
        for entry in archive.infolist():
            other.writestr(entry.filename, archive.read(entry), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="its parts are compressed"):
        load_trainer(tmp_path)
    torch.save({"x": torch.zeros(3)}, tmp_path / "trainer.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="no archive of torch"):
        load_trainer(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        ("hidden = [\n    8,\n]", "hidden = [100000, 100000]"),
        ("hidden = [\n    8,\n]", "hidden = [1000000000]"),
        ("hidden = [\n    8,\n]", "hidden = [15000, 15000]"),
        ("blocks = 2", "blocks = 1000000000"),
        ("features = 1", "features = 10000000000"),
    ],
)
def test_a_run_that_claims_a_model_larger_than_its_weights_is_not_built(
    seeds: dict[str, Path], tmp_path: Path, change: tuple[str, str]
) -> None:
    source = seeds["run config.toml"]
    text = source.read_text()
    assert change[0] in text
    path = placed("run config.toml", source, text.replace(*change).encode(), tmp_path)
    with pytest.raises(ValueError, match="they do not belong together"):
        load_run(path.parent)


def test_models_of_every_kind_are_as_large_as_they_say_on_the_meta_device(tmp_path: Path) -> None:
    """What refuses a stranger's run refuses none of our experiments: each is counted as it is built."""
    for path in at_hand().values():
        experiment = read(path)
        if experiment.data.name not in ("digits", "half_moons"):
            continue
        spec = load_data(experiment).spec
        built = build(experiment, spec).state_dict()
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(packed(built))
        counted = []

        def make(experiment: Experiment = experiment, spec: DataSpec = spec, counted: list[Flow] = counted) -> Flow:
            counted.append(build(experiment, spec))
            return counted[0]

        require_model_size(weights, experiment.model_dump(exclude={"data", "train", "evaluate"}), make)
        told = counted[0].state_dict()
        assert {name: each.shape for name, each in told.items()} == {name: each.shape for name, each in built.items()}
        assert all(each.is_meta for each in counted[0].parameters())


def test_numbers_of_a_schema_are_no_sizes(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    model = Planar(2)
    weights.write_bytes(packed(model.state_dict()))
    grid = {"step": 86_400, "origin": 1_357_020_000, "digits": 2}
    claims = {"schema": {"columns": [{"grid": grid, "lower": 10**9, "upper": 10**12, "atoms": [10**9]}]}}
    require_model_size(weights, claims, lambda: Planar(2))


@pytest.mark.slow
def test_a_table_that_claims_to_be_huge_is_not_made(tmp_path: Path) -> None:
    constant = pa.table({"x": pa.DictionaryArray.from_arrays(np.zeros(4_000_000, np.int32), [1.0]).dictionary_decode()})
    with parquet.ParquetWriter(tmp_path / "bomb.parquet", constant.schema, compression="zstd") as writer:
        for _ in range(40):
            writer.write_table(constant)
    assert (tmp_path / "bomb.parquet").stat().st_size < 1e6
    with pytest.raises(ValueError, match=r"claims to hold 1,280,000,000, more than 4 times as many"):
        tables.table(str(tmp_path / "bomb.parquet"))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 4)})
    (tmp_path / "bomb.npy").write_bytes(header.getvalue() + bytes(320))
    with pytest.raises(ValueError, match=r"bomb.npy cannot be read as .npy: mmap length is greater"):
        tables.table(str(tmp_path / "bomb.npy"))


@pytest.mark.filterwarnings("ignore:Feather V1 files are deprecated:DeprecationWarning")
@pytest.mark.parametrize("compression", ["lz4", "zstd", "uncompressed"])
def test_what_the_parts_of_a_feather_file_become_is_known_before_they_are(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "table.feather"
    kinds = pa.array(["x", "y"] * 25_000)
    table = pa.table({
        "zeros": np.zeros(50_000), "noise": np.random.default_rng(0).normal(size=50_000), "text": kinds,
        "class": kinds.dictionary_encode(), "some": pa.array([None, 1.5] * 25_000),
    })  # fmt: skip
    feather.write_feather(table, path, compression=compression, chunksize=20_000)
    assert table.nbytes <= claimed_by_feather(path) < 1.01 * table.nbytes
    assert columns.read(path).columns["noise"].to_pylist() == table["noise"].to_pylist()
    names = pa.table({"name": pa.array([f"{i:030}" for i in range(5000)]).dictionary_encode()})
    feather.write_feather(names, path, compression=compression)  # most of which is the dictionary
    assert names.nbytes <= claimed_by_feather(path) < 1.01 * names.nbytes
    feather.write_feather(table, path, version=1)  # which has no messages
    assert columns.read(path).columns["noise"].to_pylist() == table["noise"].to_pylist()


@pytest.mark.parametrize("claim", [2**31, 2**62])
def test_a_part_that_claims_to_become_huge_is_not_made(tmp_path: Path, claim: int) -> None:
    path = tmp_path / "bomb.feather"
    feather.write_feather(pa.table({"x": np.zeros(50_000)}), path)
    content = path.read_bytes()
    said = struct.pack("<q", 400_000)
    assert content.count(said) == 1
    path.write_bytes(content.replace(said, struct.pack("<q", claim)))
    message = f"claims to hold {claim:,}, more than 4 times as many"
    with pytest.raises(ValueError, match=message):
        tables.table(str(path))
    with pytest.raises(ValueError, match=message):
        list(chunks_for(DataSpec((1,), columns=("x",)), str(path)))


def test_metrics_may_be_longer_than_other_texts_but_not_without_end(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    line = b'{"epoch": 1}' + b" " * 10**6 + b"\n"
    path.write_bytes(line * 20)
    assert len(read_metrics(tmp_path)) == 20
    with path.open("r+b") as file:
        file.truncate(2**27 + 1)
    with pytest.raises(ValueError, match="a file of its kind has 134,217,728 at most"):
        read_metrics(tmp_path)


def test_packed_images_are_unpacked_no_further_than_they_can_be_right(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bomb.gz", "wb") as file:
        for _ in range(70):
            file.write(bytes(2**20))
    with pytest.raises(ValueError, match="it holds more than 67,108,864 bytes"):
        images._content(tmp_path / "bomb.gz", "0")
    with pytest.raises(ValueError, match="is truncated: it holds 4 bytes of data, expected 18446744065119617025"):
        images.parse_idx(b"\x00\x00\x08\x02" + struct.pack(">2I", 2**32 - 1, 2**32 - 1) + b"1234", tmp_path)


def test_frames_and_archives_of_numbers_hold_no_more_than_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = pickle.dumps(np.zeros(3)).replace(b"K\x00\x85", b"J\xff\xff\xff\x7f\x85", 1)
    (tmp_path / "frame").write_bytes(array)
    (tmp_path / "numbered").write_bytes(b"\x80\x02]r" + struct.pack("<I", 2**30) + b".")
    with pytest.raises(ValueError, match="it numbers a part 1073741824, of 9 bytes"):
        read_frame(tmp_path / "numbered")
    with pytest.raises(ValueError, match=r"it begins an array with shape \(2147483647,\), not \(0,\)"):
        read_frame(tmp_path / "frame")
    (tmp_path / "BSDS300").mkdir()
    with h5py.File(tmp_path / "BSDS300" / "BSDS300.hdf5", "w") as file:
        for name in ("train", "validation", "test"):
            file.create_dataset(name, shape=(10**9, 63), dtype="f4", chunks=(1000, 63), compression="gzip")
    monkeypatch.setenv("MARGINFLOW_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="claims to hold 756,000,000,000"):
        data.load("bsds300")


def test_an_experiment_reaches_for_no_data_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    np.save(tmp_path / "table.npy", np.random.default_rng(0).normal(size=(50, 2)))
    experiment = tmp_path / "mine" / "experiment.toml"
    for path in ("../table.npy", str(tmp_path / "table.npy"), "link.npy"):
        (tmp_path / "mine" / "link.npy").unlink(missing_ok=True)
        (tmp_path / "mine" / "link.npy").symlink_to(tmp_path / "table.npy")
        experiment.write_text(f'[data]\nname = "table"\npath = "{path}"\n[model]\nname = "planar"\n')
        with pytest.raises(ValueError, match="lies outside the folder of the experiment"):
            read(experiment)
    found = read(experiment, [f"data.path={tmp_path / 'table.npy'}"])
    assert found.data.model_dump()["path"] == str(tmp_path / "table.npy")
    experiment.write_text('[data]\nname = "table"\npath = "table.npy"\n[model]\nname = "planar"\n')
    assert read(experiment).data.model_dump()["path"] == str(tmp_path / "mine" / "table.npy")


@pytest.mark.parametrize("text", ["[" * 100_000, "x = " + "[" * 100_000])
def test_what_is_nested_without_end_is_refused(tmp_path: Path, text: str, seeds: dict[str, Path]) -> None:
    (tmp_path / "deep.toml").write_text(text)
    with pytest.raises(ValueError, match="is not a TOML file"):
        read(tmp_path / "deep.toml")
    for name in ("run manifest.json", "run config.toml", "run evaluation.json", "run metrics.jsonl"):
        with pytest.raises(ValueError, match="is damaged"):
            load(name, placed(name, seeds[name], text.encode() + b"\n", tmp_path))
