"""Where a density draws noise: its sites in order, each of which is sent its noise before it gives the next."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from marginflow.base.support import REAL

if TYPE_CHECKING:
    from marginflow.base.distribution import Distribution

T = TypeVar("T")


@dataclass(frozen=True)
class NoiseSite:
    """Noise eps ~ q(eps | x) at some rows.

    Args:
        shape: of eps, (N, *noise).
        draw: returns eps, reparameterised, and its log q(eps | x), (N,).
        log_prob: log q(eps | x), (N,), of given eps.
        support: what eps keeps to, a constraint of torch.distributions.
    """

    shape: torch.Size
    draw: Callable[[], tuple[Tensor, Tensor]]
    log_prob: Callable[[Tensor], Tensor]
    support: Constraint = REAL


def site_of(noise: Distribution, num_rows: int, context: Tensor | None) -> NoiseSite:
    """The site at which a distribution draws noise for some rows, given a context that fits them."""
    return NoiseSite(
        torch.Size([num_rows, *(noise.event_shape or ())]),
        lambda: noise._sample_and_log_prob(num_rows, context),
        lambda eps: noise._log_prob(eps, context),
        noise.support,
    )


Sites = Generator[NoiseSite, Tensor, T]  # gives sites, is sent the noise of each, and returns what comes of it


def at_noise(sites: Sites[Tensor], choose: Callable[[NoiseSite], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """log p(x, eps) and log q(eps | x), (N,), at the noise that `choose` gives for each site, with its log q."""
    log_q: list[Tensor] = []
    try:
        site = next(sites)
        while True:
            eps, of_site = choose(site)
            log_q.append(of_site)
            site = sites.send(eps)
    except StopIteration as end:
        return end.value, sum(log_q, torch.zeros_like(end.value))


def weighed(sites: Sites[Tensor]) -> Sites[tuple[Tensor, Tensor]]:
    """The same sites, which return log p(x, eps) and log q(eps | x) at what they were sent."""
    log_q: list[Tensor] = []
    try:
        site = next(sites)
        while True:
            eps = yield site
            log_q.append(site.log_prob(eps))
            site = sites.send(eps)
    except StopIteration as end:
        return end.value, sum(log_q, torch.zeros_like(end.value))


def draw_noise(sites: Sites[Tensor]) -> list[Tensor]:
    """A random sample of the noise of each site."""
    found: list[Tensor] = []

    def choose(site: NoiseSite) -> tuple[Tensor, Tensor]:
        eps, log_q = site.draw()
        found.append(eps)
        return eps, log_q

    at_noise(sites, choose)
    return found


def at_given(sites: Sites[Tensor], eps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """log p(x, eps) and log q(eps | x), (N,), at given noise.

    Args:
        sites: of a density at some rows.
        eps: a tensor for each site, of its shape.

    Returns:
        log p(x, eps) and log q(eps | x), (N,) each.

    Raises:
        ValueError: where there are more or fewer tensors than sites, or one has another shape.
    """
    left = list(eps)

    def choose(site: NoiseSite) -> tuple[Tensor, Tensor]:
        if not left or left[0].shape != site.shape:
            got = f"shape {tuple(left[0].shape)}" if left else f"{len(eps)} in all"
            raise ValueError(
                f"eps must hold a tensor for each site of noise, here of shape {tuple(site.shape)}; got {got}"
            )
        return left[0], site.log_prob(left.pop(0))

    found = at_noise(sites, choose)
    if left:
        raise ValueError(f"eps must hold a tensor for each site of noise, {len(eps) - len(left)}; got {len(eps)}")
    return found
