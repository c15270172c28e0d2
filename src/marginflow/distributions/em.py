"""Training by EM: all rows are shared out among components, each of which is then fitted to its share."""

from __future__ import annotations

from abc import ABC, abstractmethod


class EM(ABC):
    """The steps of EM for one mixture on all training rows; see `mixtures.em_of`.

    Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm, 1977.
    """

    @abstractmethod
    def start(self, seed: int) -> None:
        """Set the components from the rows."""

    @abstractmethod
    def step(self) -> float:
        """Take a step over all rows; -mean log p(row | context), in nats, of the model before it."""
