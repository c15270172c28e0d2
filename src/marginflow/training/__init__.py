"""Training on data, and on densities without data."""

from marginflow.calibration import calibrate
from marginflow.training.loop import check_ready, fit
from marginflow.training.observers import EpochRecord, Observer, TensorBoard
from marginflow.training.settings import TrainConfig
from marginflow.training.variational import VariationalConfig, VariationalFit, fit_to_density

__all__ = [
    "EpochRecord", "Observer", "TensorBoard", "TrainConfig", "VariationalConfig", "VariationalFit", "calibrate",
    "check_ready", "fit", "fit_to_density",
]  # fmt: skip
