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


def attempt_line(name: str, place: int, candidates: int, fold: int, folds: int) -> str:
    """A candidate that is trained just now.

    Args:
        name: of the candidate.
        place: among those that are left, from 1.
        candidates: how many are left.
        fold: whose rows are held out, from 1.
        folds: how many there are; 1 where the same rows judge all.

    Examples:
        >>> attempt_line("maf, 20 passes", 4, 14, 2, 5), attempt_line("maf", 1, 3, 1, 1)
        ('trying maf, 20 passes (fold 2 of 5, candidate 4 of 14)', 'trying maf (candidate 1 of 3)')
    """
    return f"trying {name} ({f'fold {fold} of {folds}, ' if folds > 1 else ''}candidate {place} of {candidates})"


def fold_line(fold: int, folds: int, candidates: int) -> str:
    """A fold on whose rows all candidates were judged.

    Args:
        fold: its number, from 1.
        folds: how many there are.
        candidates: how many are left.

    Examples:
        >>> fold_line(1, 5, 6), fold_line(4, 5, 1)
        ('fold 1 of 5 is done, 6 candidates are left', 'fold 4 of 5 is done, 1 candidate is left')
    """
    left = "1 candidate is" if candidates == 1 else f"{candidates} candidates are"
    return f"fold {fold} of {folds} is done, {left} left"


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
