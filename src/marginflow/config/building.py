"""The data and the model that an experiment describes."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from marginflow.config.schema import Experiment, NoiseBase, Preprocess
from marginflow.data import DATA_SETS, DataSet, DataSpec
from marginflow.distributions import Conditional, Distribution, LabelMixture
from marginflow.flow import Flow
from marginflow.marginal import Marginalising
from marginflow.models import MODELS, NOISES, augmented_between
from marginflow.nets import MLP
from marginflow.randomness import seeded
from marginflow.transforms import Dequantise, Flatten, Logit, Standardise, Transform


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
    if experiment.context.features and not spec.context_features:
        raise ValueError("context.features is for data with a context, such as labels; leave it out for these data")
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
