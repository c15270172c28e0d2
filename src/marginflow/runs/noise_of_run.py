"""q(eps | x) fitted to the model of a run, as a run of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from marginflow.distributions import Distribution, Flow
from marginflow.runs.build import build
from marginflow.runs.directory import created
from marginflow.runs.fit_noise import SETTINGS, only
from marginflow.runs.read_toml import overridden, parse
from marginflow.runs.run import FITTED_NOISE, Run
from marginflow.runs.schema import Experiment
from marginflow.storage.files import write_whole
from marginflow.training import fit
from marginflow.transforms import Augment


def experiment_with(run: Run, noise: str, overrides: Sequence[str]) -> Experiment:
    """The experiment of a run with another q, and how that is trained.

    Args:
        run: that has noise dimensions.
        noise: the name of q.
        overrides: such as "noise.hidden=[256, 256]" or "train.epochs=50".

    Returns:
        The experiment.

    Raises:
        ValueError: where the run has no noise dimensions, or something does not fit q.
    """
    if run.experiment.noise.grow is not None:
        raise ValueError(
            f"{run.path} has grown its noise dimensions, and an experiment cannot say another q of these: fit it in "
            "Python, mf.fit_noise(mf.load(run), data)"
        )
    wrong = [each for each in overrides if not each.strip().startswith(("noise.", "train.", "evaluate."))]
    if wrong:
        raise ValueError(f"p and its data stay as they are, --set noise., train. or evaluate. alone; got {wrong[0]!r}")
    if not run.experiment.noise.features:
        raise ValueError(
            f"{run.path} was trained without noise dimensions: there is no q(eps | x) to fit; train one with "
            "--set noise.features=2"
        )
    table = run.experiment.model_dump(mode="json", exclude_none=True)
    before = table["noise"]
    table["noise"] = {"name": noise, "features": before["features"], "after_blocks": before["after_blocks"]}
    kept = {key: table["train"][key] for key in ("seed", "device", "precision", "batch_size") if key in table["train"]}
    table["train"] = {**kept, **SETTINGS}
    return parse(overridden(table, overrides), str(run.path))


def fit_noise_of_run(run: Run, experiment: Experiment, run_dir: Path, *, overwrite: bool, progress: Any) -> Flow:
    """Train q alone, and keep it with p as it is in a run directory.

    Args:
        run: whose p stays.
        experiment: see `experiment_with`.
        run_dir: where the new run goes.
        overwrite: whether a run there may be replaced.
        progress: as `fit` takes it.

    Returns:
        The model, in evaluation mode.

    Raises:
        FileExistsError: where the directory holds something.
        ValueError: where data and model do not fit.
        FloatingPointError: where the training diverges.
    """
    model = build(experiment, run.spec)
    p = of_p(run.model.state_dict(), run.model)
    own, others = model.load_state_dict(p, strict=False)
    noise = [each.noise for each in model.modules() if isinstance(each, Augment)]
    wrong = [key for key in own if ".noise." not in key]
    if wrong or others:
        raise ValueError(f"the model of {run.path} has other weights than its experiment says: {[*wrong, *others][:3]}")
    with created(run_dir, experiment, run.spec, overwrite=overwrite):
        record = {"p_of": str(run.path.resolve()), "weights_sha256": run.weights_sha256, "p_sha256": digest(p)}
        write_whole(run_dir / FITTED_NOISE, (json.dumps(record, indent=2) + "\n").encode())
        with only(model, noise):
            fit(model, run.data, experiment.train, run_dir, progress=progress)
    after = digest(of_p(model.state_dict(), model))
    if after != record["p_sha256"]:
        raise RuntimeError(f"p has changed while q was fitted: delete {run_dir}")
    return model.eval()


def of_p(state: Mapping[str, Tensor], model: Distribution) -> dict[str, Tensor]:
    """The weights of a model but for those of q."""
    of_noise = [name for name, each in model.named_modules() if isinstance(each, Augment)]
    return {key: each for key, each in state.items() if not any(key.startswith(f"{name}.noise.") for name in of_noise)}


def digest(state: Mapping[str, Tensor]) -> str:
    """A checksum of weights."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode())
        found.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
