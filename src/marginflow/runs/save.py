"""A model trained in Python as one file, which builds it again."""

from __future__ import annotations

from pathlib import Path

from marginflow.base.adapter import require_distribution
from marginflow.base.devices import require_weights
from marginflow.base.distribution import Distribution
from marginflow.base.settings import as_path
from marginflow.runs.is_run import is_run
from marginflow.storage.files import packed, write_whole
from marginflow.training.checkpoint import TRAINER, WEIGHTS, described, require_finite_weights


def save(model: Distribution, path: str | Path) -> Path:
    """Save a model in a .safetensors file, from which `marginflow.load` builds it again.

    The file holds the weights, and in its header as plain data the call that built the model and what is known of the
    rows that it was trained on, `model.spec`: the names of its columns, labels, grey levels. It holds no code.

    Args:
        model: built of public classes with plain arguments, such as by a function of `marginflow.models`.
        path: of the file, or a directory, in which the file is called model.safetensors.

    Returns:
        The path of the file.

    Raises:
        ValueError: where the model cannot be described so, such as one with a network of your own, holds weights that
            are not finite, or the path ends in something else.
        FileExistsError: where the directory holds a training.
        OSError: where the file cannot be written; a file that was there stays as it was.

    Examples:
        >>> import tempfile
        >>> import marginflow as mf
        >>> model = mf.models.maf(2, hidden=[16])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     same = mf.load(mf.save(model, folder))
        >>> bool((same.log_prob([[0.0, 1.0]]) == model.log_prob([[0.0, 1.0]])).all())
        True
    """
    require_distribution(model)
    require_weights(model)
    path = as_path(path, "path")
    path = path / WEIGHTS if path.is_dir() else path
    if path.suffix != ".safetensors":
        raise ValueError(
            f"path must end in .safetensors, or be a directory; got {str(path)!r}: give "
            f"{str(path.with_suffix('.safetensors'))!r}"
        )
    if (path.parent / TRAINER).exists() or is_run(path.parent):
        raise FileExistsError(f"{path.parent} holds a training, whose files belong together: give another path")
    state = model.state_dict()
    require_finite_weights(state, "the model")
    write_whole(path, packed(state, described(model)))
    return path
