"""Samples that can be used: those that are flagged are drawn again, and counted; in the units of the raw data."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from torch import Tensor

from marginflow.base.adapter import require_distribution
from marginflow.base.arguments import Values, as_tensor, as_whole
from marginflow.base.devices import evaluation_mode, like_model, like_of, rows_at_once
from marginflow.base.distribution import Distribution
from marginflow.base.labels import as_one_hot
from marginflow.base.names import listed
from marginflow.base.not_finite import not_finite
from marginflow.base.seeds import RandomStream, require_seed
from marginflow.data import DataSpec, Schema
from marginflow.data.dataset import require_finite, require_spec
from marginflow.data.tables.contexts import together
from marginflow.distributions import Flow
from marginflow.distributions.temperature import at_temperature

REDRAWS = 10  # of a sample, until it stays flagged
MOST_NUMBERS = 2**19  # drawn together


@dataclass(frozen=True)
class Samples:
    """Samples, all of them finite, and what it took to draw them.

    Attributes:
        x: (num_samples, *event).
        redrawn: how many draws were flagged, and drawn again.
        flagged: how many of x are flagged still: finite, but their round trip misses the noise by more than 1e-3, so
            that they do not quite follow the density.
    """

    x: Tensor
    redrawn: int
    flagged: int


def sample(
    model: Distribution, num_samples: SupportsIndex, context: Values | None = None, *, redraws: int = REDRAWS
) -> Samples:
    """Samples of a model, with those drawn again that float32 cannot invert or that are not finite.

    x = f^-1(z), flagged where x is not finite or |f(x) - z| > 1e-3 max(1, |z|) in any dimension

    The round trip is that of the density: the preprocessing in front of it, which may end in grey levels, takes no
    part in it. Where many samples are flagged, what is left is the density cut off there, and no longer all of it.

    Draws come from torch's global generator, in chunks of some thousands; where nothing is flagged the first are those
    of `model.sample`. A RuntimeWarning says where some are still flagged at last.

    Args:
        model: a distribution, taken in evaluation mode.
        num_samples: how many.
        context: (num_samples, ...), or one row for all, where the model takes one; a sample that is drawn again keeps
            its own.
        redraws: how often each may be drawn again.

    Returns:
        `Samples`: x, and how many were drawn again or are still flagged.

    Raises:
        ValueError: where num_samples or redraws is negative, or the context does not fit.
        FloatingPointError: where a sample is still not finite at last.

    Examples:
        >>> from marginflow import models
        >>> samples = sample(models.maf(2, hidden=[16], blocks=2), 5)
        >>> samples.x.shape, samples.redrawn, samples.flagged
        (torch.Size([5, 2]), 0, 0)
    """
    require_distribution(model)
    num_samples, rows = model._fitting_request(num_samples, context)
    if rows is not None:
        require_finite(rows, "context", blanks=model.encodes_context)
    redraws = as_whole(redraws, "redraws")
    at_once = samples_at_once(model)
    parts = [
        sample_chunk(
            model, min(at_once, num_samples - start), None if rows is None else rows[start : start + at_once], redraws
        )
        for start in range(0, max(num_samples, 1), at_once)
    ]
    samples = Samples(
        torch.cat([each.x for each in parts]), sum(each.redrawn for each in parts), sum(each.flagged for each in parts)
    )
    if samples.flagged:
        warnings.warn(
            f"{samples.flagged} of {num_samples} samples miss their noise by more than 1e-3 in the round trip",
            RuntimeWarning, stacklevel=2,
        )  # fmt: skip
    return samples


def samples_at_once(model: Distribution) -> int:
    """How many samples are drawn together: fewer of many features, whose splines and mixtures take memory for each."""
    features = 1 if model.event_shape is None else max(1, model.event_shape.numel())
    return max(1, min(rows_at_once(model), MOST_NUMBERS // features))


@torch.no_grad()
def sample_chunk(model: Distribution, num_samples: int, context: Tensor | None, redraws: int = REDRAWS) -> Samples:
    """`sample`, all of them at once, without a warning."""
    with evaluation_mode(model):
        x, flagged, broken = _sample_once(model, num_samples, context)
        redrawn = 0
        for _ in range(redraws):
            indices = flagged.nonzero().flatten()
            if len(indices) == 0:
                break
            redrawn += len(indices)
            their_context = None if context is None else context[indices]
            x[indices], flagged[indices], broken[indices] = _sample_once(model, len(indices), their_context)
    num_broken = int(broken.sum())
    if num_broken:
        raise FloatingPointError(
            f"{num_broken} of {num_samples} samples are not finite, each drawn {redraws + 1} times: the model has "
            "diverged, train it with a lower lr, or bound its scales"
        )
    return Samples(x, redrawn, int(flagged.sum()))


def _sample_once(model: Distribution, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Samples brought to what the rows are; which are flagged, and which of these are not finite."""
    rows, flagged = model.density._sample_and_flag(num_samples, context)
    broken = not_finite(rows, blanks=model.density.takes_blanks)
    is_finite = ~broken.view(-1, *[1] * (rows.ndim - 1))
    rows = torch.where(is_finite, rows, torch.zeros_like(rows))  # not a number would become a black picture
    x, _ = model.preprocessing.inverse(rows, context)
    broken = broken | not_finite(x, blanks=model.takes_blanks)
    return x, flagged | broken, broken


class RawSamples:
    """Samples of a model in the units of the raw data, drawn while they are iterated.

    They come in chunks of real rows (N, D), or of grey levels (N, C, H, W) as uint8. `redrawn` and `flagged` are as in
    `marginflow.sample`, of the chunks so far.

    Args:
        model: a flow.
        spec: of the rows that it was trained on.
        num_samples: how many.
        seed: of all draws.
        label: the class to draw from, by name or number; without it all of them, of a table by their share of the
            training rows, of images equally often.
        temperature: see `at_temperature`.
        context: (N, C), which samples get in turn, for a model with a context that is no label.

    Raises:
        ValueError: where there is no such label, or the model needs a context that is not given.
        FloatingPointError: where a sample is not finite, however often it is drawn again.
    """

    def __init__(
        self,
        model: Flow,
        spec: DataSpec,
        num_samples: int,
        seed: int,
        *,
        label: str | int | None = None,
        temperature: float = 1.0,
        context: Tensor | None = None,
    ) -> None:
        require_distribution(model)
        require_spec(spec)
        self.num_samples = as_whole(num_samples, "the number of samples", least=1)
        self.spec, self.seed = spec, require_seed(seed)
        self.context = _context(model, spec, label) if context is None else _contexts(model, context)
        self.model = model if temperature == 1 else at_temperature(model, temperature)
        self.redrawn = self.flagged = 0

    def __iter__(self) -> Iterator[Tensor]:
        self.redrawn = self.flagged = 0
        at_once = samples_at_once(self.model)
        stream = RandomStream(self.seed)
        for done in range(0, self.num_samples, at_once):
            size = min(at_once, self.num_samples - done)
            with stream.on():
                chunk = sample_chunk(self.model, size, self.context_of(done, size))
            self.redrawn += chunk.redrawn
            self.flagged += chunk.flagged
            yield self._as_pixels(chunk.x)

    def context_of(self, first: int, size: int) -> Tensor | None:
        """The context of some samples, by the number of the first; None without one."""
        if self.context is None:
            return None
        return self.context[torch.arange(first, first + size, device=self.context.device) % len(self.context)]

    def _as_pixels(self, x: Tensor) -> Tensor:
        """Grey levels, where the data are images."""
        if self.spec.levels is None or not x.is_floating_point():
            return x
        return (x * self.spec.levels).floor().clamp(0, self.spec.levels - 1).to(torch.uint8)

    def __str__(self) -> str:
        """How many were flagged, in a line; empty where none was."""
        if not self.redrawn:
            return ""
        return (
            f"warning: {self.redrawn:,} samples were not finite, or not inverted to 1e-3, and were drawn again for the "
            f"{self.num_samples:,} samples; {self.flagged:,} of these still are so"
        )


def with_contexts(draws: RawSamples, schema: Schema) -> Iterator[Tensor]:
    """Samples as they are drawn, each with its context, the columns in the order of the table of their schema."""
    done = 0
    for x in draws:
        context = draws.context_of(done, len(x))
        assert context is not None
        yield together(x, context.to(x), schema)
        done += len(x)


def sample_raw(
    model: Flow,
    spec: DataSpec,
    num_samples: int,
    seed: int,
    *,
    label: str | int | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """All of `RawSamples` at once: real rows (N, D), or grey levels (N, C, H, W) as uint8."""
    return torch.cat(list(RawSamples(model, spec, num_samples, seed, label=label, temperature=temperature)))


def _context(model: Flow, spec: DataSpec, label: str | int | None) -> Tensor | None:
    """The one-hot vector of a label, (1, C); None where none is asked for or needed."""
    if label is None:
        if model.context_features and not model.context_optional:
            given = () if spec.schema is None else [column.name for column in spec.schema.given]
            which = f"{listed(given)} as a context" if given else f"a context of {model.context_features} features"
            by_hand = "use marginflow.load(run).sample(n, context) from Python"
            remedy = "give rows that hold it, --context-from FILE" if given else by_hand
            raise ValueError(f"this model needs {which} for each sample: {remedy}")
        return None
    if not spec.labels or not model.context_features:
        raise ValueError("this model was trained without labels: leave --label out, or train with data.labels")
    return like_model(model, as_tensor(as_one_hot(label, spec.labels, 1), "label"))


def _contexts(model: Flow, context: Tensor) -> Tensor:
    """Contexts that a model takes, on its device."""
    if not model.context_features:
        raise ValueError("this model was trained without a context: leave --context-from out")
    given = model._fitting_context(context, len(context), like_of(model))
    assert given is not None
    return given
