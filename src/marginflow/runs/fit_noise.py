"""q(eps | x) fitted after the fact to a density p(x, eps), which stays as it is."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any

from torch import Tensor, nn

from marginflow.base.adapter import require_distribution
from marginflow.base.config import as_config
from marginflow.base.distribution import Distribution
from marginflow.base.seeds import seeded
from marginflow.base.settings import as_choice
from marginflow.data import DataSet, Rows, Split
from marginflow.distributions import Conditional, Flow, LabelMixture, Marginalising
from marginflow.models import NOISES
from marginflow.training import TrainConfig, fit
from marginflow.transforms import Augment, Sequential, Transform

SETTINGS: dict[str, Any] = {"epochs": 20, "lr": 1e-3, "schedule": "cosine", "ema": 0.99, "returns": 0}
LEARNED = [name for name in NOISES if name != "standard_normal"]


def fit_noise(
    model: Distribution,
    data: DataSet | Split | Any | Rows,
    *,
    noise: str = "diagonal_normal",
    options: Mapping[str, Any] | None = None,
    config: TrainConfig | None = None,
    progress: bool = False,
) -> Distribution:
    """Fit q(eps | x) to a trained density p(x, eps), whose weights stay as they are.

    maximise over q  E log p(x, eps) - log q(eps | x),  eps ~ q(eps | x)

    log p(x) is that of before: only the bound and importance weights, which q draws, come closer to it.

    Args:
        model: that draws noise, in a `Marginalising` or an `Augment` between blocks.
        data: to train on, as `fit` takes it.
        noise: the name of q in `models.NOISES`, such as "diagonal_normal", "realnvp" or "iaf".
        options: of the function of that name, such as {"hidden": [256, 256]}.
        config: of the training of q; by default 20 epochs at 1e-3, falling to 0.
        progress: whether to show it.

    Returns:
        A new model of the same p, in evaluation mode; the one that was given is left as it is.

    Raises:
        ValueError: where the model draws no noise that can be fitted, or noise or options fit no q.
        FloatingPointError: where the training diverges.

    References:
        Cremer, Li and Duvenaud, Inference Suboptimality in Variational Autoencoders, 2018 (arXiv 1801.03558): how far
            a better q closes the gap.

    Examples:
        >>> import torch
        >>> from marginflow import models
        >>> from marginflow.distributions import StandardNormal
        >>> model = Marginalising(models.planar(3), StandardNormal(1))
        >>> fitted = fit_noise(model, torch.randn(200, 2), config=TrainConfig(epochs=2))
        >>> type(fitted.augment.noise).__name__
        'DiagonalNormal'
    """
    require_distribution(model)
    name = as_choice(noise, LEARNED, "noise")
    settings = as_config(TrainConfig(**SETTINGS) if config is None else config, TrainConfig)
    if model.density.exact:
        raise ValueError("the density is exact, it draws no noise: there is no q(eps | x) to fit")
    learned: list[Distribution] = []

    def of_site(augment: Augment) -> Distribution:
        if augment.features is None:
            raise ValueError("how wide x is before the noise is not known: build Augment(noise, features=...)")
        shape = augment.noise.event_shape
        try:
            found = NOISES[name](shape, context_features=augment.features, **(options or {}))
        except TypeError as error:
            raise ValueError(f"options {dict(options or {})} do not fit {name!r}: {error}") from error
        learned.append(found)
        return found

    with seeded(settings.seed):
        found = with_noise(copy.deepcopy(model), of_site)
    if not learned:
        raise ValueError("the model draws noise of dequantisation alone, or none that can be replaced: nothing to fit")
    if (like := next(model.parameters(), None)) is not None:
        found.to(like)
    with only(found, learned):  # and so log p(x) is that of before
        fit(found, data, settings, progress=progress)
    return found.eval()


def with_noise(part: Any, of_site: Callable[[Augment], Distribution]) -> Any:
    """A model built anew around its parts, with another q at each site of noise dimensions."""
    if isinstance(part, Marginalising):
        return Marginalising(with_noise(part.flow, of_site), of_site(part.augment))
    if isinstance(part, Augment):
        return Augment(of_site(part), part.features)
    if isinstance(part, Flow):
        inner: Transform = part.transform
        transforms = list(inner) if isinstance(inner, Sequential) else [inner]
        return Flow([with_noise(each, of_site) for each in transforms], with_noise(part.base, of_site))
    if isinstance(part, LabelMixture):
        return LabelMixture(with_noise(part.flow, of_site), part.num_classes, part.prior.tolist())
    if isinstance(part, Conditional):
        return Conditional(with_noise(part.flow, of_site), part.network, part.context_features)
    return part


def _stays(model: nn.Module, mode: bool = True) -> nn.Module:
    """In the place of `train`: the model stays in evaluation mode. A copy of the model has one of its own."""
    return model


@contextmanager
def only(model: nn.Module, trained: Sequence[nn.Module]) -> Iterator[str]:
    """Inside, a training changes these parts of a model alone: all others take no gradients and stay in evaluation.

    Yields:
        A checksum of the others' weights.

    Raises:
        RuntimeError: where the others have changed all the same.
    """
    own = {id(each) for part in trained for each in part.parameters()}
    others = [each for each in model.parameters() if id(each) not in own and each.requires_grad]
    for each in others:
        each.requires_grad_(False)
    model.eval()
    vars(model)["train"] = MethodType(_stays, model)  # batch norm would take statistics, dropout would draw
    before = _digest(without(model, trained))
    try:
        yield before
    finally:
        del vars(model)["train"]
        for each in others:
            each.requires_grad_(True)
    if _digest(without(model, trained)) != before:
        raise RuntimeError("p has changed while q was fitted: throw q away")


def without(model: nn.Module, parts: Sequence[nn.Module]) -> dict[str, Tensor]:
    """The weights of a model but for those of some parts."""
    left_out = tuple(f"{name}." for name, each in model.named_modules() if any(each is part for part in parts))
    return {key: each for key, each in model.state_dict().items() if not key.startswith(left_out)}


def _digest(state: Mapping[str, Tensor]) -> str:
    """A checksum of weights."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode())
        found.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
