"""An experiment as one TOML file: sections validated, defaults filled in, built into a model and data."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_type_hints

import tomli_w
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator

from marginflow.data import DATA_SETS, DataSet, DataSpec
from marginflow.distributions import Conditional, Distribution, LabelMixture
from marginflow.flow import Flow
from marginflow.marginal import Marginalising
from marginflow.models import MODELS, NOISES, augmented_between
from marginflow.nets import MLP
from marginflow.randomness import seeded
from marginflow.training import TrainConfig
from marginflow.transforms import Dequantise, Flatten, Logit, Standardise, Transform

_FROM_DATA = {"features", "context_features"}  # arguments of models and noise that follow from the data


class Section(BaseModel):
    """A table of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NoiseBase(Section):
    """The noise dimensions of a marginalising flow.

    features: how many; 0 is the plain flow. after_blocks: how many blocks of the model go before them; 0 puts them
    beside the data.
    """

    features: int = Field(default=0, ge=0)
    after_blocks: int = Field(default=0, ge=0)


def _section_of(name: str, function: Callable[..., Any], base: type[Section] = Section) -> type[Section]:
    """A section whose keys are the arguments of a function; those without a default must be given."""
    hints = get_type_hints(function)
    options = {
        key: (hints[key], ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for key, parameter in inspect.signature(function).parameters.items()
        if key not in _FROM_DATA
    }
    fields: dict[str, Any] = {"name": (Literal[name], ...), **options}  # pyright: ignore[reportInvalidTypeForm]
    return create_model(name, __base__=base, **fields)


def _one_of(table: str) -> Any:
    """The type of a table that is one of its named sections, told apart by its `name`."""
    return Annotated[reduce(or_, _SECTIONS[table].values()), Field(discriminator="name")]


_SECTIONS = {
    "data": {name: _section_of(name, function) for name, function in DATA_SETS.items()},
    "model": {name: _section_of(name, function) for name, function in MODELS.items()},
    "noise": {name: _section_of(name, function, NoiseBase) for name, function in NOISES.items()},
}
_NAMES = {name for sections in _SECTIONS.values() for name in sections}

if TYPE_CHECKING:

    class Named(Section):
        """A section that names a data set or model and holds its options."""

        name: str

    class NamedNoise(NoiseBase):
        """A section that names a noise model and holds its options."""

        name: str

    DataSection = ModelSection = Named
    NoiseSection = NamedNoise
else:
    DataSection, ModelSection, NoiseSection = (_one_of(table) for table in _SECTIONS)


class Preprocess(Section):
    """Between the raw data and the density. Grey levels are dequantised wherever the data set has not done so."""

    logit: float | None = Field(default=None, ge=0, lt=0.5)  # alpha
    standardise: bool = False


class ContextNetwork(Section):
    """A network between the context and the model, trained with it; with 0 features there is none."""

    features: int = Field(default=0, ge=0)
    hidden: list[int] = Field(default=[64, 64])


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
    context: ContextNetwork = ContextNetwork()
    noise: NoiseSection = Field(default=cast("NoiseSection", {}), validate_default=True)
    train: TrainConfig = TrainConfig()
    evaluate: Evaluate = Evaluate()

    @field_validator("noise", mode="before")
    @classmethod
    def _noise_without_a_name(cls, noise: Any) -> Any:
        return {"name": "standard_normal", **noise} if isinstance(noise, dict) else noise

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
    where = ".".join(part for i, part in enumerate(loc) if i != 1 or part not in _NAMES)
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
    depth = 3 if len(loc) > 1 and loc[1] in _SECTIONS.get(str(loc[0]), {}) else 2
    return tuple(str(part) for part in loc[:depth])


def _section_at(loc: tuple[str, ...]) -> type[BaseModel]:
    """The section that a location of pydantic's lies in, such as ("model", "maf")."""
    if len(loc) == 2:
        return _SECTIONS[loc[0]][loc[1]]
    return cast("type[BaseModel]", Experiment.model_fields[loc[0]].annotation) if loc else Experiment


def load_data(experiment: Experiment, **overrides: Any) -> DataSet:
    """The data set that the experiment names, with overrides for its options."""
    options = {**experiment.data.model_dump(), **overrides}
    return DATA_SETS[options.pop("name")](**options)


def build(experiment: Experiment, spec: DataSpec) -> Flow:
    """The model, Flow(preprocessing, base=density), for rows of this kind; weights drawn from the training seed."""
    with seeded(experiment.train.seed):
        model = Flow(_preprocessing(experiment.preprocess, spec), base=_density(experiment, spec))
    return model.double() if experiment.train.precision == "64-true" else model


def _density(experiment: Experiment, spec: DataSpec) -> Distribution:
    """The density of preprocessed rows: the model, given the context through its network, mixed, marginalised."""
    options = experiment.model.model_dump()
    function = MODELS[options.pop("name")]
    through_network = spec.context_features and experiment.context.features
    if spec.context_features:
        options["context_features"] = through_network or spec.context_features
    noise = experiment.noise
    density: Distribution
    if noise.after_blocks and noise.features:
        if "blocks" not in options:
            raise ValueError(f"noise.after_blocks is for models of several blocks; {experiment.model.name} is one")
        density = augmented_between(
            function, spec.features, _noise(noise, spec), after_blocks=noise.after_blocks, **options
        )
    else:
        density = function(spec.features + noise.features, **options)
    if through_network:
        network = MLP(spec.context_features, experiment.context.features, experiment.context.hidden)
        density = Conditional(density, network, spec.context_features)
    if spec.labels and density.context_features:
        density = LabelMixture(density, len(spec.labels), spec.label_shares or None)
    if noise.features and not noise.after_blocks:
        density = Marginalising(density, noise=_noise(noise, spec))
    return density


def _noise(noise: NoiseBase, spec: DataSpec) -> Distribution:
    """q(eps | x) that the section names; it sees x where it can."""
    options = noise.model_dump(exclude={"after_blocks"})
    function = NOISES[options.pop("name")]
    if "context_features" in inspect.signature(function).parameters:
        options["context_features"] = spec.features
    return function(options.pop("features"), **options)


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
