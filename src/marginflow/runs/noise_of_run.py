"""q(eps | x) fitted to the model of a run, as a run of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marginflow.distributions import Distribution, Flow
from marginflow.runs.build import build
from marginflow.runs.directory import created
from marginflow.runs.fit_noise import SETTINGS, only, without
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
    before, noise = _noise(run.model), _noise(model)
    own, others = model.load_state_dict(without(run.model, before), strict=False)
    wrong = [key for key in own if key in without(model, noise)]
    if wrong or others:
        raise ValueError(f"the model of {run.path} has other weights than its experiment says: {[*wrong, *others][:3]}")
    with created(run_dir, experiment, run.spec, overwrite=overwrite), only(model, noise) as digest:
        record = {"p_of": str(run.path.resolve()), "weights_sha256": run.weights_sha256, "p_sha256": digest}
        write_whole(run_dir / FITTED_NOISE, (json.dumps(record, indent=2) + "\n").encode())
        fit(model, run.data, experiment.train, run_dir, progress=progress)
    return model.eval()


def _noise(model: Distribution) -> list[Distribution]:
    """q of all sites of noise dimensions."""
    return [each.noise for each in model.modules() if isinstance(each, Augment)]
