"""marginflow list: what can be called by name."""

from __future__ import annotations


def list_() -> None:
    """The models, the noise and the experiments that can be called by name."""
    from marginflow.models import FLOWS, IMAGE_MODELS, MODELS, NOISES
    from marginflow.report.tables import listing
    from marginflow.runs import experiments
    from marginflow.runs.schema import about

    models = {name: about(function) for name, function in MODELS.items()}
    images = {name: about(function) for name, function in IMAGE_MODELS.items()}
    noise = {name: about(function) for name, function in NOISES.items() if name not in FLOWS}
    found = {name: experiments.about(path) for name, path in experiments.at_hand().items()}
    listing("models of vectors, for [model] name = ...", models)
    listing("models of images, for [model] name = ...", images)
    listing("noise, for [noise] name = ..., where any model that sees such rows will do too", noise)
    listing("experiments, for marginflow train NAME", found or {"none": "no experiments/ folder here"})
