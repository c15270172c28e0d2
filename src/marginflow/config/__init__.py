"""An experiment as one TOML file: tables validated, defaults filled in, built into a model and data."""

from marginflow.config.building import build, claimed_numbers, load_data
from marginflow.config.reading import evaluation, overridden, parse, read
from marginflow.config.schema import Evaluate, Experiment, about
from marginflow.models import FLOWS, IMAGE_MODELS, MODELS, NOISES

__all__ = [
    "FLOWS", "IMAGE_MODELS", "MODELS", "NOISES", "Evaluate", "Experiment", "about", "build", "claimed_numbers",
    "evaluation", "load_data", "overridden", "parse", "read",
]  # fmt: skip
