"""What annealed importance sampling has found, in lines."""

from __future__ import annotations

from marginflow.evaluation.annealed import Annealed
from marginflow.report.estimates import with_error


def annealed_lines(found: Annealed) -> list[str]:
    """The estimate on held-out rows, and beside it, as what it is, how near both sides come on rows that were drawn.

    Args:
        found: the evaluation.

    Returns:
        Lines.
    """
    what = "rows as given" if found.dequantisation else "preprocessed rows"
    bits, error = found.bits_per_dim, found.error_of_chains
    of_chains = "not known" if error is None else f"{error:.2g}"
    return [
        f"log p = {with_error(found.log_prob.value, found.log_prob.standard_error)} nats a row, of {found.num_rows:,} "
        f"test rows ({what}): a lower bound on average",
        *([] if bits is None else [f"  {with_error(bits.value, bits.standard_error)} bits/dim"]),
        f"  by {found.num_samples} annealed chains a row past {found.num_temperatures} temperatures: error from the "
        f"chains {of_chains}, median effective sample size {found.effective_sample_size:.1f}",
        f"  twice as many temperatures as {found.num_temperatures // 2} changed it by {found.change:+.3f}; the chains "
        f"accepted {found.accepted:.0%} of their moves",
        _both_sides(found),
    ]


def _both_sides(found: Annealed) -> str:
    if found.gap is None:
        return (
            "draws of this model leave the grey levels: how near both sides come can be told of preprocessed rows, "
            "without --dequantisation"
        )
    return (
        f"on {found.num_simulated} rows drawn from this model both sides meet within "
        f"{with_error(found.gap.value, found.gap.standard_error)} nats"
    )
