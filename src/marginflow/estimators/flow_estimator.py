"""What the estimators have in common: fitting, log p of rows, runs."""

from __future__ import annotations

import warnings
from abc import ABC
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from marginflow.base.arguments import shown
from marginflow.base.data_warning import DataWarning
from marginflow.base.devices import device_on
from marginflow.base.literal import literal
from marginflow.base.names import listed
from marginflow.base.seeds import SEEDS
from marginflow.base.settings import as_path
from marginflow.data.tables.frames import SOURCE, is_frame, is_nameless, names_of
from marginflow.distributions import Flow
from marginflow.estimators.in_python import told_in_python
from marginflow.estimators.layout import Layout, data_of
from marginflow.estimators.record import keep_trials, trials_in
from marginflow.estimators.row_log_prob import row_log_prob
from marginflow.estimators.train_best import train_best
from marginflow.estimators.trials import Trial
from marginflow.models import FLOWS, TABLE_MODELS
from marginflow.runs.directory import created
from marginflow.runs.held_out import HeldOut
from marginflow.runs.read_toml import parse
from marginflow.runs.run import Run
from marginflow.runs.schema import IN_MEMORY
from marginflow.training import EpochRecord
from marginflow.training.checkpoint import described, require_finite_weights, save_weights
from marginflow.training.metrics import write_metrics

OURS = ("data", "schema")  # tables of an experiment that follow from the rows


class FlowEstimator(BaseEstimator, ABC):
    """An estimator around a density."""

    model: str | None
    options: Mapping[str, Any] | None
    schema: Mapping[str, Any] | None
    random_state: Any
    device: str
    verbose: bool

    model_: Flow
    schema_: Any
    n_features_in_: int
    feature_names_in_: np.ndarray
    trials_: tuple[Trial, ...]
    held_out_: HeldOut
    history_: list[EpochRecord]

    def _train(self, X: Any, sample_weight: Any, context: Any) -> np.ndarray | None:
        """Fit the density; the weights of the rows (N,), None without them."""
        if self.model is not None and not isinstance(self.model, str):
            raise ValueError(f"model must be a name, such as {listed([*FLOWS][:3])}, or None; got {shown(self.model)}")
        options = _tables(self.options)
        seed = draws(self.random_state)
        vars(self).pop("model_", None)  # what ends early leaves no model beside another's columns
        X = self._checked(X, reset=True)
        weight = None if sample_weight is None else _weights(sample_weight, len(X))
        with told_in_python(stacklevel=3):
            data, self._layout = data_of(X, context, weight, model=self._name(options), schema=self.schema, seed=seed)
        asked: dict[str, Any] = {"name": "table", "path": IN_MEMORY, "seed": seed}
        if self._layout.given:
            asked["context"] = list(self._layout.given)
        tables = {**options, "data": asked, **({} if self.schema is None else {"schema": dict(self.schema)})}
        how: dict[str, Any] = {"seed": seed, "device": self.device, "progress": self.verbose}
        try:
            chosen = train_best(data, model=self.model, options=tables, **how)
        except KeyboardInterrupt:  # which tells of the weights of a model that goes
            raise KeyboardInterrupt("the fit had not ended, nothing of it is kept: fit again") from None
        self.model_, self.schema_ = chosen.model, data.schema  # pyright: ignore[reportAttributeAccessIssue]
        self.trials_, self.history_, self._folds = chosen.trials, chosen.history, chosen.folds
        draws_of = 1 if chosen.model.density.exact else chosen.experiment.evaluate.num_samples
        about = {
            "num_samples": draws_of,
            "cross_fitted": chosen.folds > 0,
            "weight": chosen.weight,
            "columns": chosen.columns,
        }
        self.held_out_ = HeldOut.of(chosen.log_prob, **about)
        self._experiment = chosen.experiment.model_dump(mode="json", exclude_none=True)
        return weight

    def _name(self, options: Mapping[str, Any]) -> str | None:
        return self.model or options.get("model", {}).get("name")

    def _takes_numbers(self, X: Any) -> bool:
        """Whether a data frame of numbers without names is taken as an array, in which none may be missing."""
        by_kind = self.schema is not None or self._name(_tables(self.options)) in TABLE_MODELS
        return not by_kind and not X.isna().any(axis=None)

    def _checked(self, X: Any, *, reset: bool) -> Any:
        """Rows that scikit-learn's checks let through: an array of float64, or a data frame."""
        if isinstance(X, str | Path):
            raise ValueError(f"{type(self).__name__} takes rows, not the name of a file: give {_read_by(Path(X))}")
        if is_frame(X) and is_nameless(X) and (self._takes_numbers(X) if reset else self._layout.frame is None):
            X = X.to_numpy()
        if not is_frame(X):
            if not reset and self._layout.frame is not None and self._layout.schema is not None:
                raise ValueError(
                    f"{type(self).__name__} was fitted to a data frame with columns of any kind: give a data frame "
                    f"with {', '.join(map(literal, self._layout.kept[:10]))}"
                )
            return validate_data(self, X, reset=reset, dtype=np.float64, ensure_min_samples=2 if reset else 1)
        if reset:
            return validate_data(self, X, reset=True, skip_check_array=True)
        layout = self._layout
        names, kept = names_of(X), layout.kept
        if names == kept:  # as of samples, which lack what was left out
            return X
        if not layout.is_of_run or not set(kept) <= set(names):
            validate_data(self, X, reset=False, skip_check_array=True)
        elif extra := [name for name in names if name not in (*layout.names, *layout.given)]:
            warnings.warn(f"{SOURCE}: {listed(extra)} left out, not known to the model", DataWarning, stacklevel=4)
        return X

    def _log_prob(self, X: Any, context: Any = None) -> np.ndarray:
        """log p of rows, given their context; -inf where the model has no place for a cell, with a warning."""
        check_is_fitted(self, "model_")
        with told_in_python(stacklevel=3):
            x, given, gaps = self._layout.read(self._checked(X, reset=False), context)
            if gaps.rows is not None:
                warnings.warn(gaps.in_words(SOURCE), DataWarning, stacklevel=2)
        about = self._experiment["evaluate"]
        found = row_log_prob(self.model_, x, given, num_samples=about["num_samples"], seed=about["seed"])
        return found if gaps.rows is None else np.where(gaps.rows.numpy(), -np.inf, found)

    def score_samples(self, X: Any, context: Any = None) -> np.ndarray:
        """log p of each row, in nats a row, evaluated in float64: of a row the same in whatever company it comes.

        Of columns of any kind it is the logarithm of a probability, of a density, or of a product of both. A model
        with noise dimensions gives an estimate by as many draws as options["evaluate"]["num_samples"] says.
        A row with a cell that the model has no place for, such as a level that it never saw, has density 0; how many
        there are, and why the first, comes as a `DataWarning`.

        Args:
            X: rows, (N, D), with the columns that were fitted; an array, or a data frame.
            context: of each row, where one was fitted.

        Returns:
            (N,), float64; -inf where the density is 0.

        Raises:
            ValueError: where columns are missing, none of the cells of one can be read, or an array holds NaN.
        """
        return self._log_prob(X, context)

    def save(self, path: str | Path) -> Path:
        """Keep the estimator as a run: what `load`, `marginflow.load` and the command line open.

        Args:
            path: of the directory, which must not exist, or be empty.

        Returns:
            The path.

        Raises:
            FileExistsError: where something is there.
            NotFittedError: where it was not fitted.
        """
        check_is_fitted(self, "model_")
        path = as_path(path, "path")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise FileExistsError(f"{path} exists: give another path")
        state = self.model_.state_dict()
        require_finite_weights(state, "the model")
        about = described(self.model_)
        assert self.model_.spec is not None
        with created(path, parse(self._experiment, str(path)), self.model_.spec):
            write_metrics((asdict(each) for each in self.history_), path)
            if self.held_out_ is not None:
                self.held_out_.keep(path)
            if self.trials_:
                keep_trials(path, self.trials_, self._folds)
            save_weights(state, path, about)
        return path

    @classmethod
    def _opened(cls, path: str | Path, device: str, **settings: Any) -> Self:
        """The estimator of a run."""
        run = Run.open(as_path(path, "path"), device_on(device))
        if len(run.spec.event_shape) != 1:
            raise ValueError(f"{run.path} was trained on images: open it by marginflow.load({str(run.path)!r})")
        tables = run.experiment.model_dump(mode="json", exclude_none=True)
        kept = {name: table for name, table in tables.items() if name not in (*OURS, "model") and table}
        kept["train"] = {name: value for name, value in kept["train"].items() if name not in ("seed", "device")}
        model = dict(tables["model"])
        found = cls(model=model.pop("name"), options={"model": model, **kept}, device=device, **settings)  # pyright: ignore[reportCallIssue]
        found.model_, found.schema_, found._experiment = run.model, run.spec.schema, tables
        found._layout = Layout.of_run(run.spec)
        found.n_features_in_ = len(found._layout.names)
        if found._layout.frame is not None:
            found.feature_names_in_ = np.array(found._layout.names, dtype=object)
        found.trials_, found._folds = trials_in(run.path)
        found.history_ = [_record(line) for line in run.metrics]
        found.held_out_ = HeldOut.read(run.path)  # pyright: ignore
        return found


def _tables(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The tables of an experiment that a user gives; ValueError for those that follow from the rows."""
    if options is None:
        return {}
    if isinstance(options.get("noise"), Mapping) and options["noise"].get("grow") is not None:
        raise ValueError("options must not hold noise.grow: train by the command line, or take mf.grow(model, 2)")
    wrong = [name for name in options if name in OURS]
    if wrong:
        remedy = "give schema= of the estimator" if wrong[0] == "schema" else "rows are given to fit"
        raise ValueError(f"options must not hold {wrong[0]!r}: {remedy}")
    plain = [name for name, table in options.items() if not isinstance(table, Mapping)]
    if plain:
        raise ValueError(
            f"options holds the tables of an experiment, such as {{'train': {{'epochs': 5}}}}; got {plain[0]!r} = "
            f"{options[plain[0]]!r}"
        )
    return {name: dict(table) for name, table in options.items()}


def _read_by(path: Path) -> str:
    """The call that reads the rows of a file."""
    readers = {".parquet": "pd.read_parquet", ".feather": "pd.read_feather", ".npy": "np.load"}
    return f"{readers.get(path.suffix.lower(), 'pd.read_csv')}({str(path)!r})"


def _record(line: dict[str, Any]) -> EpochRecord:
    """An epoch as metrics.jsonl has it."""
    return EpochRecord(**{**line, "heavy_rows": tuple(line.get("heavy_rows", ()))})


def _weights(given: Any, num_rows: int) -> np.ndarray:
    """The weight of each row (N,), float64; ValueError for what is none."""
    found = np.asarray(given, np.float64)
    if found.shape != (num_rows,):
        raise ValueError(f"sample_weight must have shape ({num_rows},), one of each row; got {found.shape}")
    wrong = ~(np.isfinite(found) & (found >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"sample_weight is {found[row]:g} in row {row} (counted from 0): give 0 or more, and finite")
    return found


def draws(random_state: Any) -> int:
    """A seed from what scikit-learn takes as a random state."""
    return int(check_random_state(random_state).randint(SEEDS))
