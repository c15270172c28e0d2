"""marginflow: exact-likelihood density estimation and sampling with normalising flows."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = ("data", "distributions", "models", "training", "transforms")
_NAMES = {
    "Flow": "flow",
    "LogLikelihood": "marginal",
    "Marginalising": "marginal",
    "TrainConfig": "training",
    "calibrate": "training",
    "evaluate": "evaluation",
    "fit": "training",
    "load": "runs",
    "log_likelihood": "marginal",
}

__all__ = [*_MODULES, *_NAMES]  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from marginflow import data, distributions, models, training, transforms
    from marginflow.evaluation import evaluate
    from marginflow.flow import Flow
    from marginflow.marginal import LogLikelihood, Marginalising, log_likelihood
    from marginflow.runs import load
    from marginflow.training import TrainConfig, calibrate, fit


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for (PEP 562)."""
    if name in _MODULES:
        return importlib.import_module(f"marginflow.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"marginflow.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'marginflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
