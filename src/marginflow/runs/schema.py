"""The tables of an experiment: what may stand in each, made from the signatures of what they name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast, get_type_hints

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, create_model, field_validator, model_validator

from marginflow.base.seeds import SEEDS
from marginflow.data import DATA_SETS
from marginflow.data.column_options import options_in
from marginflow.models import DEQUANTISATIONS, FLOWS, NOISES, TABLE_MODELS
from marginflow.training import TrainConfig

_FROM_DATA = {"features", "context_features", "noise_features", "schema"}  # arguments that follow from the data
IN_MEMORY = ""  # the path of a table that is no file's
_UNFIT_FOR_NOISE = {"batch_norm", "dropout"}  # they have no inverse in training, through which noise is drawn


class Section(BaseModel):
    """A table of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)  # until it is used


class NoiseBase(Section):
    """The noise dimensions of a marginalising flow.

    Attributes:
        features: number of noise dimensions; 0 is the plain flow.
        after_blocks: number of blocks of the model before them; at 0 they are appended to the data.
        grow: a run without noise, of the same model, as which the marginalising flow starts; see `models.grow`.
    """

    features: int = Field(default=0, ge=0)
    after_blocks: int = Field(default=0, ge=0)
    grow: str | None = None

    @model_validator(mode="after")
    def _grows_in_front_and_under_a_normal(self) -> Self:
        if self.grow is not None and (self.after_blocks or getattr(self, "name", "") != "standard_normal"):
            raise ValueError("a flow grows noise in front, under N(0, I): leave noise.after_blocks and noise.name out")
        if self.grow is not None and self.features == 0:
            raise ValueError("noise.grow says which run is to grow, and not by how much: noise.features = 2")
        return self

    @model_validator(mode="after")
    def _named_noise_has_features(self) -> Self:
        if self.features == 0 and (self.after_blocks or getattr(self, "name", "standard_normal") != "standard_normal"):
            raise ValueError("there are no noise dimensions: say how many, noise.features = 2")
        return self


def _section_of(
    name: str, function: Callable[..., Any], base: type[Section] = Section, without: Collection[str] = ()
) -> type[Section]:
    """A section whose keys are the arguments of a function but for some; those without a default must be given."""
    hints = get_type_hints(function)
    options = {
        key: (hints[key], ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for key, parameter in inspect.signature(function).parameters.items()
        if key not in _FROM_DATA and key not in without
    }
    fields: dict[str, Any] = {"name": (Literal[name], ...), **options}  # pyright: ignore[reportInvalidTypeForm]
    return create_model(name, __base__=base, **fields)


def _one_of(table: str) -> Any:
    """The type of a table that is one of its named sections, told apart by its `name`."""
    return Annotated[reduce(or_, SECTIONS[table].values()), Field(discriminator="name")]


SECTIONS = {
    "data": {name: _section_of(name, function) for name, function in DATA_SETS.items()},
    "model": {name: _section_of(name, function) for name, function in {**FLOWS, **TABLE_MODELS}.items()},
    "noise": {name: _section_of(name, function, NoiseBase, _UNFIT_FOR_NOISE) for name, function in NOISES.items()},
    "dequantise": {
        name: _section_of(name, function, without=_UNFIT_FOR_NOISE) for name, function in DEQUANTISATIONS.items()
    },
}
NAMES = {name for sections in SECTIONS.values() for name in sections}

if TYPE_CHECKING:

    class Named(Section):
        """A section that names a data set or model and holds its options."""

        name: str

    class NamedNoise(NoiseBase):
        """A section that names a noise model and holds its options."""

        name: str

    DataSection = ModelSection = DequantiseSection = Named
    NoiseSection = NamedNoise
else:
    DataSection, ModelSection, NoiseSection, DequantiseSection = (_one_of(table) for table in SECTIONS)


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
    seed: int = Field(default=0, ge=0, lt=SEEDS)


class Experiment(Section):
    """All of an experiment.

    columns: the tables of [schema], what the user says of each column of a table; see `ColumnOptions`.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    data: DataSection
    columns: dict[str, Any] = Field(default={}, alias="schema")
    dequantise: DequantiseSection = Field(default=cast("DequantiseSection", {}), validate_default=True)
    preprocess: Preprocess = Preprocess()
    model: ModelSection
    context: ContextNetwork = ContextNetwork()
    noise: NoiseSection = Field(default=cast("NoiseSection", {}), validate_default=True)
    train: TrainConfig = TrainConfig()
    evaluate: Evaluate = Evaluate()

    @field_validator("noise", "dequantise", mode="before")
    @classmethod
    def _without_a_name(cls, table: Any, info: ValidationInfo) -> Any:
        default = "standard_normal" if info.field_name == "noise" else "uniform"
        return {"name": default, **table} if isinstance(table, dict) else table

    @field_validator("columns", mode="before")
    @classmethod
    def _are_options(cls, tables: Any) -> dict[str, Any]:
        if not isinstance(tables, dict):
            raise ValueError(f"schema = {tables!r}: it holds a table of options for each column, such as [schema.age]")
        return {name: each.model_dump(exclude_none=True) for name, each in options_in(tables).items()}

    def to_toml(self) -> str:
        """The experiment with every default filled in; keys that are None are left out."""
        return tomli_w.dumps(self.model_dump(exclude_none=True, mode="json"))
