"""What a check has found: one line each, with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["pass", "warn", "fail", "cannot tell", "skip"]


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes:
        check: what was asked.
        status: "pass"; "warn", which may be meant; "fail", where numbers or samples of the model cannot be believed;
            "cannot tell", where the check applies and its own error is too large; "skip", where it does not apply.
        found: the figure.
        remedy: what to do where it did not pass.
    """

    check: str
    status: Status
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Findings:
    """All that `check` has found: `for finding in findings` and `len(findings)` go through them.

    Attributes:
        every: the findings, in their order.
    """

    every: Sequence[Finding]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.every)

    def __len__(self) -> int:
        return len(self.every)

    @property
    def ok(self) -> bool:
        """Whether nothing failed; neither warnings count nor what could not be told."""
        return not any(each.status == "fail" for each in self.every)

    def of(self, check: str) -> Finding:
        """The finding of a check, by its name; KeyError for a name that is none."""
        found = {each.check: each for each in self.every}
        return found[check]

    def and_also(self, finding: Finding) -> Findings:
        """These and one more."""
        return Findings([*self.every, finding])

    def as_list(self) -> list[dict[str, Any]]:
        """Plain values, for JSON."""
        return [asdict(each) for each in self.every]

    def __str__(self) -> str:
        lines = [
            f"{each.status:11}  {each.check}: {each.found}{each.remedy and ' -> ' + each.remedy}" for each in self.every
        ]
        return "\n".join(lines)
