"""Whether a directory is a run, told before torch is loaded."""

from __future__ import annotations

from pathlib import Path

CONFIG, MANIFEST = "config.toml", "manifest.json"


def is_run(directory: Path) -> bool:
    """Whether a directory has what a run has."""
    return all((directory / name).is_file() for name in (CONFIG, MANIFEST))


def require_run(directory: Path) -> None:
    """Refuse a directory that holds no run: FileNotFoundError that says what it lacks."""
    if is_run(directory):
        return
    lacks = next(name for name in (CONFIG, MANIFEST) if not (directory / name).is_file())
    hint = "give one that marginflow train made"
    if is_run(meant := Path("runs") / directory):
        hint = f"did you mean {meant}?"
    elif next(directory.glob("*.safetensors"), None) is not None:
        hint = "it holds a model that was trained in Python, without an experiment: marginflow.load opens that"
    raise FileNotFoundError(f"{directory} is not a run directory: it has no {lacks}; {hint}")
