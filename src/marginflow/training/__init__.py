"""Training on data, and on densities without data."""

from marginflow.training.batch_size import BatchSize, suggested_batch_size
from marginflow.training.config import TrainConfig
from marginflow.training.fit import fit
from marginflow.training.fit_to_density import VariationalConfig, VariationalFit, fit_to_density
from marginflow.training.metrics import EpochRecord
from marginflow.training.observers import Observer, TensorBoard
from marginflow.training.ready import require_ready as check_ready  # the name that is public
from marginflow.transforms.calibrate import calibrate

__all__ = [
    "BatchSize", "EpochRecord", "Observer", "TensorBoard", "TrainConfig", "VariationalConfig", "VariationalFit",
    "calibrate", "check_ready", "fit", "fit_to_density", "suggested_batch_size",
]  # fmt: skip
