"""An experiment as one TOML file: sections validated, defaults filled in, built into a model and data."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import tomli_w
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from marginflow import models
from marginflow.data import DATA_SETS, DataSet, DataSpec
from marginflow.distributions import Distribution, LabelMixture, StandardNormal
from marginflow.flow import Flow
from marginflow.marginal import Marginalising
from marginflow.randomness import seeded
from marginflow.training import TrainConfig
from marginflow.transforms import Dequantise, Flatten, Logit, Standardise, Transform

MODELS: dict[str, Callable[..., Flow]] = {"maf": models.maf, "planar": models.planar}
_FROM_DATA = {"features", "context_features"}  # arguments of models that follow from the data


class Section(BaseModel):
    """A table of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _section_of(name: str, function: Callable[..., Any]) -> type[Section]:
    """A section whose keys are the arguments of a function; those without a default must be given."""
    hints = get_type_hints(function)
    options = {
        key: (hints[key], ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for key, parameter in inspect.signature(function).parameters.items()
        if key not in _FROM_DATA
    }
    fields: dict[str, Any] = {"name": (Literal[name], ...), **options}  # pyright: ignore[reportInvalidTypeForm]
    return create_model(name, __base__=Section, **fields)


def _one_of(names: Iterable[str]) -> Any:
    """The type of a section that is one of the named ones, told apart by its `name`."""
    return Annotated[reduce(or_, [_SECTIONS[name] for name in names]), Field(discriminator="name")]


_SECTIONS = {name: _section_of(name, function) for name, function in {**DATA_SETS, **MODELS}.items()}

if TYPE_CHECKING:

    class Named(Section):
        """A section that names a data set or model and holds its options."""

        name: str

    DataSection = ModelSection = Named
else:
    DataSection = _one_of(DATA_SETS)
    ModelSection = _one_of(MODELS)


class Preprocess(Section):
    """Between the raw data and the density. Grey levels are dequantised wherever the data set has not done so."""

    logit: float | None = Field(default=None, ge=0, lt=0.5)  # alpha
    standardise: bool = False


class Noise(Section):
    """The noise dimensions of a marginalising flow; 0 features is the plain flow."""

    name: Literal["standard_normal"] = "standard_normal"
    features: int = Field(default=0, ge=0)


class Evaluate(Section):
    """How `evaluate` takes the accounting, unless the command line says otherwise."""

    num_samples: int = Field(default=100, ge=1)
    rows: int | None = Field(default=None, ge=2)
    seed: int = Field(default=0, ge=0, lt=2**32)


class Experiment(Section):
    """All of an experiment."""

    data: DataSection
    preprocess: Preprocess = Preprocess()
    model: ModelSection
    noise: Noise = Noise()
    train: TrainConfig = TrainConfig()
    evaluate: Evaluate = Evaluate()

    def to_toml(self) -> str:
        """The experiment with every default filled in; keys that are None are left out."""
        return tomli_w.dumps(self.model_dump(exclude_none=True, mode="json"))


def about(function: Callable[..., Any]) -> str:
    """What a data set or model is: the first line of its docstring."""
    return (inspect.getdoc(function) or "").partition("\n")[0]


def read(path: Path, overrides: Iterable[str] = ()) -> Experiment:
    """The experiment in a TOML file, with overrides such as "train.lr=1e-4"; ValueError that names the key."""
    try:
        table = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist: give the path of an experiment's TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    _make_absolute(table, path.parent)
    return parse(overridden(table, overrides), str(path))


def parse(table: Mapping[str, Any], source: str) -> Experiment:
    """The experiment in a table; ValueError that names the first wrong key."""
    try:
        return Experiment.model_validate(table)
    except ValidationError as error:
        raise ValueError(f"{source}: {_explain(error)}") from error


def overridden(table: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """The table of an experiment with overrides such as "train.lr=1e-4" in it, and the path of its data absolute."""
    for override in overrides:
        _override(table, override)
    _make_absolute(table, Path())
    return table


def _make_absolute(table: dict[str, Any], folder: Path) -> None:
    """Let the path of the data begin at the root, so that the run can be evaluated from anywhere.

    In a file it begins at the file's folder, on the command line where that is given.
    """
    data = table.get("data")
    if isinstance(data, dict) and isinstance(data.get("path"), str):
        data["path"] = str((folder / data["path"]).absolute())


def evaluation(experiment: Experiment, overrides: Mapping[str, Any]) -> Evaluate:
    """How to evaluate, with overrides for what the experiment says; those that are None do not count."""
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        return Evaluate.model_validate({**experiment.evaluate.model_dump(), **given})
    except ValidationError as error:
        raise ValueError(_explain(error)) from error


def _override(table: dict[str, Any], override: str) -> None:
    """Set a key such as train.lr in the table to the TOML value (or else the text) behind the equals sign."""
    key, equals, text = override.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not parents or not last:
        raise ValueError(f"--set takes SECTION.KEY=VALUE, such as train.lr=1e-4; got {override!r}")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ValueError(f"--set {override}: {parent} is a value, not a section")
    try:
        table[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = text.strip()


def _explain(error: ValidationError) -> str:
    """The first mistake in one line: where, what, and what would be right."""
    first = error.errors()[0]
    loc = _field(first["loc"])
    where = ".".join(part for part in loc if part not in _SECTIONS)
    context = first.get("ctx", {})
    if first["type"] == "extra_forbidden":
        known = list(_section_at(loc[:-1]).model_fields)
        close = get_close_matches(loc[-1], known, 1, cutoff=0.7)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"unknown key {where}; known here: {', '.join(known)}{hint}"
    if first["type"] == "union_tag_invalid":
        return f"unknown {where} {context.get('tag')!r}; there are {context.get('expected_tags')}"
    if first["type"] == "union_tag_not_found":
        return f"{where}.name is missing"
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] == "value_error":
        return f"{where}: {context.get('error')}"
    # a key that may be of several types has a message for each
    messages = dict.fromkeys(each["msg"] for each in error.errors() if _field(each["loc"]) == loc)
    return f"{where} = {first['input']!r}: " + ", or ".join(text[0].lower() + text[1:] for text in messages)


def _field(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    """The part of a location of pydantic's that names a key; what follows is the type that it tried."""
    depth = 3 if len(loc) > 1 and loc[1] in _SECTIONS else 2
    return tuple(str(part) for part in loc[:depth])


def _section_at(loc: tuple[str, ...]) -> type[BaseModel]:
    """The section that a location of pydantic's lies in, such as ("model", "maf")."""
    section: Any = Experiment
    for part in loc:
        section = _SECTIONS.get(part) or section.model_fields[part].annotation
    return section


def load_data(experiment: Experiment, **overrides: Any) -> DataSet:
    """The data set that the experiment names, with overrides for its options."""
    options = {**experiment.data.model_dump(), **overrides}
    return DATA_SETS[options.pop("name")](**options)


def build(experiment: Experiment, spec: DataSpec) -> Flow:
    """The model, Flow(preprocessing, base=density), for rows of this kind; weights drawn from the training seed."""
    options = experiment.model.model_dump()
    function = MODELS[options.pop("name")]
    if spec.context_features and "context_features" in inspect.signature(function).parameters:
        options["context_features"] = spec.context_features
    num_noise = experiment.noise.features
    with seeded(experiment.train.seed):
        density: Distribution = function(spec.features + num_noise, **options)
        if spec.labels and density.context_features:
            density = LabelMixture(density, len(spec.labels), spec.label_shares or None)
        if num_noise:
            density = Marginalising(density, noise=StandardNormal(num_noise))
        model = Flow(_preprocessing(experiment.preprocess, spec), base=density)
    return model.double() if experiment.train.precision == "64-true" else model


def _preprocessing(preprocess: Preprocess, spec: DataSpec) -> list[Transform]:
    transforms: list[Transform] = []
    if spec.levels and not spec.dequantised:
        transforms.append(Dequantise(spec.levels))
    if preprocess.logit is not None:
        if spec.levels is None:
            raise ValueError(
                "preprocess.logit is for images, whose values lie in [0, 1]; leave it out for this data set"
            )
        transforms.append(Logit(preprocess.logit))
    if len(spec.event_shape) > 1:
        transforms.append(Flatten(torch.Size(spec.event_shape)))
    if preprocess.standardise:
        transforms.append(Standardise(spec.features))
    return transforms
