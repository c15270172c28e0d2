"""What a check has found of a run on a table: each check as a question, its verdict, what it means, what to do."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from marginflow.base.literal import literal
from marginflow.evaluation.check.findings import Finding, Findings

QUESTIONS = {
    "masked weights": "Does each column see only those before it?",
    "round trip, float32": "Do rows come back from the model's noise?",
    "round trip, float64": "The same with twice the digits?",
    "log-determinant": "Is each row's density scaled rightly?",
    "triangularity": "Does each column depend only on those before it?",
    "inputs that influence nothing": "Does every column matter to the others?",
    "scales": "Are rows far out handled within bounds?",
    "finite": "Is log p a number for every row and sample?",
    "samples": "Do samples stay where the rows are?",
    "latents": "Has the model learned the shape of the rows?",
    "contexts that influence nothing": "Does log p depend on every column given?",
    "normalisation": "Do the probabilities of all possible rows sum to 1?",
    "samples against the density": "Do samples follow the probabilities?",
    "importance weights": "Have the estimates of log p converged?",
    "floor": "Is log p no better than can be?",
}
VERDICTS = {
    "pass": ("yes", "green"), "warn": ("not quite", "yellow"), "fail": ("no", "bold red"),
    "cannot tell": ("cannot tell", "yellow"),
}  # fmt: skip


def row_findings(findings: Findings) -> Group:
    """Questions and answers, those that do not apply in a line, and what all of it means.

    Args:
        findings: of the run.
    """
    asked = [each for each in findings.every if each.status != "skip"]
    table = Table()
    for title in ("question", "", "found", *(("what to do",) if any(each.remedy for each in asked) else ())):
        table.add_column(title, overflow="fold")
    for each in asked:
        word, colour = VERDICTS[each.status]
        question = f"{QUESTIONS[each.check]} ({each.check})" if each.check in QUESTIONS else each.check
        cells = [Text(literal(question)), Text(word, colour), Text(literal(each.found)), Text(literal(each.remedy))]
        table.add_row(*cells[: len(table.columns)])
    skipped = [
        f"does not apply: {each.check} ({literal(each.found)})" for each in findings.every if each.status == "skip"
    ]
    return Group(table, Text("\n".join([*skipped, _verdict(asked)])))


def _verdict(asked: list[Finding]) -> str:
    """What all findings mean for who uses the numbers."""
    by_status = {status: [each.check for each in asked if each.status == status] for status in VERDICTS}
    if by_status["fail"]:
        return f"log p and samples of this run cannot be believed: {', '.join(by_status['fail'])}"
    parts = [f"{len(by_status['pass'])} of {len(asked)} checks pass"]
    parts += [f"to look at: {', '.join(by_status['warn'])}"] if by_status["warn"] else []
    parts += [f"not known: {', '.join(by_status['cannot tell'])}"] if by_status["cannot tell"] else []
    fits = "how well it fits is another question, which evaluate and compare answer"
    return f"nothing speaks against log p and samples of this run: {'; '.join(parts)}; {fits}"
