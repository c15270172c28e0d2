"""The split of a table's rows into training, validation and test rows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from marginflow.base.seeds import require_seed
from marginflow.data.dataset import Split


def split(whole: Split, validation: float, test: float, seed: int, file: Path) -> list[Split]:
    """Training, validation and test rows, drawn by a seed; ValueError where there are fewer than two of one kind.

    validation, test: parts of the rows.
    """
    num_rows = len(whole.x)
    sizes = [round(num_rows * part) for part in (test, validation)]
    sizes.append(num_rows - sum(sizes))
    if min(sizes) < 2:
        raise ValueError(f"{file}: {num_rows} rows are too few to split into training, validation and test rows")
    order = torch.from_numpy(np.random.default_rng(require_seed(seed)).permutation(num_rows))
    cuts = np.cumsum([0, *sizes])
    parts = [Split(*whole.take(order[start:stop])) for start, stop in pairwise(cuts)]
    return parts[::-1]
