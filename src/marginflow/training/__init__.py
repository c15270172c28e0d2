"""Training: one loop, one configuration."""

from marginflow.calibration import calibrate
from marginflow.training.loop import check_ready, fit
from marginflow.training.observers import EpochRecord, Observer, TensorBoard
from marginflow.training.settings import TrainConfig

__all__ = ["EpochRecord", "Observer", "TensorBoard", "TrainConfig", "calibrate", "check_ready", "fit"]
