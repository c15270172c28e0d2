"""Rows that are too unlikely under a density, as an estimator of scikit-learn."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.utils.metaestimators import available_if

from marginflow.estimators.flow_estimator import FlowEstimator


def _is_of_training_rows(detector: FlowOutlierDetector) -> bool:
    if detector.novelty:
        raise AttributeError(
            "fit_predict is for novelty=False, where a share of the fitted rows is flagged; with novelty=True call "
            "predict on other rows"
        )
    return True


class FlowOutlierDetector(OutlierMixin, FlowEstimator):
    """Outliers as rows of low density, with the interface of scikit-learn's detectors.

    A row is an outlier where log p(row) < offset. With novelty the offset is just above the k-th smallest log p of N
    held-out rows, k = floor(contamination (N + 1)): of fresh rows like those that were fitted, about a share of
    contamination is flagged, or less. Only about, as held-out rows are judged by models of their folds, or of many rows
    are those that ended the training. Where k = 0, only rows of density 0 are flagged, with a warning. Without novelty
    it is the least log p of the fitted rows with more than this share of them at or below it, so that the share of them
    is flagged, or less; of fresh rows, to which the density was not fitted, it may be more. A row with a value that the
    model has no place for, such as a level that it never saw, has density 0 and is an outlier, with a `DataWarning`.

    Args:
        contamination: the share of rows to be flagged, above 0 and at most 0.5.
        novelty: whether the share is that of fresh rows, or of the fitted ones.
        model: as of `FlowDensity`.
        options: as of `FlowDensity`.
        schema: as of `FlowDensity`.
        random_state: as of `FlowDensity`.
        device: as of `FlowDensity`.
        verbose: as of `FlowDensity`.

    Attributes:
        offset_: the threshold of log p, in nats.
        model_: the trained density, a `Flow`.
        schema_: of columns of any kind; None where all are real numbers.
        n_features_in_: the number of columns of X.
        feature_names_in_: their names, where all of them are text.
        trials_: what each candidate came to on held-out rows.
        held_out_: log p of held-out rows.
        history_: an `EpochRecord` for each epoch.

    References:
        Laxhammar and Falkman, Conformal Prediction for Distribution-Independent Anomaly Detection in Streaming Vessel
            Data, 2010.
        Bates, Candès, Lei, Romano and Sesia, Testing for Outliers with Conformal p-values, 2021 (arXiv 2104.08279).

    Examples:
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> options = {"train": {"epochs": 2}}
        >>> detector = FlowOutlierDetector(0.1, model="maf", options=options, random_state=0).fit(X)
        >>> detector.predict([[0.0, 0.0], [20.0, 20.0]])
        array([ 1, -1])
    """

    def __init__(
        self,
        contamination: float = 0.01,
        *,
        novelty: bool = True,
        model: str | None = None,
        options: Mapping[str, Any] | None = None,
        schema: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "cpu",
        verbose: bool = False,
    ) -> None:
        self.contamination = contamination
        self.novelty = novelty
        self.model = model
        self.options = options
        self.schema = schema
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: object = None, sample_weight: Any = None, context: Any = None) -> Self:
        """Fit the density and its threshold.

        Args:
            X: rows (N, D), an array or a data frame.
            y: not used.
            sample_weight: of each row, 0 or more; None where all count the same.
            context: of each row, (N, C), given which the columns of X are modelled.

        Returns:
            The estimator itself.

        Raises:
            ValueError: for a contamination out of its range, and as `FlowDensity.fit`.
        """
        share = self._share()
        weight = self._train(X, sample_weight, context)
        self.offset_ = self._threshold() if self.novelty else _quantile(self._log_prob(X, context), weight, share)
        return self

    def decision_function(self, X: Any, context: Any = None) -> np.ndarray:
        """How far log p of each row is above the threshold, in nats: negative for outliers.

        Args:
            X: rows, as `score_samples` takes them.
            context: of each row, where one was fitted.

        Returns:
            score_samples(X) - offset_, (N,); -inf for rows of density 0, whatever the threshold.
        """
        return self._above(self._log_prob(X, context))

    def predict(self, X: Any, context: Any = None) -> np.ndarray:
        """Which rows are outliers.

        Args:
            X: rows, as `score_samples` takes them.
            context: of each row, where one was fitted.

        Returns:
            -1 for outliers, 1 for the others, (N,).
        """
        return np.where(self._above(self._log_prob(X, context)) < 0, -1, 1)

    @available_if(_is_of_training_rows)
    def fit_predict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, X: Any, y: object = None, sample_weight: Any = None, context: Any = None
    ) -> np.ndarray:
        """Fit, and say which of the fitted rows are outliers; for novelty=False.

        Args:
            X: rows (N, D).
            y: not used.
            sample_weight: of each row.
            context: of each row.

        Returns:
            -1 for outliers, 1 for the others, (N,).
        """
        return self.fit(X, y, sample_weight, context).predict(X, context)

    def save(self, path: str | Path) -> Path:
        """Keep the detector as a run, see `FlowDensity.save`; opened again it flags fresh rows, by held-out ones.

        Args:
            path: of the directory, which must not exist, or be empty.

        Returns:
            The path; with a warning where novelty=False, as the offset of the fitted rows is not kept.

        Raises:
            FileExistsError: where something is there.
            NotFittedError: where it was not fitted.
        """
        found = super().save(path)
        if not self.novelty:
            warnings.warn(
                f"{found} keeps the density, not the offset of the fitted rows: load it, and it flags fresh rows, as "
                "with novelty=True; pickle the detector to keep it as it is",
                UserWarning,
                stacklevel=2,
            )
        return found

    @classmethod
    def load(cls, path: str | Path, *, contamination: float = 0.01, device: str = "cpu") -> Self:
        """The detector of a run, which `save` or `marginflow train` made of a table, for fresh rows.

        Args:
            path: of the run.
            contamination: the share of fresh rows to be flagged.
            device: of the model.

        Returns:
            The fitted detector.

        Raises:
            FileNotFoundError: where there is no run.
            ValueError: where it is damaged, was trained on images, or keeps no held-out rows; for a contamination out
                of its range.
        """
        found = cls._opened(path, device, contamination=contamination)
        if found.held_out_ is None:
            raise ValueError(f"{path} keeps no log p of held-out rows, by which rows are flagged: train it again")
        found.offset_ = found._threshold()
        return found

    def _above(self, log_prob: np.ndarray) -> np.ndarray:
        """How far log p lies above the threshold."""
        with np.errstate(invalid="ignore"):  # of density 0, where the threshold is -inf as well
            found = log_prob - self.offset_
        return np.where(np.isneginf(log_prob), -np.inf, found)

    def _threshold(self) -> float:
        """The offset of held-out rows: what lies at their threshold is below it."""
        found = self.held_out_.threshold(self._share())
        return math.nextafter(found, math.inf) if math.isfinite(found) else found

    def _share(self) -> float:
        """The contamination; ValueError where it is no share."""
        share = self.contamination
        if not isinstance(share, Real) or isinstance(share, bool) or not 0 < share <= 0.5:
            raise ValueError(f"contamination must be a number above 0 and at most 0.5; got {share!r}")
        return float(share)


def _quantile(log_prob: np.ndarray, weight: np.ndarray | None, share: float) -> float:
    """The least value with more than a share of all weight at or below it.

    >>> _quantile(np.array([3.0, 1.0, 2.0, 4.0]), None, 0.25)
    2.0
    """
    order = np.argsort(log_prob)
    sums = np.cumsum(np.ones(len(order)) if weight is None else weight[order])
    return float(log_prob[order][np.searchsorted(sums, share * sums[-1] * (1 + 1e-12), side="right")])
