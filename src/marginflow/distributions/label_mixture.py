"""A mixture over class labels: the density of rows whose label is not known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from marginflow.base.arguments import Values, as_tensor, as_whole
from marginflow.base.constants import HoldsConstants
from marginflow.base.distribution import Density, Distribution
from marginflow.base.noise_sites import Sites, draw_noise, weighed
from marginflow.base.wrapper import Wrapper


class LabelMixture(HoldsConstants, Wrapper):
    """The mixture over class labels of a conditional density.

    p(x) = sum over y of p(y) p(x | y)

    Without a context it is that mixture; with one, one-hot labels (N, C), it is p(x | y) itself. So it is trained with
    labels and evaluated without, and it samples for given labels, or for labels drawn from p(y).

    Args:
        flow: any density whose context is the one-hot label.
        num_classes: number of classes C.
        prior: p(y), C numbers that sum to 1; by default 1/C each, as in the reference, section 4.

    Raises:
        ValueError: where the flow takes a context of another width than C, or the prior is not C shares that sum to 1.

    References:
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).

    Examples:
        >>> import torch
        >>> from marginflow import models
        >>> model = LabelMixture(models.maf(2, hidden=[16], context_features=3), num_classes=3)
        >>> model.log_prob(torch.zeros(5, 2)).shape, model.sample(2, model.one_hot([0, 2])).shape
        (torch.Size([5]), torch.Size([2, 2]))
    """

    def __init__(self, flow: Density, num_classes: int, prior: Sequence[float] | None = None) -> None:
        num_classes = as_whole(num_classes, "num_classes", least=1)
        super().__init__(flow, num_classes)
        width = self.flow.context_features
        if width != num_classes:
            raise ValueError(
                f"the flow must take one-hot labels as its context, {num_classes} features; it takes {width}: "
                "build it with context_features=num_classes"
            )
        shares = as_tensor([1 / num_classes] * num_classes if prior is None else prior, "prior").cpu()
        if shares.shape != (num_classes,) or not bool((shares >= 0).all()) or abs(float(shares.sum()) - 1) > 1e-5:
            raise ValueError(f"the prior must be {num_classes} shares that sum to 1; got {prior}")
        self.num_classes, self._shares = num_classes, shares.to("cpu", torch.get_default_dtype()).tolist()
        self.prior: Tensor  # and it carries dtype and device
        self.register_buffer(
            "prior", shares.to(torch.get_default_device(), torch.get_default_dtype()), persistent=False
        )

    def _constants(self) -> dict[str, Tensor]:
        return {"prior": torch.tensor(self._shares, dtype=torch.float64, device="cpu")}

    @property
    def context_features(self) -> int:
        return self.num_classes

    @property
    def context_optional(self) -> bool:
        return True

    def one_hot(self, labels: Values) -> Tensor:
        """Class labels as a context of one-hot vectors.

        Args:
            labels: (N,), whole numbers from 0 to C - 1.

        Returns:
            The context, (N, C).

        Raises:
            ValueError: where labels are no whole numbers, not one a row, or out of range.
        """
        labels = as_tensor(labels, "labels").to(self.prior.device)
        if labels.ndim != 1 or (labels.is_floating_point() and bool((labels != labels.round()).any())):
            raise ValueError(f"labels must be whole numbers, one a row, (N,); got {labels.tolist()}")
        wrong = labels[(labels < 0) | (labels >= self.num_classes)]
        if len(wrong):
            raise ValueError(f"labels must lie in 0 ... {self.num_classes - 1}; got {int(wrong[0])}")
        return functional.one_hot(labels.long(), self.num_classes).to(self.prior)

    def with_base(self, change: Callable[[Density], Distribution]) -> LabelMixture:
        return LabelMixture(self.flow.with_base(change), self.num_classes, self.prior.tolist()).to(self.prior)

    def _each_label(self, num_rows: int) -> list[Tensor]:
        """A context for each label, the same in all rows."""
        return [label.expand(num_rows, -1) for label in torch.eye(self.num_classes).to(self.prior)]

    def _mean(self, log_probs: list[Tensor]) -> Tensor:
        """log sum over y of p(y) p_y, of the log p_y (N,) of each label."""
        joint = torch.stack(log_probs) + self.prior.log()[:, None]
        outside = joint.isneginf().all(0)  # where logsumexp has no gradient
        return joint.masked_fill(outside, 0.0).logsumexp(0).masked_fill(outside, -math.inf)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        if context is not None:
            return self.flow._log_prob(x, context)
        return self._mean([self.flow._log_prob(x, label) for label in self._each_label(x.shape[0])])

    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[Tensor]:
        """Without a label the noise of all: p(x, eps) = sum over y of p(y) p(x, eps_y | y) times q of the others."""
        if context is not None:
            return (yield from self.flow._noise(x, context))
        weights, log_q = [], torch.zeros(())
        for label in self._each_label(x.shape[0]):
            log_p, of_label = yield from weighed(self.flow._noise(x, label))
            weights.append(log_p - of_label)
            log_q = log_q + of_label
        return self._mean(weights) + log_q

    def _seen(self, context: Tensor | None, num_rows: int) -> Tensor:
        """The labels that are given, or labels drawn from p(y)."""
        if context is not None:
            return context
        labels = (
            torch.multinomial(self.prior, num_rows, replacement=True) if num_rows else self.prior.new_zeros(0).long()
        )
        return functional.one_hot(labels, self.num_classes).to(self.prior)

    def _sample_with_noise(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Without a label the noise of all: that of the label drawn is what x was made of, the others' is from q."""
        seen = self._seen(context, num_samples)
        x, eps = self.flow._sample_with_noise(num_samples, seen)
        if context is not None or not eps:
            return x, eps
        found: list[Tensor] = []
        for number, label in enumerate(self._each_label(num_samples)):
            is_own = seen[:, number] > 0
            others = draw_noise(self.flow._noise(x, label))
            found += [torch.where(is_own.view(-1, *[1] * (o.ndim - 1)), e, o) for e, o in zip(eps, others, strict=True)]
        return x, found

    def _sample_and_log_prob(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_prob = super()._sample_and_log_prob(num_samples, context)
        return x, log_prob if context is not None else self._log_prob(x, None)
