"""What was asked for: floors, goals beyond them, and whether a figure meets them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Floor:
    """A bound that a figure was to keep, and a goal beyond it that was hoped for; either may be missing.

    at_most: whether less is better, as for megabytes.
    """

    bound: float | None = None
    goal: float | None = None
    at_most: bool = False

    def keeps(self, value: float, limit: float) -> bool:
        """Whether a value is on the right side of a limit."""
        return value <= limit if self.at_most else value >= limit

    def met(self, value: float) -> bool:
        """Whether a value keeps the bound."""
        return self.bound is None or self.keeps(value, self.bound)

    def judged(self, value: float) -> str:
        """The value with what was asked for in brackets.

        >>> Floor(1.2, goal=1.4).judged(1.3)
        '1.30 (>= 1.2; goal 1.4, not met)'
        """
        sign, said = "<=" if self.at_most else ">=", []
        if self.bound is not None:
            said.append(f"{sign} {self.bound:g}{'' if self.met(value) else ', not met'}")
        if self.goal is not None:
            said.append(f"goal {self.goal:g}{'' if self.keeps(value, self.goal) else ', not met'}")
        return shown(value) + (f" ({'; '.join(said)})" if said else "")


NOTHING = Floor()  # was asked for


def shown(value: float) -> str:
    """A ratio in digits that mean something."""
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


@dataclass(frozen=True)
class Floors:
    """Of a model: step and log_prob against the better peer as it comes, and with everybody on the same products;
    sampling and peak memory against the better peer; sampling against its own log_prob.
    """

    step: Floor = NOTHING
    log_prob: Floor = NOTHING
    same_step: Floor = NOTHING
    same_log_prob: Floor = NOTHING
    sample: Floor = NOTHING
    megabytes: Floor = NOTHING
    own: Floor = NOTHING


SHARE = Floor(0.45)  # of the machine's best exact product rate, for the step of the model that is asked most
EXPONENT = Floor(2.1, at_most=True)  # of the cost of sampling in D
