"""Whether a directory is a run, told before torch is loaded."""

from __future__ import annotations

from pathlib import Path

CONFIG, MANIFEST = "config.toml", "manifest.json"


def check_is_run(run_dir: Path) -> None:
    """Refuse a directory that holds no run: FileNotFoundError that says what it lacks."""
    for name in (CONFIG, MANIFEST):
        if not (run_dir / name).is_file():
            meant = Path("runs") / run_dir
            hint = f"did you mean {meant}?" if (meant / name).is_file() else "give one that train made"
            raise FileNotFoundError(
                f"{run_dir} is not a run directory: it has no {name}; {hint} "
                "(weights that fit kept: build the model, then "
                "marginflow.training.checkpoint.load_weights(model, Path(run)))"
            )
