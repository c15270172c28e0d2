"""A training killed at random moments and resumed each time ends with the weights of one that was not.

python -m stress.kill [KILLS] [SEED] [EPOCHS], in tests/: SIGKILL, so that nothing can be tidied up.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors.torch import load_file

from marginflow.training.checkpoint import load_trainer

EXPERIMENT = """
[data]
name = "checkerboard"
num_train = 20000
num_validation = 1000
num_test = 1000
[model]
name = "maf"
hidden = [64]
blocks = 3
batch_norm = true
dropout = 0.1
[noise]
features = 1
[train]
epochs = {epochs}
ema = 0.99
schedule = "cosine"
warmup_steps = 50
"""


def command(run_dir: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "marginflow",
        "train",
        str(run_dir.parent / "long.toml"),
        "--run-dir",
        str(run_dir),
        *more,
    ]


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(bool((one[name] == other[name]).all()) for name in one)


def killed(run: Path, most: int, epochs: int, longest: float, chance: random.Random) -> int:
    """Train into a directory, killed so many times at most, and come to the end; how many times it was."""
    for made in range(1, most + 1):
        process = subprocess.Popen(
            command(run, "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            _, error = process.communicate(timeout=chance.uniform(0, longest))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        else:
            if process.returncode:
                raise SystemExit(f"the resumed training failed: {error}")
            return made - 1
        state = load_trainer(run) if run.exists() else None
        done = 0 if state is None else len(state["history"])
        print("killed", "before the first checkpoint" if state is None else f"after {done} epochs", flush=True)
        if done == epochs:
            break
    subprocess.run(command(run, "--resume"), check=True, capture_output=True)
    return made


def check_same(whole: Path, run: Path) -> None:
    """The end of a training that was killed is that of one that was not."""
    states = [load_trainer(each) for each in (whole, run)]
    assert states[0] is not None
    assert states[1] is not None
    for key in ("model", "average"):
        weights = [state[key] if key == "model" else state[key][1] for state in states if state]
        assert equal(*weights), f"the {key} differs"
    assert bool((states[0]["random"] == states[1]["random"]).all()), "the random state differs"
    assert equal(*(load_file(each / "model.safetensors") for each in (whole, run))), "the best weights differ"
    lines = [len((each / "metrics.jsonl").read_text().splitlines()) for each in (whole, run)]
    assert lines[0] == lines[1], "lines of metrics differ"


def main(kills: int = 20, seed: int = 0, epochs: int = 12) -> None:
    """Trainings of one experiment, each killed until it has ended, until there were so many kills."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "long.toml").write_text(EXPERIMENT.format(epochs=epochs))
        whole = folder / "whole"
        started = time.perf_counter()
        subprocess.run(command(whole), check=True, capture_output=True)
        seconds = time.perf_counter() - started
        print(f"a training without interruption takes {seconds:.1f} s", flush=True)
        made = trainings = 0
        while made < kills:
            trainings += 1
            run = folder / f"killed_{trainings}"
            made += killed(run, kills - made, epochs, 0.5 * seconds, chance)
            check_same(whole, run)
    print(
        f"{made} kills of {trainings} trainings, seed {seed}: the same weights, average, random state and {epochs} "
        "epochs; lost: nothing"
    )


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:]))
