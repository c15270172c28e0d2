"""The configuration of a training."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from marginflow.base.config import Configuration
from marginflow.base.seeds import SEEDS

CLIP_NORM = 50.0  # where neither way of clipping is set: above ordinary steps of tables and toys, below spikes


class TrainConfig(Configuration):
    """How to train: Adam on the mean negative log-likelihood.

    With ema = d the weights that are validated, saved and returned are an exponential moving average with decay d.
    Early on the decay at step t is (1 + t) / (10 + t), as far as that is below d.

    Args:
        epochs: passes through the training rows, shuffled anew each time; an incomplete last batch is left out.
        batch_size: rows a step.
        lr: learning rate.
        schedule: of the learning rate, "constant", or "cosine" from lr down towards 0, which the step after the last
            would have.
        warmup_steps: steps over which the learning rate first rises linearly to lr.
        weight_decay: Adam's L2 penalty.
        clip_value: largest absolute value of each gradient entry; None does not clip.
        clip_norm: largest norm of the whole gradient; 0 does not clip. None is 50 unless clip_value is set, and becomes
            that number. Set at most one of the two.
        ema: decay d of the moving average of the weights; 0 takes the weights themselves.
        num_samples: K draws of noise a row; above 1 the loss is the importance-weighted bound, for models that draw
            noise.
        validate_every: epochs between validations; each costs a pass of the training set per `BatchNorm` layer.
        checkpoint: keep only the input of each layer of the flow, and compute the rest again in the backward pass: less
            memory for deep flows, a third more time, the same gradients.
        compile: compile the steps by torch.compile, which first takes some ten seconds or more. On the CPU it needs a
            C++ compiler; without one a warning says so. Small flows gain: D = 2, 5 x (2 x 64) trains at 0.7 of the
            time, D = 43, 5 x (2 x 512), which multiplies matrices most of the time, at the same.
        patience: stop at a validation that comes so many epochs, or more, after the last whose mean or robust mean, see
            `EpochRecord`, was the lowest so far; None trains all epochs.
        returns: to the best weights, after an epoch whose loss has jumped, each at half the learning rate of before; a
            further jump ends the training. 0 looks for no jumps.
        seed: of the data order and all noise in training.
        validation_seed: of the noise in validation; None takes `seed`.
        deterministic: refuse operations whose result depends on the order in which threads finish.
        tensorboard: also write events for TensorBoard into the run directory.
        device: "auto" (CUDA where there is any, else the CPU), "cpu", "cuda", ...
        precision: "32-true" or "64-true".

    Raises:
        ValueError: for a value out of its range or of another type, an unknown name, or both ways of clipping.

    Examples:
        >>> config = TrainConfig(epochs=10, schedule="cosine", clip_norm=5.0)
        >>> config.epochs, config.batch_size
        (10, 100)
    """

    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=100, ge=1)
    lr: float = Field(default=5e-4, gt=0, allow_inf_nan=False)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    clip_value: float | None = Field(default=None, gt=0)
    clip_norm: float | None = Field(default=None, ge=0, allow_inf_nan=False, validate_default=True)
    ema: float = Field(default=0.0, ge=0, lt=1)
    num_samples: int = Field(default=1, ge=1)
    validate_every: int = Field(default=1, ge=1)
    checkpoint: bool = False
    compile: bool = False
    patience: int | None = Field(default=None, ge=1)
    returns: int = Field(default=3, ge=0)
    seed: int = Field(default=0, ge=0, lt=SEEDS)
    validation_seed: int | None = Field(default=None, ge=0, lt=SEEDS)
    deterministic: bool = False
    tensorboard: bool = False
    device: str = "auto"
    precision: Literal["32-true", "64-true"] = "32-true"

    @field_validator("clip_norm")
    @classmethod
    def _clipped_by_default(cls, clip_norm: float | None, info: ValidationInfo) -> float | None:
        """The default as a number, so that the configuration of a run tells how it was trained."""
        return CLIP_NORM if clip_norm is None and info.data.get("clip_value") is None else clip_norm

    @model_validator(mode="after")
    def _clip_one_way(self) -> Self:
        if self.clip_value is not None and self.clip_norm:
            raise ValueError("clip_value and clip_norm are two ways to do one thing: set one of them")
        return self
