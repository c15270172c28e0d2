"""How near a lower and an upper bound of log p come, on rows that a density with noise draws."""

from __future__ import annotations

from torch import Tensor

from marginflow.base.devices import evaluation_mode
from marginflow.base.distribution import Distribution
from marginflow.base.seeds import seeded
from marginflow.distributions.annealing import PILOT_CHAINS, TRIES, Pilot
from marginflow.distributions.hamiltonian import NoiseSpace, frozen, seconds_a_move
from marginflow.distributions.likelihood_gap import drawn, gap_of
from marginflow.evaluation.check.findings import Finding

CHECK = "both sides of log p"
ROWS, CHAINS, TEMPERATURES, PILOTED = 8, 4, 20, 10
LONGEST = 30.0  # seconds that it may take
NEAR = 0.5  # nats between both sides, up to which log p is known


def both_sides(density: Distribution, context: Tensor | None, seed: int) -> Finding:
    """The gap between both sides, where that takes no longer than half a minute.

    Args:
        density: of preprocessed rows, one that draws noise.
        context: of some rows, (N, ...); None where it takes none.
        seed: of all draws.

    Returns:
        The finding, which warns where the sides lie apart.
    """
    with evaluation_mode(density), frozen(density), seeded(seed):
        given = None if context is None else context[:ROWS]
        try:
            x, eps = drawn(density, ROWS if given is None else len(given), given)
            moves = PILOTED * TRIES * PILOT_CHAINS + 2 * TEMPERATURES * CHAINS * len(x)
            needed = moves * seconds_a_move(NoiseSpace(density, x, given))
            if needed > LONGEST:
                longer = f"it takes about {needed / 60:.0f} min: marginflow evaluate RUN --method annealed tells it"
                return Finding(CHECK, "skip", longer)
            path = Pilot.of(density, x, given, number=PILOTED).path(TEMPERATURES)
            found = gap_of(density, path, x, eps, given, CHAINS)
        except (ValueError, FloatingPointError) as error:
            return Finding(CHECK, "cannot tell", f"because {error}", "")
    apart = abs(found.gap) + 2 * found.standard_error > NEAR
    return Finding(
        CHECK,
        "warn" if apart else "pass",
        f"on {len(x)} rows drawn from the model they meet within {found.gap:.3f} ± {found.standard_error:.3f} nats "
        f"({TEMPERATURES} temperatures)",
        "log p is not known so well: marginflow evaluate RUN --method annealed takes more temperatures"
        if apart
        else "",
    )
