"""Normalisation by statistics of the training set, which `calibrate` measures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from marginflow.base.arguments import Values, as_tensor, as_whole
from marginflow.base.constants import HoldsConstants
from marginflow.base.transform import Transform, of_pixels
from marginflow.nets.autograd import Written
from marginflow.transforms.chain import WrittenOut, in_one_node
from marginflow.transforms.scale_and_shift import BatchNormalised, ScaledAndShifted, spread


class Calibrated(Transform, ABC):
    """A transform that starts from the training set's mean and variance of each feature (or channel).

    uses_batch: whether training mode takes the statistics of the batch instead.
    uses_covariance: whether it takes the covariance of all features instead of the variance of each.
    """

    uses_batch = False
    uses_covariance = False

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = self.num_features = as_whole(features, "features", least=1)

    @property
    def needs_statistics(self) -> bool:
        """Whether `calibrate` has something to do here."""
        return True

    @property
    def works_without(self) -> bool:
        """Whether it can be used without statistics, so that `calibrate` may leave it where no data reach it."""
        return False

    @abstractmethod
    def set_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Take in the mean and biased variance of each feature, both (features,), or the covariance of all."""

    def require_statistics(self, mean: Values, variance: Values) -> tuple[Tensor, Tensor]:
        """Statistics as real tensors; ValueError where they are of another number of features, or no such numbers."""
        mean, variance = (
            each if each.is_floating_point() else each.to(torch.get_default_dtype())
            for each in (as_tensor(mean, "mean"), as_tensor(variance, "variance"))
        )
        n = self.num_features
        expected = (n, n) if self.uses_covariance else (n,)
        if mean.shape != (n,) or variance.shape != expected:
            what = "covariance" if self.uses_covariance else "variance"
            raise ValueError(
                f"mean and {what} must have shapes {(n,)} and {expected}; "
                f"got {tuple(mean.shape)} and {tuple(variance.shape)}"
            )
        if not bool(torch.isfinite(mean).all() & torch.isfinite(variance).all()):
            raise ValueError("mean and variance must be finite: remove NaN and infinity from the rows")
        negative = (variance.diagonal() if self.uses_covariance else variance) < 0
        if bool(negative.any()):
            raise ValueError(f"a variance must not be negative; got {variance.tolist()}: give deviations squared")
        return mean, variance

    def extra_repr(self) -> str:
        return str(self.num_features)


class InitialisedOnce(Calibrated, ABC):
    """Initialised from the data and trained from there; the identity until then. The weights say that it has been."""

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.initialised: Tensor
        self.register_buffer("initialised", torch.tensor(False))

    @property
    def needs_statistics(self) -> bool:
        return not bool(self.initialised)

    @property
    def works_without(self) -> bool:
        return True

    def mark_initialised(self) -> None:
        """Leave it as it is from here on: `calibrate` will not initialise it again."""
        self.initialised.fill_(True)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        if f"{prefix}started" in state_dict:  # its name in files of run format 1
            state_dict[f"{prefix}initialised"] = state_dict.pop(f"{prefix}started")
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class _EachFeature(Calibrated, WrittenOut, ABC):
    """A scale and a shift for each feature (or channel).

    z = exp(s) x + t,  log_det = sum s, a channel's s once for each of its pixels
    """

    def __init__(self, features: int) -> None:
        super().__init__(features)
        # and as many units for each pixel, but then its neighbours are no vectors' transforms
        self.num_weights = self.num_units = 2 * self.num_features

    @abstractmethod
    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """log-scale s and shift t, both (features,), with z = exp(s) x + t outside of training mode."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return in_one_node([self], x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(z)
        if self.training and self.uses_batch:
            raise ValueError(
                f"{type(self).__name__} has no inverse in training mode, where it depends on the batch: call eval()"
            )
        log_scale, shift = self.scale_and_shift()
        x = (z - spread(shift, z)) * spread((-log_scale).exp(), z)
        return x, of_pixels(-log_scale.sum(), z)


class _Kept(HoldsConstants, Calibrated, ABC):
    """Keeps the mean and variance of each feature as state; both are None until they are set or loaded."""

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.mean: Tensor | None
        self.variance: Tensor | None
        self.register_buffer("mean", None)
        self.register_buffer("variance", None)
        self._like: Tensor
        self.register_buffer("_like", torch.zeros(()), persistent=False)  # carries dtype and device

    def _stored(self, values: Tensor) -> Tensor:
        """Statistics as they are kept."""
        return values.to(self._like)

    def _constants(self) -> dict[str, Tensor]:
        return {"_like": torch.zeros((), device="cpu")}

    def set_statistics(self, mean: Tensor, variance: Tensor) -> None:
        mean, variance = self.require_statistics(mean, variance)
        self.mean, self.variance = self._stored(mean), self._stored(variance)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance; ValueError before there are any."""
        if self.mean is None or self.variance is None:
            raise ValueError(
                f"{type(self).__name__} has no statistics of the training set yet: call "
                "calibrate(model, batches), or fit, or load a trained model"
            )
        return self.mean, self.variance

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name in ("mean", "variance"):  # a buffer that is None would not be loaded
            loaded = state_dict.get(prefix + name)
            setattr(self, name, None if loaded is None else self._stored(self._like.new_empty(self.num_features)))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Standardise(_Kept):
    """Standardise each feature to mean 0 and variance 1 over the training set.

    z = (x - mean) / deviation,  log_det = -sum log deviation

    The statistics are set by `calibrate`, or by `fit`. A constant feature is only shifted.

    They are float64 whatever the precision of the model, and so is the arithmetic: rows in float64 go in as they are,
    and z comes out in the precision of the model, so an offset of 1e9 loses nothing. The inverse gives float64 where a
    feature varies by less than a thousandth of its size, which float32 would not hold.

    Args:
        features: D, or the number of channels of images.

    Raises:
        ValueError: where `features` is below 1, or it is used before there are statistics.

    Examples:
        >>> import torch
        >>> standardise = Standardise(1)
        >>> standardise.set_statistics(torch.tensor([3.0]), torch.tensor([4.0]))
        >>> standardise(torch.tensor([[5.0]]))[0]
        tensor([[1.]])
    """

    OFFSET = 1e3  # deviations between a mean and 0, from which on the inverse gives float64

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self._wider: torch.dtype | None = None  # of the inverse, known with the statistics: it looks at no values

    @property
    def takes_float64(self) -> bool:
        return True

    def _stored(self, values: Tensor) -> Tensor:
        return values.to(self._like.device, torch.float64)

    def set_statistics(self, mean: Tensor, variance: Tensor) -> None:
        mean, variance = self.require_statistics(mean, variance)
        self._take_over(mean, variance)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if self.mean is not None and self.variance is not None:
            self._take_over(self.mean, self.variance)  # those of older files are less precise

    def _take_over(self, mean: Tensor, variance: Tensor) -> None:
        self.mean, self.variance = self._stored(mean), self._stored(variance)
        self._wider = torch.float64 if self._is_far_from_0(self.mean, self.variance) else None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Follow the model to another device, not to another precision."""
        before = self.mean, self.variance
        super()._apply(fn, recurse)
        self.mean, self.variance = (
            after if after is None or value is None or after.dtype == value.dtype
            else torch.empty_like(value, device=after.device) if value.is_meta else value.to(after.device)
            for value, after in zip(before, (self.mean, self.variance), strict=True)
        )  # fmt: skip
        return self

    def _is_far_from_0(self, mean: Tensor, variance: Tensor) -> bool:
        """Whether a feature varies so little beside its size, or so little or much, that its values need float64."""
        deviation = (-_log_scale_to_one(mean, variance)).exp()
        smallest, largest = torch.finfo(torch.float32).tiny * 1e8, torch.finfo(torch.float32).max / 1e8
        far = (mean.abs() > self.OFFSET * deviation) | (deviation < smallest) | (deviation > largest)
        far &= variance > 0
        return not mean.is_meta and bool(far.any())

    def _log_scale_and_mean(self) -> tuple[Tensor, Tensor]:
        mean, variance = self.statistics()
        return _log_scale_to_one(mean, variance), mean

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(x)
        log_scale, mean = self._log_scale_and_mean()
        z = (x.double() - spread(mean, x)) * spread(log_scale.exp(), x)
        return z.to(self._like), of_pixels(log_scale.sum(), x).to(self._like)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(z)
        log_scale, mean = self._log_scale_and_mean()
        x = z.double() * spread((-log_scale).exp(), z) + spread(mean, z)
        return x.to(self._wider or self._like.dtype), of_pixels(-log_scale.sum(), z).to(self._like)


class BatchNorm(_EachFeature, _Kept):
    """Batch normalisation between the blocks of a flow.

    z = exp(g) (x - mean) / sqrt(variance + 1e-5) + b,  log_det = sum(g - 1/2 log(variance + 1e-5))

    In training mode mean and (biased) variance are the batch's, N >= 2; otherwise those of the whole training set, set
    by `calibrate` and not a running average, so that training and evaluation agree. Where rows have weights the
    statistics of the training set are weighted; those of a batch are not: its rows count the same.

    Args:
        features: D, or the number of channels of images.

    Raises:
        ValueError: where `features` is below 1; in training mode for a batch of one row and for the inverse; in
            evaluation before there are statistics.

    References:
        Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2017 (arXiv 1605.08803).
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).

    Examples:
        >>> import torch
        >>> BatchNorm(1).train()(torch.tensor([[-1.0], [1.0]]))[0].detach()
        tensor([[-1.0000],
                [ 1.0000]])
    """

    EPSILON = 1e-5
    uses_batch = True

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.log_gain = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(features))

    @property
    def tensors(self) -> list[Tensor]:
        return [self.log_gain, self.bias]

    def written(self, x: Tensor, context: Tensor | None) -> Written:
        self.require_input(x)
        if not self.training:
            return BatchNormalised(self.EPSILON, self.statistics())
        if x.shape[0] < 2:
            raise ValueError("BatchNorm needs at least 2 rows in training mode; got 1: use a larger batch or eval()")
        return BatchNormalised(self.EPSILON)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        mean, variance = self.statistics()
        log_scale = self.log_gain - 0.5 * torch.log(variance + self.EPSILON)
        return log_scale, self.bias - mean * log_scale.exp()


class ActNorm(_EachFeature, InitialisedOnce):
    """Activation normalisation: a scale and a shift for each feature, initialised so that z has mean 0 and variance 1.

    z = exp(s) x + t,  log_det = sum s, a channel's s once for each of its pixels

    It is the identity until `calibrate`, or `fit` before its first step, initialises it from the data; s and t are then
    trained like other weights. Where no data reach its forward direction, as in noise models, training starts from the
    identity. It is initialised once: the weights say that it has been, so a model that is loaded, or trained further,
    resumes with what it has learned.

    Args:
        features: D, or the number of channels of images.

    Raises:
        ValueError: where `features` is below 1.

    References:
        Kingma and Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, 2018 (arXiv 1807.03039).

    Examples:
        >>> import torch
        >>> norm = ActNorm(1)
        >>> norm.set_statistics(torch.tensor([3.0]), torch.tensor([4.0]))
        >>> norm(torch.tensor([[5.0]]))[0].item(), norm.needs_statistics
        (1.0, False)
    """

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.log_scale = nn.Parameter(torch.zeros(features))
        self.shift = nn.Parameter(torch.zeros(features))

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, variance: Tensor) -> None:
        mean, variance = self.require_statistics(mean, variance)
        log_scale = _log_scale_to_one(mean.to(self.log_scale), variance.to(self.log_scale))
        self.log_scale.copy_(log_scale)
        self.shift.copy_(-mean.to(log_scale) * log_scale.exp())
        self.mark_initialised()

    @property
    def tensors(self) -> list[Tensor]:
        return [self.log_scale, self.shift]

    def written(self, x: Tensor, context: Tensor | None) -> Written:
        self.require_input(x)
        return ScaledAndShifted()

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        return self.log_scale, self.shift


def _log_scale_to_one(mean: Tensor, variance: Tensor) -> Tensor:
    """The log-scale that brings the variance to 1; 0 where that is no more than rounding of a constant."""
    rounding = (16 * torch.finfo(mean.dtype).eps * mean).square()
    return -0.5 * torch.log(torch.where(variance > rounding, variance, 1.0))
