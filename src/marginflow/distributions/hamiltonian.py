"""Hamiltonian Monte Carlo over the noise of a density at given rows, between q(eps | x) and p(x, eps)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.distributions import biject_to
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import Transform as Bijection

from marginflow.base.devices import with_gradients
from marginflow.base.distribution import Distribution
from marginflow.base.noise_sites import NoiseSite, at_noise, draw_noise
from marginflow.base.shapes import sum_event
from marginflow.base.support import REAL, of_each_number

LEAPS = 5  # leapfrog steps of a move


class NoiseSpace:
    """The noise of all sites of a density at some rows, as one vector v (N, M) on the whole line.

    Noise on an interval comes through a logit, whose Jacobian is part of both densities, so that weights stay as they
    are.

    Args:
        model: a density that draws noise, in evaluation mode.
        x: rows (N, *event) that fit it.
        context: of these rows; None where there is none.
        numbers: of the rows, which are these again and again; messages name them.

    Raises:
        ValueError: where some noise is discrete.
    """

    def __init__(
        self, model: Distribution, x: Tensor, context: Tensor | None, *, numbers: Sequence[int] | None = None
    ) -> None:
        self.model, self.numbers = model, range(len(x)) if numbers is None else numbers
        self.x, self.context = _plain(x), None if context is None else _plain(context)

    def draw(self) -> Tensor:
        """v of eps ~ q(eps | x), (N, M)."""
        return self.from_noise(draw_noise(self.model._noise(self.x, self.context)))

    def from_noise(self, eps: Sequence[Tensor]) -> Tensor:
        """v of the noise of each site."""
        left = list(eps)
        parts: list[Tensor] = []

        def choose(site: NoiseSite) -> tuple[Tensor, Tensor]:
            noise = left.pop(0)
            bijection = _bijection(site.support)
            parts.append((noise if bijection is None else cast(Tensor, bijection.inv(noise))).flatten(1))
            return noise, noise.new_zeros(len(noise))

        at_noise(self.model._noise(self.x, self.context), choose)
        return torch.cat(parts, 1)

    def log_densities(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x, eps) and log q(eps | x), (N,) each, both as densities of v."""
        first, log_volume = 0, v.new_zeros(len(v))

        def choose(site: NoiseSite) -> tuple[Tensor, Tensor]:
            nonlocal first, log_volume
            part = v[:, first : first + math.prod(site.shape[1:])].view(site.shape)
            first += part[0].numel()
            bijection = _bijection(site.support)
            if bijection is None:
                return part, site.log_prob(part)
            eps = cast(Tensor, bijection(part))
            log_volume = log_volume + sum_event(bijection.log_abs_det_jacobian(part, eps))
            return eps, site.log_prob(eps)

        log_p, log_q = at_noise(self.model._noise(self.x, self.context), choose)
        return log_p + log_volume, log_q + log_volume


def _plain(x: Tensor) -> Tensor:
    """A tensor that gradients may pass, also one that was made in torch.inference_mode."""
    if not x.is_inference():
        return x
    with torch.inference_mode(False):
        return x.clone()


def _bijection(support: Constraint) -> Bijection | None:
    """From the whole line to a support; None where that is the whole line. ValueError where noise is discrete."""
    each = of_each_number(support)
    if each is REAL:
        return None
    if each.is_discrete:
        raise ValueError(f"the noise is discrete, {each}, and has no gradient: take method='importance'")
    return biject_to(each)


class Position(NamedTuple):
    """Chains, one a row, and what is known where they stand.

    v: (N, M). log_p, log_q: of it, (N,), without gradients. slope_p, slope_q: their gradients, (N, M).
    """

    v: Tensor
    log_p: Tensor
    log_q: Tensor
    slope_p: Tensor
    slope_q: Tensor

    def log_between(self, beta: float) -> Tensor:
        """log of q^(1 - beta) p^beta, but for a constant, (N,)."""
        return (1 - beta) * self.log_q.double() + beta * self.log_p.double()

    def slope(self, beta: float) -> Tensor:
        """Its gradient, (N, M)."""
        return torch.lerp(self.slope_q, self.slope_p, beta)


def start_at(space: NoiseSpace, v: Tensor) -> Position:
    """Chains that start at v.

    Raises:
        ValueError: where log p(x, eps) has no gradient.
        FloatingPointError: where it, or its gradient, is not finite at a row, with its number; log p may be -inf.
    """
    start = position_at(space, v)
    outside = start.log_p.isneginf()
    finite = start.log_p.isfinite() & start.slope_p.isfinite().all(1) & start.slope_q.isfinite().all(1)
    broken = (~finite & ~outside).nonzero().flatten()
    if len(broken):
        chain = int(broken[0])
        what = "gradient of log p(x, eps)" if bool(start.log_p[chain].isfinite()) else "log p(x, eps)"
        raise FloatingPointError(
            f"the {what} is not finite at row {space.numbers[chain % len(space.numbers)]} (counted from 0), and so at "
            f"{len(broken)} of {len(v)} chains: the model has diverged, or the row is far out; leave such rows out"
        )
    return start


def position_at(space: NoiseSpace, v: Tensor) -> Position:
    """Chains that stand at v.

    Raises:
        ValueError: where log p(x, eps) has no gradient there.
    """
    with with_gradients(space.model):
        v = _plain(v.detach()).requires_grad_()
        log_p, log_q = space.log_densities(v)
        if not log_p.requires_grad:
            raise ValueError(
                "log p(x, eps) has no gradient in eps, along which chains move: take method='importance', or a density "
                "whose log_prob records gradients"
            )
        (slope_p,) = torch.autograd.grad(log_p.sum(), v, retain_graph=log_q.requires_grad)
        slope_q = torch.autograd.grad(log_q.sum(), v)[0] if log_q.requires_grad else torch.zeros_like(v)
    return Position(v.detach(), log_p.detach(), log_q.detach(), slope_p, slope_q)


def seconds_a_move(space: NoiseSpace) -> float:
    """About how long one chain takes for a move, timed where all of them stand at once."""
    v = space.draw()
    position_at(space, v)  # the first is slower
    started = time.perf_counter()
    position_at(space, v)
    return LEAPS * (time.perf_counter() - started) / len(v)


@dataclass(frozen=True)
class Move:
    """A Hamiltonian move that leaves q^(1 - beta) p^beta as it is; its step does not depend on the chain it moves.

    Attributes:
        beta: 0 is q(eps | x), 1 is p(eps | x).
        step: of the leapfrog, in units of `scale`.
        scale: of each dimension, (M,).

    References:
        Neal, MCMC Using Hamiltonian Dynamics, 2011 (arXiv 1206.1901).
    """

    beta: float
    step: float
    scale: Tensor

    def __call__(self, space: NoiseSpace, start: Position) -> tuple[Position, Tensor]:
        """The chains after the move, and whether each has accepted it, (N,)."""
        momentum = torch.randn_like(start.v)
        before = start.log_between(self.beta) - 0.5 * momentum.double().square().sum(1)
        step, here = self.step * self.scale, start
        momentum = momentum + 0.5 * step * here.slope(self.beta)
        for leap in range(LEAPS):
            here = position_at(space, here.v + step * momentum)
            momentum = momentum + (0.5 if leap == LEAPS - 1 else 1.0) * step * here.slope(self.beta)
        after = here.log_between(self.beta) - 0.5 * momentum.double().square().sum(1)
        accepted = torch.rand_like(before).log() < after - before  # never where `after` is not a number
        mask = accepted[:, None]
        moved = (torch.where(mask if a.ndim > 1 else accepted, a, b) for a, b in zip(here, start, strict=True))
        return Position(*moved), accepted


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Inside, the weights of a model take no gradients, which are wanted of its noise alone."""
    weights = [each for each in model.parameters() if each.requires_grad]
    for each in weights:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each in weights:
            each.requires_grad_(True)
