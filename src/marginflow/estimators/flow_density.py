"""The density of a table as an estimator of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted

from marginflow.base.arguments import as_whole
from marginflow.distributions import GivenLogProb
from marginflow.estimators.flow_estimator import FlowEstimator, draws
from marginflow.estimators.given import quantiles_of, sample_given, score_given
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

    def sample(self, n_samples: int = 1, random_state: Any = None, context: Any = None, given: Any = None) -> Any:
        """Draw rows from the density, or from that of the other columns given some.

        Where given columns come first in the order of the density the draws are exact, of mixtures always. Otherwise
        rows come by systematic resampling from weighted draws, some perhaps more than once; a `DataWarning` says how
        many are distinct.

        Args:
            n_samples: how many.
            random_state: of the draws, as scikit-learn takes it.
            context: rows that samples get in turn, where one was fitted.
            given: the values that some columns have, {"price": 50}, None or NaN a blank, or a data frame of these
                columns, whose rows samples get in turn. The columns of an array are x0, x1, ...

        Returns:
            Rows of the type that was fitted: an array, or a data frame with the same types, in which columns that were
            left out are missing.

        Raises:
            ValueError: where n_samples is below 1, the context or given values do not fit, the density has no factor
                for each column, or too few weighted draws count.
        """
        check_is_fitted(self, "model_")
        number = as_whole(n_samples, "n_samples", least=1)
        spec = self.model_.spec
        assert spec is not None
        if given is not None:
            found = sample_given(self.model_, self._layout, number, draws(random_state), context, given)
            return self._layout.write(found)
        contexts = self._layout.read_context(context)
        return self._layout.write(
            torch.cat(list(RawSamples(self.model_, spec, number, draws(random_state), context=contexts)))
        )

    def score_given(
        self, X: Any, given: Any, columns: Any = None, context: Any = None, *, num_samples: int = 1000, seed: int = 0
    ) -> GivenLogProb:
        """log p(a | b) of columns a of rows given columns b, in nats a row.

        Exact where b, and a with b, come first in the order of the density, and of mixtures always; otherwise estimated
        by weighted draws, with a standard error. Where log p(b) alone is estimated, the result is high on average.

        Args:
            X: rows, as `score_samples` takes them.
            given: the names of b.
            columns: the names of a; by default all others.
            context: of each row, where one was fitted.
            num_samples: K, weighted draws for each row.
            seed: of these.

        Returns:
            A `GivenLogProb`: log_prob, standard_error and effective_sample_size of each row, exact, high. Where the
            density has no place for a cell log_prob is -inf if it is one of a, NaN if it is one of b.

        Raises:
            ValueError: where the density has no factor for each column, or there is no such column, or it is both.
        """
        check_is_fitted(self, "model_")
        rows = self._layout.read(self._checked(X, reset=False), context)
        return score_given(self.model_, self._layout, rows, given, columns, num_samples, seed)

    def predict_quantiles(
        self,
        X: Any,
        column: str,
        quantiles: Sequence[float] = (0.05, 0.5, 0.95),
        context: Any = None,
        *,
        num_samples: int = 1000,
        seed: int = 0,
    ) -> np.ndarray:
        """Quantiles of a column given the others, row by row, as rows that are not blank there have it.

        Exact where the column comes last in the order of the density, of mixtures always, and for levels; otherwise by
        weighted draws, of which a `DataWarning` says where fewer than 20 count.

        Args:
            X: rows, as `score_samples` takes them; the column itself is not read, and may be missing from a frame.
            column: its name, of an array x0, x1, ...; no category, which has no order.
            quantiles: their levels, between 0 and 1.
            context: of each row, where one was fitted.
            num_samples: weighted draws for each row, where it is not exact.
            seed: of these.

        Returns:
            (N, levels), of the type of the column.

        Raises:
            ValueError: where the density has no factor for each column, there is no such column, or it is a category.

        Examples:
            >>> import pandas as pd
            >>> frame = pd.DataFrame({"size": ["S", "M"] * 50, "price": [1, 2, 4, 8, 9] * 20})
            >>> density = FlowDensity("mixture", random_state=0).fit(frame)
            >>> density.predict_quantiles(frame[:3], "price").shape
            (3, 3)
        """
        check_is_fitted(self, "model_")
        return quantiles_of(self.model_, self._layout, X, column, quantiles, context, num_samples, seed)

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
