"""Flows of images on digits: `python -m studies.images train [SEED...]`, then `... table` and `... figure`.

MAF with 1 x 1 convolutions, Real NVP, Glow and Flow++ on scikit-learn's digits; without noise, with one channel of
noise N(0, I), and with one of learned noise q(eps | x), a Real NVP that sees the image; as many parameters with noise as
without, those of q included; three seeds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from marginflow.config import build, load_data, parse
from marginflow.evaluation import evaluate
from marginflow.plotting import image_grids, save
from marginflow.samples import draw
from marginflow.training import fit
from studies import RESULTS
from studies.trials import cell, largest_within, num_parameters

MODELS = ("maf_conv", "realnvp_images", "glow", "flowpp")
NOISES = ("none", "standard_normal", "realnvp_images")
EPOCHS = {"maf_conv": 150, "realnvp_images": 150, "glow": 150, "flowpp": 150}
START = {"maf_conv": 256, "realnvp_images": 48, "glow": 96, "flowpp": 16}  # the sizes without noise
SEEDS = (0, 1, 2)
NUM_SAMPLES = 200
SHOWN = 20


def experiment(model: str, size: int, noise: str, seed: int) -> Any:
    """One training, its networks sized by `size`."""
    options: dict[str, dict[str, Any]] = {
        "maf_conv": {"hidden": [size], "blocks": 4, "dropout": 0.2},
        "realnvp_images": {"hidden": [size, size, size], "dropout": 0.1},
        "glow": {"hidden": [size, size], "blocks": 6, "dropout": 0.1},
        "flowpp": {"width": 4 * size, "blocks": 4, "depth": 1, "components": 4, "dropout": 0.2},
    }
    of_noise: dict[str, Any] = {} if noise == "none" else {"name": noise, "features": 1}
    if noise == "realnvp_images":
        of_noise |= {"levels": 1, "hidden": [16]}
    table = {
        "data": {"name": "digits"},
        "dequantise": {"name": "realnvp_images", "levels": 1, "hidden": [16]} if model == "flowpp" else {},
        "preprocess": {"logit": 0.05},
        "model": {"name": model, **options[model]},
        "noise": of_noise,
        "train": {
            "epochs": EPOCHS[model], "batch_size": 64, "lr": 2e-3, "schedule": "cosine", "warmup_steps": 50, "ema": 0.99,
            "clip_norm": 50.0, "validate_every": 5, "seed": seed,
        },
        "evaluate": {"num_samples": NUM_SAMPLES},
    }  # fmt: skip
    return parse(table, "studies.images")
