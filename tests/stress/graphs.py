"""Every registered density, and the samples of models that take long, exported for any number of rows and run again.

python -m stress.graphs [WORD], in tests/: only those whose name holds a word.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from models.test_graphs import NAMES, SOLVED, export_log_prob, export_sample
from registry import SMALL_IMAGE_MODELS, image_model, small

from marginflow import models


def cases() -> Iterator[tuple[str, Callable[[Path], None]]]:
    """What is exported, by name."""
    for name in NAMES:
        for strict in (False, True):
            yield f"log_prob, {name}, strict={strict}", lambda at, n=name, s=strict: export_log_prob(n, at, strict=s)
    for name in SMALL_IMAGE_MODELS:
        yield f"sample, {name}", lambda at, n=name: export_sample(image_model(n), 0, at)
    for name in SOLVED[:3]:
        options = {**small(name), **({"blocks": 1} if not name.startswith("made") else {})}
        yield f"sample, {name}", lambda at, n=name, o=options: export_sample(models.MODELS[n](2, **o), 0, at)


def main(word: str = "") -> int:
    """Export all; how many failed."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_default_dtype(torch.float64)
    failed = 0
    for name, run in cases():
        if word not in name:
            continue
        began = time.perf_counter()
        torch.default_generator.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            try:
                run(Path(folder))
                said = "same"
            except Exception as error:
                failed += 1
                said = f"FAILED: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        print(f"{time.perf_counter() - began:6.1f} s  {name}: {said}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
