"""The weights with which a flow that grows noise dimensions starts: those of a run without them."""

from __future__ import annotations

from pathlib import Path

from marginflow.distributions import Flow
from marginflow.runs.run import Run
from marginflow.runs.schema import Experiment

GROWN = "base.flow.base.first."  # where the flow stands in the one that has grown


def start_grown(model: Flow, experiment: Experiment) -> None:
    """Give a model that `build` made the weights of the run that it grows from.

    Args:
        model: as it was built.
        experiment: whose noise.grow names the run.

    Raises:
        ValueError: where that run has noise dimensions, or another model or preprocessing.
        FileNotFoundError: where there is no such run.
    """
    assert experiment.noise.grow is not None
    run = Run.open(Path(experiment.noise.grow))
    if run.experiment.noise.features:
        raise ValueError(f"noise.grow = {str(run.path)!r} has noise dimensions already: name a run without")
    for section in ("model", "preprocess", "context", "dequantise"):
        own, other = getattr(experiment, section), getattr(run.experiment, section)
        if own != other:
            raise ValueError(
                f"noise.grow = {str(run.path)!r} was trained with another [{section}], {other}; this experiment has "
                f"{own}: give the same"
            )
    state = {_grown(key): each for key, each in run.model.state_dict().items()}
    missing, others = model.load_state_dict(state, strict=False)
    wrong = [*others, *(key for key in missing if key.startswith(GROWN) or not key.startswith("base."))]
    if wrong:
        raise ValueError(f"the weights of {run.path} are not those of the model that is to grow: {wrong[:3]}")


def _grown(key: str) -> str:
    return GROWN + key.removeprefix("base.") if key.startswith("base.") else key
