"""A run directory: what was trained, on what, with which result; enough to load the model again.

config.toml        the experiment with every default filled in
manifest.json      format, versions, machine, and the kind of rows that the model takes
metrics.jsonl      a line an epoch
model.safetensors  the weights that were best on validation
trainer.pt         all that it takes to go on training; not needed to use the model
evaluation.json    the accounting, once evaluated
checksums.json     of the files above but for metrics and evaluation, against which they are read
.lock              while it is trained in
figures/
"""

from marginflow.runs.directory import check_free, check_same_rows, check_same_settings, continued, created
from marginflow.runs.evaluating import Evaluation, check, evaluate, exhaust, held_out
from marginflow.runs.reading import EVALUATION, as_item, load, read, read_evaluation, trained, weights_sha256

__all__ = [
    "EVALUATION", "Evaluation", "as_item", "check", "check_free", "check_same_rows", "check_same_settings", "continued",
    "created", "evaluate", "exhaust", "held_out", "load", "read", "read_evaluation", "trained", "weights_sha256",
]  # fmt: skip
