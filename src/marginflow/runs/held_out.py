"""log p of rows that a model was not trained on: by these others are judged, row by row and column by column."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from marginflow.base.data_warning import DataWarning
from marginflow.base.devices import device_on
from marginflow.base.seeds import seeded
from marginflow.data import DataSet, DataSpec, Split
from marginflow.data.dataset import spread_rows
from marginflow.data.require import fitting
from marginflow.distributions import Flow
from marginflow.evaluation.evaluate import score
from marginflow.runs.reference import is_of_columns
from marginflow.runs.run import HELD_OUT, Run
from marginflow.runs.schema import IN_MEMORY
from marginflow.storage.files import write_whole
from marginflow.storage.limits import json_of
from marginflow.training.checkpoint import WEIGHTS

MOST_ROWS, MOST_DRAWS = 20_000, 200_000  # that are evaluated at the end of a training


@dataclass(frozen=True, eq=False)
class HeldOut:
    """log p of rows that a model was not trained on.

    Args:
        log_prob: (N,), float64, rising; of a row without a density, or too far out for a number, -inf.
        cross_fitted: whether it is that of a model trained without the row, in folds.
        weight: of each row, (N,); None where all count the same.
        columns: the mean log p of each column given those before it; empty but for a `Mixed`.
        columns_deviation: its standard deviation.
        num_samples: K, by which log p was estimated where it is no number that can be computed.
        weights_sha256: the checksum of the weights of the model; empty where it has no file.

    Raises:
        ValueError: where there are no rows, or log p does not rise.
    """

    log_prob: Tensor
    cross_fitted: bool
    weight: Tensor | None = None
    columns: tuple[float, ...] = ()
    columns_deviation: tuple[float, ...] = ()
    num_samples: int = 1
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        found = self.log_prob
        if found.ndim != 1 or not len(found) or bool(found.isnan().any()) or bool((found[1:] < found[:-1]).any()):
            raise ValueError("log p of held-out rows must be a rising list of numbers: take HeldOut.of")
        if self.weight is not None and (self.weight.shape != found.shape or not float(self.weight.sum()) > 0):
            raise ValueError("each held-out row needs a weight, 0 or more, and some a positive one")

    @classmethod
    def of(
        cls,
        log_prob: Tensor,
        *,
        cross_fitted: bool = False,
        weight: Tensor | None = None,
        columns: Tensor | None = None,
        num_samples: int = 1,
        weights_sha256: str = "",
    ) -> Self:
        """From log p of rows in any order (N,), and where there is such of their columns (N, D).

        Args:
            log_prob: NaN counts as -inf.
            cross_fitted: as above.
            weight: as above.
            columns: log p of each column given those before it; what is not finite is left out of the means.
            num_samples: as above.
            weights_sha256: as above.

        Examples:
            >>> HeldOut.of(torch.tensor([0.5, -1.0])).percentile(torch.tensor([-2.0, -1.0, 0.0, 1.0]))
            tensor([  0.,  50.,  50., 100.], dtype=torch.float64)
        """
        found = finite_or_outside(log_prob.detach().double().cpu())
        found, order = found.sort()
        mean = deviation = ()
        if columns is not None:
            mean, deviation = _moments(columns.detach().double().cpu(), weight)
        weight = None if weight is None else weight.detach().double().cpu()[order]
        return cls(found, cross_fitted, weight, mean, deviation, num_samples, weights_sha256)

    def percentile(self, log_prob: Tensor) -> Tensor:
        """The share of held-out rows whose log p is at most that of each row (N,), from 0 to 100."""
        below = torch.searchsorted(self.log_prob, log_prob.detach().double().cpu(), right=True)
        shares = torch.cat([torch.zeros(1, dtype=torch.float64), self._cumulated])
        return 100 * shares[below] / shares[-1]

    @property
    def _cumulated(self) -> Tensor:
        return torch.ones_like(self.log_prob).cumsum(0) if self.weight is None else self.weight.cumsum(0)

    def threshold(self, contamination: float) -> float:
        """The log p at or below which a fresh row is flagged with a probability of `contamination`, or a little less.

        Of N held-out rows and a fresh one, exchangeable, all ranks are as likely: it lies at or below the k-th smallest
        with probability k / (N + 1). So k = floor(contamination (N + 1)), or fewer where log p of several is the same.
        With weights w, N + 1 becomes sum w (1 + 1 / N'), N' = (sum w)^2 / sum w^2.

        Args:
            contamination: between 0 and 1.

        Returns:
            One of `log_prob`; -inf, with a warning, where there are too few rows to tell.

        Raises:
            ValueError: where contamination is no such number.

        References:
            Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005.

        Examples:
            >>> HeldOut.of(torch.arange(99.0)).threshold(0.05)
            4.0
        """
        if not 0 < contamination < 1:
            raise ValueError(f"contamination must lie between 0 and 1, such as 0.01; got {contamination}")
        total, counts = float(self._cumulated[-1]), self._cumulated
        effective = len(self.log_prob) if self.weight is None else total**2 / float(self.weight.square().sum())
        last = torch.cat([self.log_prob[1:] > self.log_prob[:-1], torch.ones(1, dtype=torch.bool)])  # of equal ones
        allowed = last & (counts <= contamination * total * (1 + 1 / effective) * (1 + 1e-12))
        if not bool(allowed.any()):
            least = 1 / (effective + 1)
            warnings.warn(
                f"{len(self.log_prob):,} held-out rows are too few to tell the rarest {contamination:.3g} of all rows: "
                f"only rows of density 0 are flagged; take a contamination of {_rounded_up(least)} or more",
                DataWarning,
                stacklevel=2,
            )
            return -math.inf
        return float(self.log_prob[allowed.nonzero()[-1, 0]])

    def keep(self, run_dir: Path) -> Path:
        """Write held_out.json."""
        plain = {name: each.tolist() if isinstance(each, Tensor) else each for name, each in vars(self).items()}
        plain["log_prob"] = [None if math.isinf(each) else each for each in plain["log_prob"]]
        path = run_dir / HELD_OUT
        write_whole(path, (json.dumps(plain, allow_nan=False) + "\n").encode())
        return path

    @classmethod
    def read(cls, run_dir: Path) -> Self | None:
        """What stands in held_out.json; None where there is none, ValueError where it is damaged."""
        path = run_dir / HELD_OUT
        if not path.is_file():
            return None
        try:
            plain = json_of(path)
            weight = plain["weight"]
            log_prob = [-math.inf if each is None else float(each) for each in plain["log_prob"]]
            return cls(
                torch.tensor(log_prob, dtype=torch.float64),
                bool(plain["cross_fitted"]),
                None if weight is None else torch.tensor(weight, dtype=torch.float64),
                tuple(map(float, plain["columns"])),
                tuple(map(float, plain["columns_deviation"])),
                int(plain["num_samples"]),
                str(plain["weights_sha256"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} is damaged ({error}): delete it, and it is made anew") from error


def finite_or_outside(log_prob: Tensor) -> Tensor:
    """log p, -inf where it is no number: so far out that it cannot be computed."""
    return torch.where(log_prob.isnan() | log_prob.isposinf(), -math.inf, log_prob)


def held_out_of(
    model: Flow, split: Split, spec: DataSpec, *, num_samples: int = 1, seed: int = 0, weights_sha256: str = ""
) -> HeldOut:
    """log p of held-out rows: of all, or of 20,000 spread over them, fewer where K draws are made of each.

    Args:
        model: a trained one.
        split: rows that it was not trained on.
        spec: of the rows.
        num_samples: K, for a model that is not exact.
        seed: of its draws.
        weights_sha256: the checksum of its weights.

    Returns:
        A `HeldOut`.
    """
    exact = model.density.exact
    most = MOST_ROWS if exact else max(100, min(MOST_ROWS, MOST_DRAWS // num_samples))
    some = Split(*split.take(spread_rows(len(split.x), most)))
    rows = fitting(model, some if not model.density.context_optional else some._replace(context=None))
    with seeded(seed):
        scores = score(model, rows.take(), spec=spec, num_samples=num_samples)
    return HeldOut.of(
        scores.log_prob,
        weight=rows.weight,
        columns=scores.columns,
        num_samples=1 if exact else num_samples,
        weights_sha256=weights_sha256,
    )


def kept_after_training(run_dir: Path, data: DataSet) -> HeldOut | None:
    """The held-out rows of a run that was just trained, as its file keeps them; None where it has no such rows.

    These are the test rows of a table, unless rows that were held out in folds stand there already, for these weights:
    not where a training that was resumed has changed them. Other data have none, nor does a training that left no
    weights.
    """
    if not (run_dir / WEIGHTS).is_file() or not is_of_columns(data.spec):
        return None
    before, run = HeldOut.read(run_dir), Run.open(run_dir)
    if before is not None and before.cross_fitted and before.weights_sha256 in ("", run.weights_sha256):
        found = replace(before, weights_sha256=run.weights_sha256)
        found.keep(run_dir)
        return found
    run.device = device_on(run.experiment.train.device)
    found = _of_rows(run, data.test)
    found.keep(run_dir)
    return found


def held_out_for(run: Run, num_samples: int | None = None) -> tuple[HeldOut, str]:
    """The held-out rows of a run, and what to say of them: where it keeps none they are made from its test rows.

    num_samples: K of rows that are to be compared with them; by default that of the run.
    """
    kept, wanted = HeldOut.read(run.path), num_samples or run.experiment.evaluate.num_samples
    if kept is not None and kept.weights_sha256 in ("", run.weights_sha256):
        if run.model.density.exact or kept.num_samples == wanted:
            return kept, ""
        if (
            kept.cross_fitted or run.experiment.data.model_dump().get("path") == IN_MEMORY
        ):  # made of rows no longer here
            return kept, f"log p of held-out rows was estimated with K = {kept.num_samples}"
        return _of_rows(run, run.data.test, wanted), f"log p of held-out rows was estimated anew with K = {wanted}"
    found = _of_rows(run, run.data.test, wanted)
    if num_samples is None or found.num_samples == 1:
        found.keep(run.path)
    what = "kept none" if kept is None else "was trained further"
    return found, f"{run.path} {what}: log p of held-out rows was computed from its test rows, {len(found.log_prob):,}"


def _of_rows(run: Run, split: Split, num_samples: int | None = None) -> HeldOut:
    options = run.experiment.evaluate
    return held_out_of(
        run.model,
        split,
        run.spec,
        num_samples=num_samples or options.num_samples,
        seed=options.seed,
        weights_sha256=run.weights_sha256,
    )


def _moments(columns: Tensor, weight: Tensor | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each column, of its finite values."""
    finite = columns.isfinite()
    w = finite.double() if weight is None else finite * weight.double().cpu()[:, None]
    total = w.sum(0).clamp_min(1e-300)
    mean = (w * columns.where(finite, 0.0)).sum(0) / total
    spread = (w * (columns.where(finite, 0.0) - mean).square()).sum(0) / total
    return tuple(mean.tolist()), tuple(spread.sqrt().tolist())


def _rounded_up(share: float) -> str:
    """A share with two digits, not below it."""
    digits = 1 - math.floor(math.log10(share))
    return f"{math.ceil(share * 10**digits) / 10**digits:g}"
