"""A mixture over class labels: the density of rows whose label is not known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from marginflow.base.distribution import Density, Distribution, Wrapper, context_features_of, sample_and_flag, with_base


class LabelMixture(Wrapper):
    """The mean over class labels of a conditional density.

    p(x) = sum over y of p(y) p(x | y)

    Without a context it is that mean; with one, one-hot labels (N, C), it is p(x | y) itself. So it is trained with
    labels, evaluated without, and draws for given labels, or for labels drawn by p(y).

    flow: any density whose context is the one-hot label. num_classes: C.
    prior: p(y), C numbers that sum to 1; 1/C each by default, as in Papamakarios, Pavlakou, Murray, Masked
        Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057), section 4.

    >>> import torch
    >>> from marginflow import models
    >>> model = LabelMixture(models.maf(2, hidden=[16], context_features=3), num_classes=3)
    >>> model.log_prob(torch.zeros(5, 2)).shape, model.sample(2, model.one_hot([0, 2])).shape
    (torch.Size([5]), torch.Size([2, 2]))
    """

    def __init__(self, flow: Density, num_classes: int, prior: Sequence[float] | None = None) -> None:
        super().__init__(flow)
        width = context_features_of(flow, unknown=num_classes)
        if num_classes < 1 or width != num_classes:
            raise ValueError(
                f"the flow must take one-hot labels as its context, {num_classes} features; it takes {width}: "
                "build it with context_features=num_classes"
            )
        shares = torch.full((num_classes,), 1 / num_classes) if prior is None else torch.as_tensor(prior)
        if shares.shape != (num_classes,) or not bool((shares >= 0).all()) or abs(float(shares.sum()) - 1) > 1e-5:
            raise ValueError(f"the prior must be {num_classes} shares that sum to 1; got {prior}")
        self.num_classes = num_classes
        self.prior: Tensor  # and it carries dtype and device
        self.register_buffer("prior", shares.to(torch.get_default_dtype()), persistent=False)

    @property
    def context_features(self) -> int:
        return self.num_classes

    @property
    def context_optional(self) -> bool:
        return True

    def one_hot(self, labels: Tensor | list[int]) -> Tensor:
        """Labels 0 ... C - 1 as a context (N, C); ValueError for others."""
        labels = torch.as_tensor(labels, device=self.prior.device)
        if labels.ndim != 1 or (labels.is_floating_point() and bool((labels != labels.round()).any())):
            raise ValueError(f"labels must be whole numbers, one a row, (N,); got {labels.tolist()}")
        wrong = labels[(labels < 0) | (labels >= self.num_classes)]
        if len(wrong):
            raise ValueError(f"labels must lie in 0 ... {self.num_classes - 1}; got {int(wrong[0])}")
        return functional.one_hot(labels.long(), self.num_classes).to(self.prior)

    def unwrap(self, x: Tensor, context: Tensor | None = None) -> tuple[Density, Tensor, Tensor | None]:
        return self.flow, x, self._some_labels(len(x)) if context is None else context

    def with_base(self, change: Callable[[Density], Distribution]) -> LabelMixture:
        flow = with_base(self.flow, change)
        return LabelMixture(flow, self.num_classes, self.prior.tolist()).to(self.prior)

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if context is not None:
            return self.flow.log_prob(x, context)
        each = [
            self.flow.log_prob(x, label.expand(len(x), -1)) for label in self.one_hot(torch.arange(self.num_classes))
        ]
        return (torch.stack(each) + self.prior.log()[:, None]).logsumexp(0)

    def _some_labels(self, num_samples: int) -> Tensor:
        return self.one_hot(torch.multinomial(self.prior, num_samples, replacement=True) if num_samples else [])

    @torch.no_grad()
    def sample(self, num_samples: int, context: Tensor | None = None) -> Tensor:
        return self.flow.sample(num_samples, self._some_labels(num_samples) if context is None else context)

    @torch.no_grad()
    def sample_and_flag(self, num_samples: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return sample_and_flag(self.flow, num_samples, self._some_labels(num_samples) if context is None else context)

    def sample_and_log_prob(self, num_samples: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        flow = self.own_flow()
        if context is not None:
            return flow.sample_and_log_prob(num_samples, context)
        x, _ = flow.sample_and_log_prob(num_samples, self._some_labels(num_samples))
        return x, self.log_prob(x)
