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

from marginflow.checkpoint import load_trainer

EXPERIMENT = """
[data]
name = "half_moons"
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


def main(kills: int = 20, seed: int = 0, epochs: int = 12) -> None:
    chance = random.Random(seed)
    folder = Path(tempfile.mkdtemp())
    (folder / "long.toml").write_text(EXPERIMENT.format(epochs=epochs))
    whole, parts = folder / "whole", folder / "parts"
    started = time.perf_counter()
    subprocess.run(command(whole), check=True, capture_output=True)
    seconds = time.perf_counter() - started
    print(f"a training without interruption takes {seconds:.1f} s", flush=True)
    for i in range(kills):
        process = subprocess.Popen(
            command(parts, "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:  # until some moment between its very start and half of the whole
            _, error = process.communicate(timeout=chance.uniform(0, 0.5 * seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            state = load_trainer(parts) if parts.exists() else None
            where = "before the first checkpoint" if state is None else f"after {len(state['history'])} epochs"
            print(f"kill {i + 1}: {where}", flush=True)
        else:
            if process.returncode:
                raise SystemExit(f"the resumed training failed: {error}")
            print(f"kill {i + 1}: it had ended before", flush=True)
    result = subprocess.run(command(parts, "--resume"), check=True, capture_output=True, text=True)
    print(result.stdout.strip().splitlines()[-1])
    states = [load_trainer(run) for run in (whole, parts)]
    assert states[0] is not None
    assert states[1] is not None
    for key in ("model", "average"):
        weights = [state[key] if key == "model" else state[key][1] for state in states if state]
        assert equal(*weights), f"the {key} differs"
    assert bool((states[0]["random"] == states[1]["random"]).all()), "the random state differs"
    assert equal(*(load_file(run / "model.safetensors") for run in (whole, parts))), "the best weights differ"
    lines = [len((run / "metrics.jsonl").read_text().splitlines()) for run in (whole, parts)]
    assert lines[0] == lines[1], "lines of metrics differ"
    print(f"{kills} kills, seed {seed}: the same weights, average, random state and {lines[1]} epochs; lost: nothing")


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:]))
