"""The data and the model that an experiment describes."""

from __future__ import annotations

import inspect
from typing import Any, cast

import torch

from marginflow.base.distribution import Distribution
from marginflow.base.seeds import seeded
from marginflow.base.transform import Transform
from marginflow.data import DATA_SETS, DataSet, DataSpec, Schema
from marginflow.distributions import Conditional, ContextEncoder, Flow, LabelMixture, Marginalising
from marginflow.models import (
    DEQUANTISATIONS,
    FLOWS,
    IMAGE_MODELS,
    MIXTURES,
    NOISES,
    TABLE_MODELS,
    augmented_between,
    grow,
)
from marginflow.nets import MLP
from marginflow.runs.schema import IN_MEMORY, Experiment, NoiseBase, Preprocess
from marginflow.transforms import Dequantise, Flatten, Logit, Standardise


def load_data(experiment: Experiment, **overrides: Any) -> DataSet:
    """The data set that the experiment names, with overrides for its options.

    Args:
        experiment: names the data set and its options.
        **overrides: options that replace those of the experiment.

    Returns:
        The data set.

    Raises:
        ValueError: where they were rows in memory, or do not fit the model.
    """
    options = experiment.data.model_dump()
    name = options.pop("name")
    if options.get("path") == IN_MEMORY:
        raise ValueError(
            "the model was trained on rows in memory, which no file holds: give those of a file, --data FILE, or to "
            "train on one --set data.path=FILE"
        )
    if experiment.model.name in TABLE_MODELS:
        if name != "table":
            raise ValueError(f"model.name = {experiment.model.name!r} is for tables; got data.name = {name!r}")
        options["schema"] = experiment.columns
    elif experiment.columns:
        raise ValueError(
            f"[schema] is for model.name = {' or '.join(TABLE_MODELS)}; got {experiment.model.name!r}: give "
            "--model mixed, or leave [schema] out"
        )
    return DATA_SETS[name](**{**options, **overrides})


def build(experiment: Experiment, spec: DataSpec) -> Flow:
    """The model, Flow(preprocessing, base=density), for rows of this kind, initialised from the training seed.

    Args:
        experiment: names the model, its noise and its preprocessing.
        spec: of the rows.

    Returns:
        The model, in the precision of the experiment.

    Raises:
        ValueError: where the experiment does not fit the rows.
    """
    if experiment.model.name in TABLE_MODELS:
        return _of_schema(experiment, spec)
    with seeded(experiment.train.seed):
        model = Flow(_preprocessing(experiment, spec), base=_density(experiment, spec))
    return model.double() if experiment.train.precision == "64-true" else model


def _of_schema(experiment: Experiment, spec: DataSpec) -> Flow:
    """The density of rows of a schema, which it prepares itself."""
    options = experiment.model.model_dump()
    name = options.pop("name")
    given = {
        "preprocess": experiment.preprocess != Preprocess(),
        "dequantise": experiment.dequantise.name != "uniform",
        "context": experiment.context.features > 0,
    }
    wrong = [section for section, is_given in given.items() if is_given]
    if wrong:
        raise ValueError(
            f"model.name = {name!r} prepares rows and contexts itself: leave out [{'] and ['.join(wrong)}]"
        )
    noise = experiment.noise
    with seeded(experiment.train.seed):
        if noise.grow is not None:
            raise ValueError("noise.grow is for flows, of vectors and images: leave it out")
        if not noise.features:
            model = Flow([], base=TABLE_MODELS[name](spec.schema, **options))
        elif name != "mixed" or noise.after_blocks:
            what = "noise.after_blocks is for models of several blocks" if noise.after_blocks else "it takes no noise"
            raise ValueError(f"model.name = {name!r}: {what}; leave it out, or take model.name=mixed")
        else:
            joint = TABLE_MODELS[name](spec.schema, noise_features=noise.features, **options)
            model = Flow([], base=Marginalising(joint, _noise_of_rows(noise, cast(Schema, spec.schema))))
    return model.double() if experiment.train.precision == "64-true" else model


def _rows_shape(experiment: Experiment, spec: DataSpec) -> torch.Size:
    """The event shape of preprocessed rows: for a model of images that of the data, otherwise they are vectors."""
    shape = torch.Size(spec.event_shape)
    return shape if experiment.model.name in IMAGE_MODELS else torch.Size([shape.numel()])


def _density(experiment: Experiment, spec: DataSpec) -> Distribution:
    """The density of preprocessed rows: the model, given the context through its network, mixed, marginalised."""
    if experiment.model.name in MIXTURES:
        _require_plain(experiment, spec)
    options = experiment.model.model_dump()
    function = FLOWS[options.pop("name")]
    if experiment.context.features and not spec.context_features:
        raise ValueError("context.features is for data with a context, such as labels; leave it out for these data")
    encoder = None if spec.schema is None or not spec.schema.given else ContextEncoder(spec.schema.given)
    seen = spec.context_features if encoder is None else encoder.out_features
    through_network = seen and experiment.context.features
    if seen:
        options["context_features"] = through_network or seen
    noise, shape = experiment.noise, _rows_shape(experiment, spec)
    density: Distribution
    if noise.after_blocks and noise.features:
        if len(shape) > 1:
            raise ValueError(f"noise.after_blocks is for models of vectors; {experiment.model.name} is one of images")
        if "blocks" not in options:
            raise ValueError(f"noise.after_blocks is for models of several blocks; {experiment.model.name} is one")
        density = augmented_between(
            function, shape[0], _noise(noise, shape), after_blocks=noise.after_blocks, **options
        )
    else:
        appended = 0 if noise.grow is not None else noise.features
        density = function(torch.Size([shape[0] + appended, *shape[1:]]), **options)
    if through_network:
        network = MLP(seen, experiment.context.features, experiment.context.hidden)
        density = Conditional(density, network, seen)
    if encoder is not None:
        density = Conditional(density, encoder, spec.context_features)
    if spec.labels and density.context_features:
        density = LabelMixture(density, len(spec.labels), spec.label_shares or None)
    if noise.grow is not None:
        density = grow(density, noise.features, seed=experiment.train.seed)
    elif noise.features and not noise.after_blocks:
        density = Marginalising(density, noise=_noise(noise, shape))
    return density


def _require_plain(experiment: Experiment, spec: DataSpec) -> None:
    """Refuse a context and noise for a mixture that takes neither, both at once."""
    data = experiment.data.model_dump()
    given = {
        "no context": [f"data.{key}" for key in ("labels", "context") if data.get(key)]
        if spec.context_features
        else [],
        "no network for it": ["context.features"] if experiment.context.features else [],
        "no noise": ["noise.features"] if experiment.noise.features else [],
    }
    wrong = [(what, keys) for what, keys in given.items() if keys]
    if wrong:
        raise ValueError(
            f"model.name = {experiment.model.name!r} takes {', '.join(what for what, _ in wrong)}: leave "
            f"{' and '.join(key for _, keys in wrong for key in keys)} out, or take model.name=maf"
        )


def _noise_of_rows(noise: NoiseBase, schema: Schema) -> Distribution:
    """q(eps | row, context) that the section names, which sees both encoded where it can."""
    columns = (*schema.modelled, *schema.given)
    encoder = ContextEncoder(columns)
    found = _noise(noise, torch.Size([encoder.out_features]))
    return Conditional(found, encoder, len(columns)) if found.context_features else found


def _noise(noise: NoiseBase, shape: torch.Size) -> Distribution:
    """q(eps | x) that the section names, for rows x of this shape, which it sees where it can."""
    options = noise.model_dump(exclude={"after_blocks", "grow"})
    function, features = NOISES[options.pop("name")], options.pop("features")
    if "context_features" in inspect.signature(function).parameters:
        options["context_features"] = shape[0]
    try:
        return function(torch.Size([features, *shape[1:]]), **options)
    except ValueError as error:
        raise ValueError(f"noise.name = {noise.model_dump()['name']!r}: {error}") from error


def _dequantise(experiment: Experiment, spec: DataSpec) -> list[Transform]:
    """What makes grey levels continuous, where the data set has not done so."""
    options = experiment.dequantise.model_dump()
    name = options.pop("name")
    if name != "uniform" and (spec.levels is None or spec.dequantised):
        raise ValueError(
            f"dequantise.name = {name!r} models the noise that makes grey levels continuous, and these data have "
            + ("it already: leave data.noise out" if spec.dequantised else "no grey levels: leave it out")
        )
    if spec.levels is None or spec.dequantised:
        return []
    shape = torch.Size(spec.event_shape)
    context = {} if name == "uniform" else {"features": shape, "context_features": shape[0]}
    return [Dequantise(spec.levels, DEQUANTISATIONS[name](**context, **options))]


def _preprocessing(experiment: Experiment, spec: DataSpec) -> list[Transform]:
    preprocess, transforms = experiment.preprocess, _dequantise(experiment, spec)
    if preprocess.logit is not None:
        if spec.levels is None and experiment.data.name != "table":
            raise ValueError(
                "preprocess.logit is for values in [0, 1], of images and tables; leave it out for these data"
            )
        transforms.append(Logit(preprocess.logit))
    shape = _rows_shape(experiment, spec)
    if shape != torch.Size(spec.event_shape):
        transforms.append(Flatten(torch.Size(spec.event_shape)))
    if preprocess.standardise:
        transforms.append(Standardise(shape[0]))
    return transforms
