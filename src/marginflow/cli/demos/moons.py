"""Half moons through flows, without and with noise dimensions: trained, accounted for, drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from marginflow.base.devices import device_on
from marginflow.cli.demos.picture import Shown, overview
from marginflow.cli.demos.show import command, say
from marginflow.cli.train import train_run
from marginflow.data.toy import HALF_MOONS_ENTROPY
from marginflow.evaluation.evaluate import Accounting
from marginflow.evaluation.sample import sample_raw
from marginflow.report import figures, plots
from marginflow.report.tables import accounting_table
from marginflow.runs import experiments
from marginflow.runs.evaluate import evaluate
from marginflow.runs.run import Run

NUM_POINTS = 2000  # shown
DRAWS_OF_MAPS = 8  # a point of a map, where a density is estimated
QUICK = ("train.epochs=20", "train.lr=3e-3", "evaluate.num_samples=50")  # the experiment takes twice as long
SHORT = ("train.epochs=40", "evaluate.num_samples=100")


@dataclass(frozen=True)
class Model:
    """A training. label: in tables and figures. run: its directory. experiment: its name. overrides: of that."""

    label: str
    run: str
    experiment: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moons:
    """Two trainings side by side.

    title: of the figure. says: what the numbers mean. Both are told, in their order, by how many nats the models lie
    above the entropy of the data, and the number of epochs. picture: its file.
    """

    title: str
    says: str
    picture: str
    models: tuple[Model, ...]


@dataclass(frozen=True)
class Learned:
    """What came of a training: its accounting, and all of it as a record."""

    accounting: Accounting
    record: dict[str, Any]


FITTING = Moons(
    "Half moons: a flow {0:.3f} nats above the entropy of the data, and {1:.3f} with a noise dimension",
    "{0:.3f} and {1:.3f} nats above the entropy of the data, the floor that no density passes. With noise p(x) is an\n"
    "integral: the table has its bound, the estimate that tightens it, and how many of the draws count.",
    "half_moons",
    (
        Model("no noise dimensions", "without_noise", "half_moons_maf_mog", QUICK),
        Model("1 noise dimension", "with_noise", "half_moons_maf_mog", (*QUICK, "noise.features=1")),
    ),
)
THESIS = Moons(
    "The thesis's planar setting underfits: after {epochs} of its 100 epochs {0:.2f} nats above the entropy of the "
    "data, {1:.2f} with noise",
    "This setting underfits: {0:.2f} and {1:.2f} nats above the floor after {epochs} of its 100 epochs, 0.71 and 1.60\n"
    "after all of them (marginflow reproduce fig1, and fig2): with noise it stays close to a Gaussian.\n"
    "The thesis reports -0.88 and -7.27, below the floor, where no density can average.",
    "half_moons_thesis",
    (
        Model("planar, no noise", "thesis_without_noise", "half_moons_planar", SHORT),
        Model("planar, 2 noise dimensions", "thesis_with_noise", "half_moons_planar_marginal", SHORT),
    ),
)


def learn(moons: Moons, output: Path, epochs: int | None = None) -> dict[str, Learned]:
    """Train the models, print their accounting beside the entropy of the data and what it means, draw them; by label.

    epochs: of each, at most.
    """
    found: dict[str, Learned] = {}
    shown: list[Shown] = []
    runs = [_trained(each, output / each.run, epochs) for each in moons.models]
    for each, run in zip(moons.models, runs, strict=True):
        command("evaluate", run.path)
        result = evaluate(run, run.experiment.evaluate)
        result.keep(run.path)
        found[each.label] = Learned(result.accounting, result.record)
        log_prob = figures.log_prob_of(run.model, num_samples=DRAWS_OF_MAPS)
        samples = sample_raw(run.model, run.spec, NUM_POINTS, seed=0)
        shown.append(Shown(each.label, result.accounting, log_prob, samples))
    Console().print(accounting_table({each.label: each.accounting for each in shown}, HALF_MOONS_ENTROPY))
    above = [each.accounting.importance_weighted.value - HALF_MOONS_ENTROPY for each in shown]
    done = runs[0].experiment.train.epochs
    rows = runs[0].test(NUM_POINTS).x[:]
    figure = overview(rows, shown, HALF_MOONS_ENTROPY, moons.title.format(*above, epochs=done))
    say(f"{moons.says.format(*above, epochs=done)}\nwrote {plots.save(figure, output / f'{moons.picture}.png')}")
    return found


def _trained(model: Model, run_dir: Path, epochs: int | None) -> Run:
    """Train it as the command that is printed would."""
    file, overrides = experiments.ours(f"{model.experiment}.toml"), list(model.overrides)
    settings = experiments.read(file, overrides)
    if epochs is not None and epochs < settings.train.epochs:
        overrides.append(f"train.epochs={epochs}")
        settings = experiments.read(file, overrides)
    options = [word for override in overrides for word in ("--set", override)]
    command("train", model.experiment, *options, "--run-dir", run_dir)
    train_run(settings, run_dir, overwrite=True, label=model.label)
    return Run.open(run_dir, device_on("auto"))
