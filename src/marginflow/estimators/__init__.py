"""Densities of tables as estimators of scikit-learn, and the choice of a model for a table."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_NAMES = {"FlowDensity": "flow_density", "FlowOutlierDetector": "outlier_detector"}

__all__ = ["FlowDensity", "FlowOutlierDetector"]

if TYPE_CHECKING:
    from marginflow.estimators.flow_density import FlowDensity
    from marginflow.estimators.outlier_detector import FlowOutlierDetector


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: scikit-learn takes a second, which the choice of a model does not need."""
    if name in _NAMES:
        return getattr(importlib.import_module(f"marginflow.estimators.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'marginflow.estimators' has no attribute {name!r}")
