"""Experiments in TOML: read, overridden, refused in one line, built."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch

from marginflow.data import DataSpec
from marginflow.distributions import Conditional, Flow, LabelMixture, Marginalising
from marginflow.runs.build import build
from marginflow.runs.experiments import at_hand
from marginflow.runs.read_toml import evaluation, parse, read
from marginflow.runs.schema import Experiment
from marginflow.transforms import Dequantise, Flatten, Logit, Standardise

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
MINIMAL = {"data": {"name": "half_moons"}, "model": {"name": "planar"}}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    return path


TEXT = """
[data]
name = "half_moons"
[model]
name = "planar"
[train]
lr = 1e-3
"""


@pytest.mark.parametrize("path", at_hand().values(), ids=lambda path: path.stem)
def test_every_experiment_of_the_repository_is_valid_and_survives_its_own_toml(path: Path) -> None:
    experiment = read(path)
    assert parse(tomllib.loads(experiment.to_toml()), "again") == experiment


def test_the_baseline_differs_in_the_noise_alone() -> None:
    for name in ("half_moons_planar", "mnist_maf"):
        plain, marginal = read(EXPERIMENTS / f"{name}.toml"), read(EXPERIMENTS / f"{name}_marginal.toml")
        assert plain.model_copy(update={"noise": marginal.noise}) == marginal
        assert plain.noise.features == 0 < marginal.noise.features


def test_overrides_are_toml_values_or_text(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT)
    overrides = ["train.lr=1e-4", "data.num_train=100", "model.activation=arctan", "noise.features = 3"]
    experiment = read(path, overrides)
    assert experiment.train.lr == 1e-4
    options = experiment.model_dump()
    assert options["data"]["num_train"] == 100
    assert options["model"]["activation"] == "arctan"
    assert options["noise"]["features"] == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.lrr=1", r"unknown key train\.lrr; known here: epochs, batch_size, lr"),
        ("training.lr=1", "unknown key training; known here: data, schema, dequantise, preprocess, model"),
        ("model.hidden=[3]", r"unknown key model\.hidden; known here: name, blocks, activation"),
        ("model.name=glowing", r"unknown model 'glowing'; did you mean glow\?"),
        ("dequantise.name=maf", "unknown dequantise 'maf'; there are uniform, realnvp_images, glow"),
        ("data.name=moons", r"unknown data 'moons'; did you mean half_moons\?"),
        ("data.nose=0.1", r"unknown key data\.nose; known here: name, num_train"),
        ("noise.features=-1", r"noise\.features = -1: input should be greater than or equal to 0"),
        ("evaluate.num_samples=0", r"evaluate\.num_samples = 0"),
        ("train.epochs=many", r"train\.epochs = 'many'"),
        ("train.lr", "--set takes SECTION.KEY=VALUE"),
        ("lr=3", r"--set takes SECTION.KEY=VALUE, .*; did you mean train\.lr=3\?"),
        ("epoch=3", r"got 'epoch=3'; did you mean train\.epochs=3\?"),
        ("seed=3", r"did you mean train\.seed=3 or data\.seed=3\?"),
        ("nonsense=3", r"got 'nonsense=3'$"),
        ("train.epoch=1", r"did you mean train\.epochs\?"),
        ("model.block=1", r"did you mean model\.blocks\?"),
        ("data.name.x=3", "name is a value, not a section"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(written(tmp_path, TEXT), [override])
    assert "\n" not in str(caught.value)


def test_missing_parts_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="model is missing"):
        read(written(tmp_path, '[data]\nname = "half_moons"'))
    with pytest.raises(ValueError, match=r"data\.name is missing"):
        read(written(tmp_path, "[data]\nseed = 1"))
    with pytest.raises(ValueError, match="is not a TOML file"):
        read(written(tmp_path, "[data"))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read(tmp_path / "nowhere.toml")


def test_images_are_dequantised_scaled_and_flattened_before_the_density() -> None:
    table = {**MINIMAL, "preprocess": {"logit": 0.05, "standardise": True}, "noise": {"features": 4}}
    model = build(parse(table, "test"), DataSpec((1, 8, 8), levels=17))
    assert [type(each) for each in model.transform] == [Dequantise, Logit, Flatten, Standardise]
    assert isinstance(model.base, Marginalising)
    assert isinstance(model.base.flow, Flow)
    assert model.base.flow.event_shape == (68,)
    assert model.event_shape == (1, 8, 8)
    once = build(parse(table, "test"), DataSpec((1, 8, 8), levels=17, dequantised=True))
    assert [type(each) for each in once.transform] == [Logit, Flatten, Standardise]


IMAGES = {"data": {"name": "digits"}, "model": {"name": "glow", "hidden": [4], "blocks": 1}}


def test_models_of_images_keep_them_and_take_noise_as_channels() -> None:
    table = {
        **IMAGES,
        "preprocess": {"logit": 0.05, "standardise": True},
        "noise": {"name": "realnvp_images", "features": 2, "levels": 1, "hidden": [4]},
        "dequantise": {"name": "glow", "blocks": 1, "hidden": [4]},
    }
    model = build(parse(table, "test"), DataSpec((3, 8, 8), levels=17))
    assert [type(each) for each in model.transform] == [Dequantise, Logit, Standardise]
    assert model.transform[0].noise.context_features == 3
    assert isinstance(model.base, Marginalising)
    assert model.base.flow.event_shape == (5, 8, 8)
    assert (model.base.augment.noise.event_shape, model.base.augment.noise.context_features) == ((2, 8, 8), 3)
    model.transform[-1].set_statistics(torch.zeros(3), torch.ones(3))
    assert model.sample(2).shape == (2, 3, 8, 8)
    assert model.log_prob(torch.zeros(2, 3, 8, 8, dtype=torch.uint8)).shape == (2,)


def test_labels_reach_the_couplings_of_an_image_model() -> None:
    table = {**IMAGES, "data": {"name": "digits", "labels": True}, "context": {"features": 5}}
    model = build(parse(table, "test"), DataSpec((1, 8, 8), 17, context_features=3, labels=("a", "b", "c")))
    assert isinstance(model.base, LabelMixture)
    assert isinstance(model.base.flow, Conditional)
    assert model.base.flow.flow.context_features == 5


@pytest.mark.parametrize(
    ("change", "spec", "message"),
    [
        ({}, DataSpec((2,)), r"glow works on images \(C, H, W\); got the event shape \(2,\)"),
        ({"noise": {"name": "maf", "features": 1}}, DataSpec((1, 8, 8), 17), "maf works on vectors"),
        ({"noise": {"features": 1, "after_blocks": 1}}, DataSpec((1, 8, 8), 17), "glow is one of images"),
        ({"dequantise": {"name": "glow"}}, DataSpec((1, 8, 8), 17, True), "it already: leave data.noise out"),
        ({"dequantise": {"name": "glow"}, "model": {"name": "planar"}}, DataSpec((2,)), "no grey levels: leave it out"),
        ({"model": {"name": "glow", "levels": 4}}, DataSpec((1, 8, 8), 17), "at most levels=3 fits"),
    ],
)
def test_what_does_not_fit_images_is_refused(change: dict, spec: DataSpec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(parse({**IMAGES, **change}, "test"), spec)


@pytest.mark.parametrize("table", ["noise", "dequantise"])
def test_noise_models_have_no_dropout_through_which_nothing_can_be_drawn(table: str) -> None:
    options = {"name": "glow", **({"features": 1} if table == "noise" else {})}
    parse({**IMAGES, table: options}, "test")
    with pytest.raises(ValueError, match=rf"unknown key {table}\.dropout"):
        parse({**IMAGES, table: {**options, "dropout": 0.5}}, "test")


def test_no_noise_is_the_plain_flow() -> None:
    assert isinstance(build(parse(MINIMAL, "test"), DataSpec((2,))).base, Flow)


def test_weights_depend_on_the_seed_alone() -> None:
    def first(seed: int) -> float:
        model = build(parse({**MINIMAL, "train": {"seed": seed}}, "test"), DataSpec((2,)))
        return float(next(model.parameters()).detach().sum())

    assert first(1) == first(1) != first(2)


def test_a_context_widens_every_model() -> None:
    table = {"data": {"name": "digits"}, "model": {"name": "maf", "hidden": [8], "blocks": 1}}
    assert build(parse(table, "test"), DataSpec((64,), context_features=10)).context_features == 10
    assert build(parse(MINIMAL, "test"), DataSpec((64,), context_features=10)).context_features == 10


def test_logit_is_for_values_that_have_ends() -> None:
    with pytest.raises(ValueError, match=r"logit is for values in \[0, 1\], of images and tables"):
        build(parse({**MINIMAL, "preprocess": {"logit": 0.1}}, "test"), DataSpec((2,)))


def test_evaluation_overrides_are_checked() -> None:
    experiment: Experiment = parse(MINIMAL, "test")
    assert evaluation(experiment, {"num_samples": 5, "rows": None}).num_samples == 5
    with pytest.raises(ValueError, match="num_samples = 0"):
        evaluation(experiment, {"num_samples": 0})


def test_a_key_of_several_types_says_all_that_would_do() -> None:
    table = {**MINIMAL, "model": {"name": "maf", "batch_norm": "befor"}}
    with pytest.raises(ValueError, match=r"model\.batch_norm = 'befor': .*boolean.*, or .*'before' or 'after'"):
        parse(table, "test")
