"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from marginflow.base.adapter import require_distribution
from marginflow.base.arguments import Values, shown
from marginflow.base.config import as_config
from marginflow.base.devices import require_weights, rows_at_once, threads_for, with_gradients
from marginflow.base.distribution import Distribution
from marginflow.base.seeds import deterministic, seeded
from marginflow.base.settings import as_flag, as_path
from marginflow.data import Batch, DataSet, Rows, Split
from marginflow.data.dataset import spread_rows
from marginflow.data.loader import Loader
from marginflow.data.require import bring_to
from marginflow.distributions.em import EM
from marginflow.distributions.mixtures import em_of, is_fitted_by_em
from marginflow.nets.products import choice_for, using
from marginflow.storage.lock import locked
from marginflow.training.checkpoint import prepare
from marginflow.training.compiled import Compiled
from marginflow.training.config import TrainConfig
from marginflow.training.ending import ending, is_over, warn_of_the_result
from marginflow.training.first_rows import check_first_rows
from marginflow.training.interrupt import Interrupted, Interrupts
from marginflow.training.metrics import EpochRecord
from marginflow.training.objective import Objective, mean_nll, mean_weight
from marginflow.training.observers import Observer, TensorBoard, require_observers
from marginflow.training.optimiser import adam, clip, learning_rate, require_over, warn_of_rates
from marginflow.training.patience import jumped
from marginflow.training.ready import held_out, ready
from marginflow.training.recompute import recomputing
from marginflow.training.state import TrainingState
from marginflow.training.validation import Recorded, heaviest, not_finite
from marginflow.transforms import BatchNorm, Standardise
from marginflow.transforms.calibrate import NotFinite, calibrate, rows_to_initialise
from marginflow.transforms.normalise import Calibrated, InitialisedOnce

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from marginflow.training.progress import TrainingProgress

SAVE_EVERY = 600.0  # seconds, in an epoch that takes longer
STACKLEVEL = 4  # of warnings, from what the loop calls: who called fit


def fit(
    model: Distribution,
    data: DataSet | Split | Values | Rows,
    config: TrainConfig | Mapping[str, Any] | None = None,
    run_dir: str | Path | None = None,
    *,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    optimiser: torch.optim.Optimizer | None = None,
    progress: bool | TrainingProgress | None = None,
) -> list[EpochRecord]:
    """Train a model by maximum likelihood and leave it with the weights that were best on validation.

    loss = -mean log p(x), for a marginalising flow the bound -mean [log p(x, eps) - log q(eps | x)], or with
    config.num_samples = K its importance-weighted form -mean log 1/K sum_k p(x, eps_k) / q(eps_k | x)

    Mixtures are trained by EM instead, a `ProductMixture`, and a `GaussianMixture` as it is or in a flow whose
    transforms have no parameters to train: an epoch is one step on all rows, its training loss that of the weights
    before, and of the optimiser's settings none counts.

    The model is trained in place, and left on its device and in evaluation mode; model.spec becomes that of the data.
    The test split is never used. Where the model is built of public classes, `marginflow.load(run_dir)` builds it
    again.

    In run_dir stand metrics.jsonl, model.safetensors (the best weights) and trainer.pt (the state to resume from). The
    state is written after every epoch, and every ten minutes in a longer one: a training that is killed loses no more.
    The first Ctrl-C ends the training after the step under way, writes its state and raises KeyboardInterrupt.

    A DataWarning before the first step names columns far from standardised, and in the end rows that dominate the
    validation; a RuntimeWarning says that Adam's learning rate is too high, or the result no better than the untrained
    model. After an epoch whose loss has jumped the training returns to the best weights, see `TrainConfig`. The last
    record says by its attribute `ended` why the training ended and whether it was still improving.

    Args:
        model: any distribution.
        data: a `DataSet`; or rows (N, *event), tensor or array, or a `Split` with their context, of which a tenth,
            chosen by the seed, becomes the validation split.
        config: a `TrainConfig`, or a dict of its settings; None takes its defaults.
        run_dir: directory of the files of the training, made where needed; None writes none.
        resume: resume the training in run_dir, as if it had not been interrupted; where there is none it starts anew.
        observers: informed of every step and epoch, see `Observer`.
        optimiser: one of torch's, over parameters of the model; None is Adam as `config` says. The schedule starts from
            its learning rates, in place of config.lr.
        progress: True shows a bar, or a line an epoch where there is no terminal.

    Returns:
        The history: an `EpochRecord` for each epoch, those before the training was resumed included.

    Raises:
        ValueError: where data and model do not fit (another event shape, a context that nothing uses), the batch is
            larger than the data, or 1 with batch norm; the model has no parameters, or an exact density with
            num_samples above 1; the optimiser is not over its parameters, or the model is trained by EM; the device is
            not there; tensorboard is asked for without a run_dir; an operation has no deterministic form though config
            asks for it; or the state in run_dir is of another model or optimiser, holds no average though config asks
            for one, or is damaged. Other settings, and the rows, are not compared. Also for rows outside the support of
            the untrained model, named.
        FileExistsError: where run_dir holds a training that is not to be resumed, or cannot be.
        BlockingIOError: where another process or thread trains in run_dir.
        OSError: where run_dir cannot be written.
        FloatingPointError: where the loss stops being finite; says at which step, and leaves the best weights so far
            in the model and in run_dir.

    Examples:
        >>> import torch
        >>> from marginflow import models
        >>> history = fit(models.planar(2), torch.randn(1000, 2), TrainConfig(epochs=2))
        >>> [record.epoch for record in history]
        [1, 2]
    """
    require_distribution(model)
    require_weights(model)
    resume = as_flag(resume, "resume")
    if progress is not None and not isinstance(progress, bool) and not hasattr(type(progress), "__enter__"):
        raise ValueError(f"progress must be True, False or a TrainingProgress; got {shown(progress)}: give True")
    with with_gradients(model):
        return _fit(model, data, as_config(config, TrainConfig), run_dir, resume, observers, optimiser, progress)


def _fit(
    model: Distribution,
    data: DataSet | Split | Values | Rows,
    config: TrainConfig,
    run_dir: str | Path | None,
    resume: bool,
    observers: Sequence[Observer],
    optimiser: torch.optim.Optimizer | None,
    progress: bool | TrainingProgress | None,
) -> list[EpochRecord]:
    """`fit`, where gradients are recorded."""
    data, places = (data, None) if isinstance(data, DataSet) else held_out(model, data, config.seed)
    data, fabric = ready(model, data, config)
    directory = None if run_dir is None else prepare(as_path(run_dir, "run_dir"), resume=resume)
    require_observers(observers)
    device = next(model.parameters()).device
    if optimiser is not None and is_fitted_by_em(model):
        raise ValueError("the model is a mixture trained by EM, which needs no optimiser: leave it out")
    optimiser = adam(model, config) if optimiser is None else require_over(model, optimiser)
    with ExitStack() as stack:
        if directory is not None:
            stack.enter_context(locked(directory))
        if config.tensorboard:
            if directory is None:
                raise ValueError("tensorboard = true needs a run_dir for its events")
            board = TensorBoard(directory / "tensorboard")
            stack.callback(board.close)
            observers = [*observers, board]
        if progress:
            from marginflow.training.progress import TrainingProgress

            bar = TrainingProgress(config, data.spec) if progress is True else progress
            observers = [stack.enter_context(bar), *observers]
        model.spec = data.spec
        if device.type == "cpu" and not is_fitted_by_em(model):
            stack.enter_context(threads_for(config.batch_size * sum(each.numel() for each in model.parameters())))
        loop = _Loop(model, data, config, fabric, optimiser, directory, observers, places)
        stack.enter_context(loop.state.in_the_end(device))
        stack.callback(loop.set_rates, *loop.rates)  # for whoever uses the optimiser afterwards
        stack.enter_context(deterministic(config.deterministic))
        stack.enter_context(seeded(config.seed))
        stack.enter_context(recomputing(model, config.checkpoint))
        stack.enter_context(loop.interrupts)
        try:
            loop.run(resume)
        except Interrupted as interrupt:
            loop.state.save()
            raise KeyboardInterrupt(loop.how_to_resume()) from interrupt
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(loop.state.what_is_kept()) from interrupt
    return loop.state.history


class _Loop:
    """A training: the model and data it works on, and the state that its steps change."""

    def __init__(
        self,
        model: Distribution,
        data: DataSet,
        config: TrainConfig,
        fabric: Fabric,
        optimiser: torch.optim.Optimizer,
        directory: Path | None,
        observers: Sequence[Observer],
        places: Mapping[str, Tensor] | None,
    ) -> None:
        self.places = places or {}  # of the rows of each split, in what the caller gave
        self.data, self.config, self.fabric, self.observers = data, config, fabric, observers
        batch_size = len(data.train.x) if is_fitted_by_em(model) else config.batch_size
        self.loader = Loader(data.train, batch_size, seed=config.seed)
        self.rates = [float(group["lr"]) for group in optimiser.param_groups]
        self.objective, self.optimiser = fabric.setup(Objective(model, config.num_samples), optimiser)
        self.log_prob = Compiled(self.objective, fabric.device, STACKLEVEL) if config.compile else self.objective
        self.state = TrainingState(model, self.optimiser, self.loader, directory)
        self.interrupts = Interrupts()
        self.validation_seed = config.seed if config.validation_seed is None else config.validation_seed
        self.state.clip_norm = config.clip_norm or 0.0
        self.takes_statistics = model.train().training  # not where p stays as it is and q alone is trained
        self.em = em_of(model, data.train, self.interrupts.check)
        self.mean_weight = mean_weight(data.train)
        self.decay = config.ema if self.em is None else 0.0

    def run(self, resume: bool) -> None:
        """Train to the end, from the start or from where a training stopped."""
        state, config = self.state, self.config
        by_default = "clip_norm" not in config.model_fields_set
        restored = resume and state.restore(self.decay, STACKLEVEL + 1, clip_as_before=by_default)
        if not restored:
            state.products = choice_for(state.model, config.batch_size, repeatable=config.deterministic)
        with using(state.products):
            if not restored:
                self.prepare()
            self.train()

    def prepare(self) -> None:
        """What comes before the first step."""
        state = self.state
        if self.takes_statistics:
            self.calibrate(state.model, Standardise)
        self.initialise(state.model)
        if self.em is None:
            warn_of_rates(self.optimiser, STACKLEVEL + 1)
        else:
            self.em.start(self.config.seed)
        seed, places = self.validation_seed, self.places
        state.untrained_nll = check_first_rows(state.model.train(), self.data, places, seed, STACKLEVEL + 1)
        state.start_average(self.decay)

    def train(self) -> None:
        """The epochs that are left."""
        state, config = self.state, self.config
        if is_over(state.history, config):
            return
        state.continue_after_end()
        while not is_over(state.history, config):
            self.train_epoch() if self.em is None else self.take_step_of(self.em)
            record = self.judged(self.validate())
            state.end_epoch(record)  # keeps it
            for observer in self.observers:
                observer.on_epoch(record, state.validated)
        warn_of_the_result(state.history, self.data, state.untrained_nll, self.places, STACKLEVEL + 1)

    def train_epoch(self) -> None:
        """What is left of the steps of an epoch."""
        state, loader, config = self.state, self.loader, self.config
        epoch_start, seconds_before = time.perf_counter(), state.seconds
        saved, parameters = epoch_start, list(state.model.parameters())
        state.model.train()
        for batch in loader.epoch(loader.number):
            step = (loader.number - 1) * loader.num_batches + loader.step - 1
            rates = (learning_rate(config, step, config.epochs * loader.num_batches, lr) for lr in self.rates)
            self.set_rates(*(state.rate_scale * rate for rate in rates))
            x, context, weight = bring_to(state.model, batch)
            log_prob = self.log_prob(x, context)
            loss = -log_prob.mean() if weight is None else -(weight * log_prob).mean() / self.mean_weight
            nll = loss.item()
            if not math.isfinite(nll):
                rows = loader.rows_of_step()
                rows = self.places["training"][rows] if self.places else rows
                state.require_finite(nll, "loss", not_finite(log_prob, rows, "training"))
            self.fabric.backward(loss)
            clip(self.fabric, self.objective, self.optimiser, parameters, config.clip_value, state.clip_norm)
            self.optimiser.step()
            self.optimiser.zero_grad()
            if state.average is not None:
                state.average.update()
            state.total += nll
            state.seconds = seconds_before + time.perf_counter() - epoch_start
            for observer in self.observers:
                observer.on_step(loader.number, loader.step, loader.num_batches, nll)
            if time.perf_counter() - saved > SAVE_EVERY:
                state.save()
                saved = time.perf_counter()
            self.interrupts.check()

    def take_step_of(self, em: EM) -> None:
        """The step of an epoch on all rows."""
        state, loader, start = self.state, self.loader, time.perf_counter()
        nll = em.step()
        state.require_finite(nll, "loss")
        loader.step, state.total, state.seconds = 1, nll, time.perf_counter() - start
        for observer in self.observers:
            observer.on_step(loader.number, 1, 1, nll)

    def set_rates(self, *rates: float) -> None:
        """Let each group of the optimiser have its learning rate."""
        for group, lr in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = lr

    def validate(self) -> EpochRecord:
        """The record of the epoch whose steps are taken, validated where that is due."""
        state, config, epoch, validation_start = self.state, self.config, self.loader.number, time.perf_counter()
        validation_nll, robust, heavy, best = None, None, (), False
        if epoch % config.validate_every == 0 or epoch == config.epochs:
            model = state.validated.eval()
            try:
                if self.takes_statistics:
                    self.calibrate(model, BatchNorm)
            except NotFinite:  # the rows themselves were checked: it is the model's doing
                state.require_finite(math.nan, "input of a batch norm")
            scores = Recorded(Objective(model, config.num_samples), self.data.validation.weight)
            validation_nll = mean_nll(scores, self.in_order(self.data.validation), self.validation_seed)
            if not math.isfinite(validation_nll):
                rows = self.places.get("validation", torch.arange(len(scores.nll)))
                state.require_finite(validation_nll, "validation loss", not_finite(-scores.nll, rows, "validation"))
            robust, heavy = scores.robust_mean, heaviest(scores.nll)
            previous_best = state.best
            best = (
                previous_best is None
                or previous_best.validation_nll is None
                or validation_nll < previous_best.validation_nll
            )
        seconds = round(state.seconds + time.perf_counter() - validation_start, 3)
        lr = self.optimiser.param_groups[0]["lr"] if self.em is None else None
        train_nll = state.total / self.loader.num_batches
        return EpochRecord(epoch, train_nll, validation_nll, best, seconds, lr, robust, heavy)

    def judged(self, record: EpochRecord) -> EpochRecord:
        """The record of an epoch, with whether its loss has jumped, and where the training ends with it why."""
        state, config, spec = self.state, self.config, self.data.spec
        may_jump = config.returns > 0 and self.em is None
        record = replace(record, returned=may_jump and jumped(state.history, record, spec.features))
        history, on_validation = [*state.history, record], self.data.trains_on_validation
        if not is_over(history, config):
            return record
        about = {"resumable": state.directory is not None, "trains_on_validation": on_validation}
        return replace(record, ended=ending(history, config, spec, state.untrained_nll, **about))

    def calibrate(self, model: Distribution, kind: type[Calibrated]) -> None:
        """Give the layers of a kind the statistics of the training set."""
        calibrate(model, self.in_order(self.data.train), layers=_layers(model, kind), seed=self.validation_seed)

    def initialise(self, model: Distribution) -> None:
        """Initialise the layers that take their first values from data and have not yet, from some training rows,
        spread over all.
        """
        uninitialised = [
            layer
            for layer in _layers(model, InitialisedOnce)
            if isinstance(layer, InitialisedOnce) and layer.needs_statistics
        ]
        if uninitialised:
            rows = self.data.train
            spread = spread_rows(len(rows.x), rows_to_initialise(uninitialised, rows.x.shape))
            layers = [*uninitialised, *_layers(model, BatchNorm)]  # whose statistics validation will replace
            calibrate(model, [bring_to(model, rows.take(spread))], layers=layers, seed=self.validation_seed)
        for layer in uninitialised:
            layer.mark_initialised()

    def in_order(self, split: Split) -> _InOrder:
        """The rows of a split for a pass without gradient, which can be interrupted."""
        return _InOrder(split, self.state.model, self.interrupts)

    def how_to_resume(self) -> str:
        """What an interrupt leaves, and how to continue, in words."""
        loader, directory = self.loader, self.state.directory
        if directory is None or not self.state.under_way:
            return self.state.what_is_kept()
        where = f"step {loader.step} of {loader.num_batches} in epoch {loader.number} of {self.config.epochs}"
        return f"stopped after {where}; the state is kept in {directory}: resume with the same command and --resume"


def _layers(model: Distribution, kind: type[Calibrated]) -> list[Calibrated]:
    return [layer for layer in model.modules() if isinstance(layer, kind)]


class _InOrder:
    """The rows of a split in order, in batches for passes without gradient; can be iterated again and again."""

    def __init__(self, split: Split, model: Distribution, interrupts: Interrupts) -> None:
        self.split, self.model, self.interrupts = split, model, interrupts

    def __iter__(self) -> Iterator[Batch]:
        chunk = min(1000, rows_at_once(self.model))
        for start in range(0, len(self.split.x), chunk):
            self.interrupts.check()
            yield bring_to(self.model, self.split.take(slice(start, start + chunk)))
