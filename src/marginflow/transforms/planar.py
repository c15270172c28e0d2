"""The planar flow, constrained so that it can always be inverted, and inverted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from marginflow.base.arguments import as_whole, require_context
from marginflow.base.settings import as_choice
from marginflow.nets.autograd import Written
from marginflow.transforms.chain import WrittenOut, in_one_node
from marginflow.transforms.roots import solve_increasing

BOUND = 1 - 1e-3  # w.u_hat >= -BOUND


class Activation(NamedTuple):
    """A bounded increasing function h and its derivatives."""

    function: Callable[[Tensor], Tensor]
    """h(a)."""

    slope: Callable[[Tensor, Tensor], Tensor]
    """h'(a), which lies in [0, 1], given a and h(a)."""

    curvature: Callable[[Tensor, Tensor, Tensor], Tensor]
    """h''(a), given a, h(a) and h'(a)."""


ACTIVATIONS = {
    "tanh": Activation(torch.tanh, lambda a, h: 1 - h.square(), lambda a, h, slope: -2 * h * slope),
    "sigmoid": Activation(torch.sigmoid, lambda a, h: h * (1 - h), lambda a, h, slope: (1 - 2 * h) * slope),
    "arctan": Activation(torch.atan, lambda a, h: 1 / (1 + a.square()), lambda a, h, slope: -2 * a * slope.square()),
    "softsign": Activation(
        functional.softsign, lambda a, h: (1 - h.abs()).square(), lambda a, h, slope: 2 * slope * (h - h.sign())
    ),
}


def _direction(u: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """u_hat, w.u_hat without the rounding of a dot product, and what u_hat is made of: |w|^2 and (u_hat - u) / w."""
    w_u = _dot(w, u)
    # celu; by that name torch would compute its gradient with a bound of float32, 1e-8 off
    constrained = torch.ops.aten.elu(w_u, BOUND, 1, 1 / BOUND)
    length = _dot(w, w).clamp_min(torch.finfo(w.dtype).tiny)
    amount = (constrained - w_u) / length
    u_hat = torch.addcmul(u, w, amount if w.ndim == 1 else amount[:, None])
    return u_hat, constrained, length, amount


def _dot(w: Tensor, u: Tensor) -> Tensor:
    """w.u of two vectors (D,), or of each row (N, D)."""
    return torch.dot(w, u) if w.ndim == 1 else (w * u).sum(1)


def _project(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """w.x + b of each row: (N,)."""
    if w.ndim == 1 and x.shape[0]:  # of no row torch would make a number
        return torch.addmv(b, x, w)
    return (x * w).sum(1) + b


def _push(x: Tensor, bend: Tensor, u: Tensor) -> Tensor:
    """x + u bend, row by row."""
    return torch.addr(x, bend, u) if u.ndim == 1 else torch.addcmul(x, bend[:, None], u)


def _bent(
    activation: Activation, x: Tensor, u: Tensor, w: Tensor, b: Tensor, kept: list[Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """z and log_det of rows x; what their gradients need is added to `kept`."""
    u_hat, w_u_hat, length, amount = _direction(u, w)
    a = _project(x, w, b)
    h = activation.function(a)
    slope = activation.slope(a, h)
    stretch = w_u_hat * slope
    if kept is not None:
        kept += [x, a, h, slope, stretch, u_hat, w_u_hat, length, amount]
    return _push(x, h, u_hat), torch.log1p(stretch)


class Planar(WrittenOut):
    """The planar flow, which bends space along one direction, constrained so that it can always be inverted.

    z = x + u_hat h(w.x + b),  log_det = log(1 + (w.u_hat) h'(w.x + b))

    u_hat = u + (m(w.u) - w.u) w / |w|^2 with m(a) = a for a >= 0, else r (exp(a / r) - 1), r = 1 - 1e-3, so that
    w.u_hat = m(w.u) >= -1 + 1e-3: the map is invertible whatever u, w, b are.

    The inverse solves the increasing scalar equation a + (w.u_hat) h(a + b) = w.z for a = w.x, then
    x = z - u_hat h(a + b); gradients pass through it by the implicit function theorem.

    Args:
        features: D; x and z are (N, D).
        activation: h, one of "tanh", "sigmoid", "arctan", "softsign" (bounded, 0 <= h' <= 1).
        context_features: C; with a context, a linear map of it is added to u, w and b, row by row.

    Raises:
        ValueError: where `features` is below 1, the activation is another, or rows or context are of another width.

    References:
        Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015 (arXiv 1505.05770).

    Examples:
        >>> import torch
        >>> planar, x = Planar(2), torch.randn(5, 2)
        >>> z, log_det = planar(x)
        >>> torch.allclose(planar.inverse(z)[0], x, atol=1e-5)
        True
    """

    of_vectors = True

    def __init__(self, features: int, activation: str = "tanh", *, context_features: int = 0) -> None:
        super().__init__()
        self.features = features = as_whole(features, "features", least=1)
        self.activation = as_choice(activation, ACTIVATIONS, "activation")
        context_features = as_whole(context_features, "context_features")
        bound = 1 / math.sqrt(features)
        self.u = nn.Parameter(torch.empty(features).uniform_(-bound, bound))
        self.w = nn.Parameter(torch.empty(features).uniform_(-bound, bound))
        self.b = nn.Parameter(torch.zeros(()))
        self.conditioner = nn.Linear(context_features, 2 * features + 1) if context_features else None
        self.num_weights, self.num_units = 2 * features + 1, features + 4

    @property
    def context_features(self) -> int:
        return 0 if self.conditioner is None else self.conditioner.in_features

    def _parameters_of(self, context: Tensor | None, num_rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """u, w and b, for all rows alike or, with a context, a row of each for each row."""
        if self.conditioner is None:
            return self.u, self.w, self.b
        require_context(context, self.context_features, num_rows)
        added = self.conditioner(cast(Tensor, context).to(self.w))
        u, w, b = added.split([len(self.u), len(self.w), 1], 1)
        return self.u + u, self.w + w, self.b + b[:, 0]

    @property
    def is_written(self) -> bool:
        return self.conditioner is None

    @property
    def tensors(self) -> list[Tensor]:
        return [self.u, self.w, self.b]

    def written(self, x: Tensor, context: Tensor | None) -> Written:
        self.require_input(x)
        return _Alike(ACTIVATIONS[self.activation])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.is_written:
            return in_one_node([self], x, context)
        self.require_input(x)
        return _bent(ACTIVATIONS[self.activation], x, *self._parameters_of(context, x.shape[0]))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(z)
        h, slope, _ = ACTIVATIONS[self.activation]
        u, w, b = self._parameters_of(context, z.shape[0])
        u_hat, w_u_hat, *_ = _direction(u, w)
        target = _project(z, w, b)  # solved for a + b, so that b stays out of the loop

        def line(a: Tensor) -> tuple[Tensor, Tensor]:
            bend = h(a)
            return a + w_u_hat * bend, 1 + w_u_hat * slope(a, bend)

        with torch.no_grad():  # the slope of `line` is at least `least`, which bounds how far the root can be
            least = 1 + w_u_hat.clamp_max(0)
            reach = (w_u_hat * h(target)).abs() / least
            reach = reach * (1 + 1e-6) + 1e-6
        a = solve_increasing(line, target, target - reach, target + reach)
        bend = h(a)
        return _push(z, -bend, u_hat), -torch.log1p(w_u_hat * slope(a, bend))

    def extra_repr(self) -> str:
        return f"{self.features}, activation={self.activation!r}"


class _Alike(Written):
    """One u, w and b for all rows: (x, context, u, w, b) -> z, log_det."""

    def __init__(self, activation: Activation) -> None:
        self.activation = activation

    def plain(self, x: Tensor, context: Tensor | None, u: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return _bent(self.activation, x, u, w, b)

    def quick(
        self, kept: list[Tensor] | None, x: Tensor, context: Tensor | None, u: Tensor, w: Tensor, b: Tensor
    ) -> tuple[Tensor, Tensor]:
        return _bent(self.activation, x, u, w, b, kept)

    def gradients(
        self, kept: Sequence[Tensor], inputs: Sequence[Any], needed: Sequence[bool], *grads: Tensor
    ) -> list[Tensor | None]:
        (x, a, h, slope, stretch, u_hat, w_u_hat, length, amount), (_, _, u, w, _) = kept, inputs
        grad_z, grad_log = grads
        of_x, _, *of_parameters = needed
        of_stretch = grad_log / (1 + stretch)
        of_a = torch.addcmul(
            torch.mv(grad_z, u_hat) * slope, of_stretch * w_u_hat, self.activation.curvature(a, h, slope)
        )
        by_x = torch.addr(grad_z, of_a, w) if of_x else None
        if not any(of_parameters):
            return [by_x, None, None, None, None]
        of_u_hat = torch.mv(grad_z.t(), h)  # u_hat = u + w amount, amount = (m(w.u) - w.u) / |w|^2
        of_ratio = torch.dot(of_u_hat, w) / length
        of_bounded = torch.dot(of_stretch, slope) + of_ratio
        of_w_u = torch.ops.aten.elu_backward(of_bounded, BOUND, 1, 1 / BOUND, True, w_u_hat) - of_ratio
        by_w = torch.addmv(of_u_hat * amount, x.t(), of_a)
        by_w = by_w.addcmul_(u, of_w_u).addcmul_(w, of_ratio * amount, value=-2)
        return [by_x, None, torch.addcmul(of_u_hat, w, of_w_u), by_w, of_a.sum()]
