"""How the model of a table was chosen, in lines."""

from __future__ import annotations

from marginflow.report.estimates import with_error


def trial_line(name: str, log_prob: float, error: float, num_rows: int, seconds: float, *, given_up: bool) -> str:
    """A candidate that was tried.

    Examples:
        >>> trial_line("maf", -4.1, 0.02, 500, 12.0, given_up=True)
        '  maf: -4.100 ± 0.020 nats a row on 500 held-out rows, 12 s; given up'
    """
    what = "; given up" if given_up else ""
    took = f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"
    return f"  {name}: {with_error(log_prob, error)} nats a row on {num_rows:,} held-out rows, {took} s{what}"


def choice_line(name: str, folds: int, *, is_best: bool) -> str:
    """What was chosen.

    Args:
        name: of the candidate.
        folds: in which rows were held out; 0 where validation rows were.
        is_best: whether its log p is the largest.

    Examples:
        >>> choice_line("maf_mog", 3, is_best=True)
        'chosen: maf_mog, the best on rows held out in 3 folds; next it is trained on all of them'
        >>> print(choice_line("mixture of 8", 0, is_best=False).partition(";")[0])
        chosen: mixture of 8, the simplest within one standard error of the best on validation rows
    """
    which = "the best" if is_best else "the simplest within one standard error of the best"
    how = f"rows held out in {folds} folds" if folds else "validation rows"
    then = "trained on all of them" if folds else "trained to its end"
    return f"chosen: {name}, {which} on {how}; next it is {then}"
