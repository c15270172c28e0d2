"""The rooms: imports point one way."""

from __future__ import annotations

import ast
from pathlib import Path

import marginflow

SOURCE = Path(marginflow.__file__).parent

# room -> the rooms that it may import, beside itself; docs/design.md, section 2, has the drawing
MAY_IMPORT = {
    "base": set(),
    "shapes": set(),
    "randomness": set(),
    "roots": set(),
    "gradients": set(),
    "hidden": set(),
    "nets": {"hidden", "shapes"},
    "masked": {"gradients", "hidden", "shapes"},
    "distributions": {"shapes"},
    "transforms": {"base", "hidden", "distributions", "gradients", "masked", "roots", "shapes"},
    "flow": {"distributions", "shapes", "transforms"},
    "marginal": {"distributions", "shapes", "transforms"},
    "models": {"distributions", "flow", "hidden", "nets", "shapes", "transforms"},
    "interop": {"distributions", "flow", "marginal", "shapes", "transforms"},
    "data": {"base", "guarded"},
    "quality": set(),
    "devices": set(),
    "calibration": {"base", "distributions", "randomness", "transforms"},
    "checkpoint": {"guarded"},
    "guarded": set(),
    "lock": set(),
    "accounting": {"base", "data", "marginal"},
    "evaluation": {"accounting", "data", "distributions", "flow", "marginal", "randomness", "shapes", "transforms"},
    "training": {
        "calibration", "checkpoint", "data", "devices", "distributions", "evaluation", "lock", "marginal", "randomness",
        "transforms",
    },
    "config": {
        "data", "distributions", "flow", "guarded", "marginal", "models", "nets", "randomness", "training",
        "transforms",
    },
    "provenance": set(),
    "precision": {"data", "distributions", "evaluation", "randomness"},
    "sampling": {"distributions", "evaluation"},
    "runs": {
        "accounting", "checkpoint", "checks", "config", "data", "devices", "divergence", "evaluation",
        "flow", "guarded", "lock", "precision", "provenance",
    },
    "comparison": {"accounting", "base", "config", "runs"},
    "experiments": {"config", "data"},
    "temperature": {"distributions", "flow", "marginal"},
    "journey": {
        "checkpoint", "data", "distributions", "evaluation", "flow", "marginal", "randomness", "training", "transforms",
    },
    "checks": {
        "accounting", "calibration", "data", "distributions", "divergence", "evaluation", "flow", "journey",
        "marginal", "randomness", "transforms",
    },
    "divergence": {"data", "distributions", "evaluation", "flow", "journey", "marginal", "randomness"},
    "plotting": {"checkpoint", "data", "training"},
    "samples": {"data", "distributions", "flow", "randomness", "sampling", "temperature"},
    "output": {"checkpoint", "data"},
    "figures": {
        "accounting", "base", "data", "distributions", "evaluation", "flow", "journey", "marginal", "plotting",
        "randomness", "samples", "training",
    },
    "console": {
        "accounting", "base", "checks", "comparison", "data", "distributions", "divergence", "precision", "training",
    },
    "trainer": {"checkpoint", "config", "console", "figures", "runs", "training"},
    "thesis": set(),
    "reproduce": {
        "checkpoint", "config", "data", "evaluation", "experiments", "figures", "flow", "journey", "plotting", "runs",
        "samples", "thesis", "trainer",
    },
    "report": {"checkpoint", "guarded"},
    "demo": {
        "accounting", "checkpoint", "config", "console", "data", "figures", "flow", "journey", "plotting", "runs",
        "samples", "training",
    },
    "cli": {
        "comparison", "config", "console", "data", "demo", "devices", "experiments", "figures", "output", "plotting",
        "randomness", "report", "reproduce", "runs", "samples", "thesis", "trainer",
    },
    "__main__": {"cli"},
}  # fmt: skip


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "marginflow":
            below = (node.module or "").split(".")[1:]
            names = [below[0]] if below else [alias.name for alias in node.names]
            rooms |= {name if name in MAY_IMPORT else "__init__" for name in names}
        elif isinstance(node, ast.Import):
            rooms |= {a.name.split(".")[1] for a in node.names if a.name.startswith("marginflow.")}
    return rooms


def test_imports_keep_to_the_plan() -> None:
    for path in SOURCE.rglob("*.py"):
        here = room(path)
        if here == "__init__":
            continue
        assert here in MAY_IMPORT, f"{path.name}: a room that is not in the plan"
        extra = imported_rooms(path) - MAY_IMPORT[here] - {here}
        assert not extra, f"{path.relative_to(SOURCE)} imports {extra}"


def test_the_plan_has_no_circles() -> None:
    resting = {"__init__"}
    while len(resting) <= len(MAY_IMPORT):
        ready = {each for each, needs in MAY_IMPORT.items() if needs <= resting} - resting
        assert ready, f"a circle among {set(MAY_IMPORT) - resting}"
        resting |= ready


def test_files_hold_one_idea() -> None:
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path.name
