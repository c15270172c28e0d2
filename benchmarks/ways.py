"""The ways in which a library is run: as it comes, on the same products as ours, compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from benchmarks import same_products
from benchmarks.candidates import Candidate, Marginflow
from marginflow.training.compiled import compiler

AS_IT_COMES, SAME, COMPILED = "as it comes", "same products", "compiled"
AGREE = 1e-3  # relative to the largest log_prob, in float32


@dataclass(frozen=True)
class Way:
    """A candidate with its log_prob, compiled or not, and whether its linear layers go through our products."""

    candidate: Candidate
    log_prob: Callable[[Tensor], Tensor]
    same: bool = False

    def evaluate(self, x: Tensor) -> Tensor:
        """log_prob of rows, without gradients."""
        with self._products(), torch.no_grad():
            return self.log_prob(x)

    def step(self, x: Tensor) -> None:
        """One training step."""
        with self._products():
            self.candidate.step(x, self.log_prob)

    def _products(self) -> AbstractContextManager[None]:
        return same_products.same_products() if self.same else nullcontext()


def ways(candidate: Candidate) -> dict[str, Way]:
    """The ways to run a candidate; ours comes with its products, and is compiled only where it is small."""
    found = {AS_IT_COMES: Way(candidate, candidate.log_prob)}
    ours, image = isinstance(candidate, Marginflow), candidate.size.is_image
    others = not ours and not same_products.are_torchs_own()
    if others:
        found[SAME] = Way(candidate, candidate.log_prob, same=True)
    if compiler() is None:
        return found
    if not image or not (ours or others):  # in large models the products decide
        found[COMPILED] = Way(candidate, compiled(candidate))
    if others:
        found[f"{SAME}, {COMPILED}"] = Way(candidate, compiled(candidate), same=True)
    return found


def compiled(candidate: Candidate, **options: Any) -> Callable[[Tensor], Tensor]:
    """log_prob compiled, with a code object of its own: torch files what it compiled by these, and tries one by one."""

    def log_prob(x: Tensor) -> Tensor:
        return candidate.log_prob(x)

    own = FunctionType(log_prob.__code__.replace(), globals(), "log_prob", None, log_prob.__closure__)
    return torch.compile(own, **options)


def left_out(found: Mapping[str, Way], x: Tensor, call: Callable[[Way, Tensor], Tensor | None]) -> dict[str, str]:
    """Call every way once, so that it is compiled; those that fail, or disagree with the first, with the reasons."""
    reasons: dict[str, str] = {}
    expected: Tensor | None = None
    for name, way in found.items():
        try:
            value = call(way, x)
        except Exception as problem:  # whatever a compiler says
            if name == AS_IT_COMES:
                raise
            reasons[name] = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
            continue
        if expected is None or value is None:
            expected = value
        elif not (error := float((value - expected).abs().max() / expected.abs().max())) < AGREE:
            reasons[name] = f"log_prob differs by {error:.1e} of the largest"
    return reasons
