"""marginflow: exact-likelihood density estimation and sampling with normalising flows."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_NAMES = {
    "Flow": "distributions",
    "FlowDensity": "estimators",
    "FlowOutlierDetector": "estimators",
    "LabelMixture": "distributions",
    "LikelihoodGap": "distributions",
    "LogLikelihood": "distributions",
    "Marginalising": "distributions",
    "TrainConfig": "training",
    "VariationalConfig": "training",
    "calibrate": "training",
    "check": "evaluation.check.check",
    "evaluate": "evaluation.evaluate",
    "fit": "training",
    "fit_noise": "runs.fit_noise",
    "fit_to_density": "training",
    "grow": "models",
    "likelihood_gap": "distributions",
    "load": "runs.load",
    "log_likelihood": "distributions",
    "sample": "evaluation.sample",
    "save": "runs.save",
}

__all__ = [
    "Flow", "FlowDensity", "FlowOutlierDetector", "LabelMixture", "LikelihoodGap", "LogLikelihood",
    "Marginalising", "TrainConfig", "VariationalConfig", "calibrate", "check", "data", "distributions",
    "estimators", "evaluate", "fit", "fit_noise", "fit_to_density", "grow", "interop", "likelihood_gap", "load",
    "log_likelihood", "models", "nets", "sample", "save", "training", "transforms",
]  # fmt: skip

if TYPE_CHECKING:  # the same names, for editors and type checkers
    from marginflow import data, distributions, estimators, interop, models, nets, training, transforms
    from marginflow.distributions import (
        Flow,
        LabelMixture,
        LikelihoodGap,
        LogLikelihood,
        Marginalising,
        likelihood_gap,
        log_likelihood,
    )
    from marginflow.estimators import FlowDensity, FlowOutlierDetector
    from marginflow.evaluation.check.check import check
    from marginflow.evaluation.evaluate import evaluate
    from marginflow.evaluation.sample import sample
    from marginflow.models import grow
    from marginflow.runs.fit_noise import fit_noise
    from marginflow.runs.load import load
    from marginflow.runs.save import save
    from marginflow.training import TrainConfig, VariationalConfig, calibrate, fit, fit_to_density


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for (PEP 562)."""
    if name in _NAMES:
        return getattr(importlib.import_module(f"marginflow.{_NAMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"marginflow.{name}")
    raise AttributeError(f"module 'marginflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
