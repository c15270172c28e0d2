"""A run directory: what was trained, on what, with which result; enough to load the model again.

config.toml        the experiment with every default filled in
manifest.json      format, versions, machine, and the kind of rows that the model takes
metrics.jsonl      a line an epoch
model.safetensors  the weights that were best on validation
trainer.pt         the state from which a training is resumed; not needed to use the model
evaluation.json    the accounting, once evaluated
checksums.json     of the files above but for metrics and evaluation, against which they are read
.lock              while a training runs in it
figures/
"""
