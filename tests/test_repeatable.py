"""Numbers that can be had again: bit for bit, with what made them, and how far their precision carries."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from command import Call, succeeds
from registry import DISTRIBUTIONS, Case

from marginflow import LabelMixture, __version__, evaluate, models
from marginflow.base.distribution import Distribution
from marginflow.base.moments import Median, Moments
from marginflow.data import DataSpec, Split
from marginflow.distributions import DiagonalNormal, Flow, Marginalising, StandardNormal
from marginflow.evaluation.evaluate import Account, RowResults, evaluate_blocks, evaluate_rows
from marginflow.evaluation.float32_error import disagreement
from marginflow.evaluation.sample import Draws, draw
from marginflow.runs import evaluate as evaluating
from marginflow.runs import load as runs_load
from marginflow.runs import provenance
from marginflow.runs.load import load
from marginflow.transforms import Dequantise, Logit, Permutation, Standardise

TABLE = "[data]\nname = 'digits'\n[preprocess]\nlogit = 0.05\n[model]\nname = 'maf'\nhidden = [32]\nblocks = 2\n"
REST = "batch_norm = true\ndropout = 0.1\n[noise]\nfeatures = 2\n[train]\nepochs = 2\nema = 0.9\n"


ALL = """
import sys
from typer.testing import CliRunner
from marginflow.cli import app

for command in (
    "train digits.toml --run-dir RUN --deterministic",
    "evaluate RUN -K 5 -o RUN.npy --deterministic --no-figures",
    "sample RUN -n 1200 -o RUN.parquet --deterministic",
    "sample RUN -n 1200 -o RUN.1.parquet --deterministic --seed 1",
):
    result = CliRunner().invoke(app, command.replace("RUN", sys.argv[1]).split())
    assert result.exit_code == 0, result.output
"""


def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    (tmp_path / "digits.toml").write_text(TABLE + REST)
    for run in ("one", "two"):
        command = [sys.executable, "-c", ALL, run]  # a process for each
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=200)
    for name in ("{}/model.safetensors", "{}.npy", "{}.parquet", "{}.1.parquet"):
        one, two = ((tmp_path / name.format(run)).read_bytes() for run in ("one", "two"))
        assert one == two, name
    one, two = (json.loads((tmp_path / run / "evaluation.json").read_text()) for run in ("one", "two"))
    for record in (one, two):
        del record["evaluate_seconds"], record["train_seconds"]
    assert one == two
    assert (tmp_path / "one.1.parquet").read_bytes() != (tmp_path / "one.parquet").read_bytes()


@pytest.mark.usefixtures("single")
def test_deterministic_is_asked_of_torch_while_evaluating_and_sampling(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeeds(call("train", "moons.toml", "--set", "train.epochs=1"))
    seen: list[bool] = []

    class Watched(Distribution):
        def log_prob(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
            seen.append(torch.are_deterministic_algorithms_enabled())
            return inner.log_prob(x)

        def sample(self, num_samples: int, context: torch.Tensor | None = None) -> torch.Tensor:
            seen.append(torch.are_deterministic_algorithms_enabled())
            return inner.sample(num_samples)

        def sample_and_log_prob(self, num_samples: int, context: torch.Tensor | None = None) -> tuple:
            raise NotImplementedError

    inner = load("runs/moons")
    watched = Watched()
    monkeypatch.setattr(runs_load, "load", lambda *_: watched)
    monkeypatch.setattr(evaluating, "load", lambda *_: watched)
    for on in (True, False):
        more = ["--deterministic"] if on else []
        succeeds(call("evaluate", "runs/moons", "--no-figures", *more))
        succeeds(call("sample", "runs/moons", "-o", "a.npy", *more))
        assert seen
        assert all(each == on for each in seen)
        seen.clear()


@pytest.mark.usefixtures("single")
def test_results_say_what_made_them(call: Call) -> None:
    succeeds(call("train", "moons.toml", "--set", "train.epochs=1", "--set", "train.seed=7"))
    succeeds(call("evaluate", "runs/moons", "--no-figures", "--seed", 3))
    record = json.loads(Path("runs/moons/evaluation.json").read_text())
    here = {
        "marginflow": __version__,
        "git_head": provenance.git_head(),
        "torch": torch.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
    }
    for made in (record, record["evaluated_by"], json.loads(Path("runs/moons/manifest.json").read_text())):
        assert {key: made[key] for key in here} == here
        assert made["machine"]["threads"] == torch.get_num_threads()
    assert record["device"] == "cpu"
    assert (record["experiment"]["train"]["seed"], record["test"]["seed"]) == (7, 3)
    assert 0 < record["float32_against_float64"]["largest"] < 1e-3


def test_the_commit_is_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        name = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
        command = ["git", *name, "-C", str(tmp_path / "code"), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "code").mkdir()
    git("init")
    (tmp_path / "code" / "a.py").write_text("1\n")
    git("add", "a.py")
    git("commit", "-m", "first")
    head = git("rev-parse", "HEAD")
    found = provenance.git_head.__wrapped__
    assert found(tmp_path / "code") == head
    (tmp_path / "code" / "b.py").write_text("not of the code\n")
    assert found(tmp_path / "code") == head
    (tmp_path / "code" / "a.py").write_text("2\n")
    assert found(tmp_path / "code") == f"{head}+changes"
    (tmp_path / "code" / "installed").mkdir()
    assert found(tmp_path / "code" / "installed") is None  # in a folder of another project
    monkeypatch.setenv("PATH", "")
    assert found(tmp_path / "code") is None


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize("case", DISTRIBUTIONS.values(), ids=list(DISTRIBUTIONS))
def test_float64_sees_the_same_rows_and_the_same_noise(case: Case) -> None:
    torch.manual_seed(0)
    model = case.build().eval()
    x = case.x(40)
    found = disagreement(model.float(), Split(x.float() if x.is_floating_point() else x, case.context(40)))
    if next(model.parameters(), None) is None:
        assert found is None
        return
    assert found is not None
    assert found.num_rows == 40
    assert 0 <= found.mean <= found.largest < 1e-3  # other noise moves it by 1


@pytest.mark.usefixtures("single")
def test_disagreement_is_that_of_a_copy_in_float64() -> None:
    torch.manual_seed(0)
    standardise = Standardise(2)
    standardise.set_statistics(torch.tensor([3000.0, 0.0]), torch.tensor([1.0, 1.0]))
    model = Flow([standardise], models.maf(2, hidden=[16], blocks=2)).eval()
    x = torch.randn(5000, 2, dtype=torch.float64) + torch.tensor([3000.0, 0.0])
    x = x.float()
    found = disagreement(model, Split(x))
    assert found is not None
    assert found.num_rows == 1000
    rows = x[torch.linspace(0, 4999, 1000).long()]
    with torch.no_grad():
        single = model.log_prob(rows)
        double = model.double().log_prob(rows.double())
    apart = (single.double() - double).abs()
    assert found.mean == float(apart.mean()) > 1e-9
    assert found.largest == float(apart.max())
    assert disagreement(model, Split(x)) is None  # it is in float64 now


@pytest.mark.usefixtures("single")
def test_what_float32_makes_of_the_rows_is_counted() -> None:
    torch.manual_seed(0)
    standardise = Standardise(1)
    standardise.set_statistics(torch.tensor([1e5]), torch.tensor([1.0]))
    model = Flow([standardise], Flow([Permutation(1)], StandardNormal(1)))
    model.register_parameter("like", torch.nn.Parameter(torch.zeros(())))  # by which it is in float32
    z = torch.randn(500, 1, dtype=torch.float64)
    found = disagreement(model, Split(z + 1e5))
    assert found is not None
    rounded = (z + 1e5).float().double() - 1e5  # float32 has steps of 1/128 there
    assert found.mean == pytest.approx(float((rounded**2 - z**2).abs().mean() / 2), rel=1e-2)
    assert found.largest > 1e-3


def test_other_noise_is_refused_where_it_can_be_told() -> None:
    class Fickle(DiagonalNormal):
        def log_prob(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
            for _ in range(1 + (x.dtype == torch.float64)):
                x = x + torch.randn_like(x)
            return super().log_prob(x)

    with pytest.raises(ValueError, match="draws other noise in float64"):
        disagreement(Fickle(2).float(), Split(torch.zeros(5, 2)))


@pytest.mark.usefixtures("single")
def test_pixels_and_labels_are_compared_too() -> None:
    pixels = torch.randint(256, (30, 4), dtype=torch.uint8)
    noise = DiagonalNormal(1, torch.nn.Linear(4, 2), 4)
    model = Flow([Dequantise(256), Logit(0.05)], Marginalising(models.planar(5), noise))
    found = disagreement(model, Split(pixels))
    assert found is not None
    assert found.largest < 1e-4


def spread(x: torch.Tensor, sizes: list[int]) -> Iterator[torch.Tensor]:
    return iter(x.split(sizes))


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_moments_do_not_depend_on_how_values_come(offset: float) -> None:
    values = torch.randn(1000) ** 3 + offset
    moments = Moments()
    for part in spread(values, [1, 300, 2, 697]):
        moments.add(part)
    found = moments.estimate(0.5)
    assert found.value == pytest.approx(float(values.mean()), rel=1e-12)
    assert found.standard_error == pytest.approx(float(values.std()) / 1000**0.5, rel=1e-8)
    assert found.draws_error == 0.5


def test_a_median_is_exact_until_values_are_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(1001)
    median = Median()
    for part in spread(values, [1, 500, 500]):
        median.add(part)
    assert median.value() == float(values.median())
    monkeypatch.setattr("marginflow.base.moments.OF_MEDIAN", 100)
    thinned = Median()
    for part in torch.arange(1001.0).split([3, 98, 40, 1, 859]):
        thinned.add(part)
    assert thinned.kept.tolist() == list(range(0, 1001, thinned.every))  # whatever the parts
    assert 50 <= len(thinned.kept) <= 100
    assert thinned.value() == pytest.approx(500, abs=thinned.every)


@pytest.mark.parametrize("name", ["exact", "marginal", "unconverged"])
def test_the_accounting_of_blocks_is_that_of_all_rows(name: str) -> None:
    torch.manual_seed(0)
    flow = models.maf(3, hidden=[16], blocks=2).eval()
    model = flow if name == "exact" else Marginalising(flow, StandardNormal(1))
    x, draws = torch.randn(4096 + 4096 + 10, 3 if name == "exact" else 2), 3 if name == "unconverged" else 20
    whole = evaluate(model, x, num_samples=draws, seed=5)
    account = Account(DataSpec(tuple(x.shape[1:])), exact=model.exact, num_samples=draws, seed=5)
    for found in evaluate_blocks(model, [Split(part) for part in x.split(4096)], num_samples=draws, seed=5):
        account.add(found)
    one, other = whole.as_dict(), account.accounting().as_dict()
    assert one.keys() == other.keys()
    for key, value in one.items():
        if isinstance(value, dict):
            assert other[key].keys() == value.keys()
            for part, number in value.items():
                expected = pytest.approx(number, rel=1e-9) if number is not None else None
                assert other[key][part] == expected, (key, part)
        else:
            assert other[key] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), key


def test_blocks_draw_on_and_do_not_repeat_their_noise() -> None:
    model = Marginalising(DiagonalNormal(2), StandardNormal(1))
    with torch.no_grad():
        model.flow.mean.fill_(0.5)
    same = [Split(torch.zeros(5, 1))] * 2
    first, second = (found.result.bound for found in evaluate_blocks(model, same, num_samples=2))
    assert not torch.isclose(first, second).any()


def test_what_is_drawn_between_blocks_and_blocks_do_not_touch_each_other() -> None:
    model = Marginalising(DiagonalNormal(2), StandardNormal(1)).train()
    parts = [Split(torch.zeros(5, 1))] * 3
    alone = [found.result.bound for found in evaluate_blocks(model, parts, seed=1)]
    torch.manual_seed(0)
    expected = torch.rand(3).tolist()
    torch.manual_seed(0)
    between, drawn = [], []
    for found in evaluate_blocks(model, parts, seed=1):
        assert model.training
        drawn.append(found.result.bound)
        between.append(torch.rand(1).item())
    assert between == expected
    assert all(torch.equal(one, other) for one, other in zip(alone, drawn, strict=True))
    flow = Flow([Permutation(2)], models.planar(2))
    draws = [Draws(flow, DataSpec((2,)), 9000, seed=1) for _ in range(2)]
    pairs = list(zip(*draws, strict=True))  # in turn
    assert len(pairs) > 1
    assert all(torch.equal(one, other) for one, other in pairs)
    assert torch.equal(torch.cat([one for one, _ in pairs]), draw(flow, DataSpec((2,)), 9000, seed=1))


def test_a_label_without_density_is_no_number_either() -> None:
    class Never(StandardNormal):
        context_features = 2

        def log_prob(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
            assert context is not None
            return torch.where(context[:, 0] == 1, -torch.inf, super().log_prob(x))

    rows = Split(torch.zeros(4, 1), torch.eye(2)[[1, 1, 0, 1]])
    with pytest.raises(FloatingPointError, match="log p is -inf at row 2 "):
        evaluate(LabelMixture(Never(1), 2), rows)


def test_log_p_that_is_no_number_is_named_by_its_row() -> None:
    class Holes(StandardNormal):
        value = torch.nan

        def log_prob(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
            return torch.where(x[:, 0] == 7, self.value, super().log_prob(x))

    holes = Holes(1)
    x = torch.zeros(10, 1)
    x[6:8] = 7
    for value, message in (
        (
            torch.nan,
            r"log p is nan at row 6 \(counted from 0\), and not finite at 2 of 10 rows: the model has diverged",
        ),
        (-torch.inf, "log p is -inf at row 6 .* its density is 0 there"),
        (torch.inf, "log p is inf at row 6 .* the model has diverged"),
    ):
        holes.value = value
        with pytest.raises(FloatingPointError, match=message):
            evaluate(holes, x)
    results: list[RowResults] = []
    with pytest.raises(FloatingPointError, match=r"at row 9 \(counted from 0\), and not finite at 2 of 3 rows"):
        results.extend(evaluate_blocks(holes, [Split(x[:4]), Split(x[:4]), Split(x[5:8])]))
    assert evaluate_rows(holes, Split(x[:6])).result.log_prob.isfinite().all()


def test_a_log_determinant_of_the_preprocessing_that_is_no_number_is_named_too() -> None:
    class Folding(Permutation):
        def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
            return super().forward(x)[0], torch.where(x[:, 0] == 7, -torch.inf, 0.0)

    x = torch.zeros(5, 2)
    x[3] = 7
    with pytest.raises(FloatingPointError, match=r"log p is -inf at row 3 .* not finite at 1 of 5 rows"):
        evaluate(Flow([Folding(2)], Flow([Permutation(2)], StandardNormal(2))), x)
