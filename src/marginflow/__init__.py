"""marginflow: exact-likelihood density estimation and sampling with normalising flows."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = ("data", "distributions", "interop", "models", "nets", "training", "transforms")
_NAMES = {
    "Flow": "distributions",
    "LabelMixture": "distributions",
    "LogLikelihood": "distributions",
    "Marginalising": "distributions",
    "TrainConfig": "training",
    "VariationalConfig": "training",
    "calibrate": "training",
    "check": "evaluation.check.check",
    "evaluate": "evaluation.evaluate",
    "fit": "training",
    "fit_to_density": "training",
    "load": "runs.load",
    "log_likelihood": "distributions",
    "sample": "evaluation.sample",
}

__all__ = [*_MODULES, *_NAMES]  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:  # the same names, for editors and type checkers
    from marginflow import data as data
    from marginflow import distributions as distributions
    from marginflow import interop as interop
    from marginflow import models as models
    from marginflow import nets as nets
    from marginflow import training as training
    from marginflow import transforms as transforms
    from marginflow.distributions import Flow as Flow
    from marginflow.distributions import LabelMixture as LabelMixture
    from marginflow.distributions import LogLikelihood as LogLikelihood
    from marginflow.distributions import Marginalising as Marginalising
    from marginflow.distributions import log_likelihood as log_likelihood
    from marginflow.evaluation.check.check import check as check
    from marginflow.evaluation.evaluate import evaluate as evaluate
    from marginflow.evaluation.sample import sample as sample
    from marginflow.runs.load import load as load
    from marginflow.training import TrainConfig as TrainConfig
    from marginflow.training import VariationalConfig as VariationalConfig
    from marginflow.training import calibrate as calibrate
    from marginflow.training import fit as fit
    from marginflow.training import fit_to_density as fit_to_density


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for (PEP 562)."""
    if name in _MODULES:
        return importlib.import_module(f"marginflow.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"marginflow.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'marginflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
