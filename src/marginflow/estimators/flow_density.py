"""The density of a table as an estimator of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted

from marginflow.base.arguments import as_whole
from marginflow.estimators.flow_estimator import FlowEstimator, draws
from marginflow.evaluation.sample import RawSamples


class FlowDensity(DensityMixin, FlowEstimator):
    """The density of the rows of a table, with the interface of scikit-learn's estimators.

    Rows are arrays of real numbers, or data frames of pandas, polars or Arrow, whose columns may be of any kind:
    numbers, whole numbers, categories, dates, with values missing. All columns of a frame are real numbers where they
    are so by their types and values; otherwise each is what its values tell, and columns without information, such as
    identifiers, are left out with a warning. A flow that is named by `model` takes all columns for real numbers.

    Fitting does not depend on the order of the rows. Copies of a row, where there are more than chance makes, count as
    one row of their weight.

    Args:
        model: a name of `marginflow.models`, such as "maf", "maf_mog", "nsf", "mixed" or "mixture"; None has it chosen.
        options: tables of an experiment, such as {"model": {"hidden": [64]}, "train": {"epochs": 5}}.
        schema: what is said of columns, by name, such as {"age": {"kind": "integer"}}; {} takes columns of any kind
            where none is said anything of.
        random_state: as scikit-learn takes it; the fit and samples depend on it.
        device: "cpu", "cuda", or "auto" for CUDA where there is any.
        verbose: whether a bar shows the training.

    Attributes:
        model_: the trained density, a `Flow`.
        schema_: of columns of any kind; None where all are real numbers.
        n_features_in_: the number of columns of X.
        feature_names_in_: their names, where all of them are text.
        trials_: what each candidate came to on held-out rows.
        held_out_: log p of held-out rows; None for a run that keeps none.
        history_: an `EpochRecord` for each epoch.

    Examples:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> density = FlowDensity("maf", options={"train": {"epochs": 2}}, random_state=0).fit(X)
        >>> density.score_samples(X).shape, density.sample(5).shape
        ((200,), (5, 2))
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        schema: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "cpu",
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.options = options
        self.schema = schema
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: object = None, sample_weight: Any = None, context: Any = None) -> Self:
        """Fit the density of rows.

        Args:
            X: rows (N, D), an array or a data frame.
            y: not used.
            sample_weight: of each row, 0 or more; None where all count the same.
            context: of each row, (N, C): an array or a data frame, given which the columns of X are modelled.

        Returns:
            The estimator itself.

        Raises:
            ValueError: for all that does not fit: values that are missing or not finite in arrays, columns of text in
                arrays or for a flow, weights that are negative or all 0, unknown options.
        """
        self._train(X, sample_weight, context)
        return self

    def score(self, X: Any, y: object = None, context: Any = None) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The mean of log p over rows, in nats a row.

        That of scikit-learn's `GaussianMixture` is a mean as well, that of its `KernelDensity` a sum.

        Args:
            X: rows, as `score_samples` takes them.
            y: not used.
            context: of each row, where one was fitted.

        Returns:
            The mean; -inf where a row has the density 0.
        """
        return float(self._log_prob(X, context).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None, context: Any = None) -> Any:
        """Draw rows from the density.

        Args:
            n_samples: how many.
            random_state: of the draws, as scikit-learn takes it.
            context: rows that samples get in turn, where one was fitted.

        Returns:
            Rows of the type that was fitted: an array, or a data frame with the same types, in which columns that were
            left out are missing.

        Raises:
            ValueError: where n_samples is below 1, or the context does not fit.
        """
        check_is_fitted(self, "model_")
        number = as_whole(n_samples, "n_samples", least=1)
        given = self._layout.read_context(context)
        spec = self.model_.spec
        assert spec is not None
        return self._layout.write(
            torch.cat(list(RawSamples(self.model_, spec, number, draws(random_state), context=given)))
        )

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu") -> Self:
        """The estimator of a run, which `save` or `marginflow train` made of a table.

        Its samples are arrays where the columns have no names, and else data frames of pandas, or of Arrow where
        pandas is not installed.

        Args:
            path: of the run.
            device: of the model.

        Returns:
            The fitted estimator.

        Raises:
            FileNotFoundError: where there is no run.
            ValueError: where it is damaged, or was trained on images.
        """
        return cls._opened(path, device)
