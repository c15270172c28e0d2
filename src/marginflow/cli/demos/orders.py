"""A table of orders: trained on, new orders scored, others drawn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import pyarrow as pa
import torch
from pyarrow import csv
from rich.console import Console
from torch import Tensor

from marginflow.base.devices import device_on
from marginflow.base.moments import Estimate
from marginflow.cli.demos.show import command, rows, say
from marginflow.cli.score import write_scores
from marginflow.cli.train import train_run
from marginflow.data import Schema
from marginflow.data.example_orders import example_orders, log_prob_of_orders
from marginflow.data.tables.decode import decoded
from marginflow.data.tables.write import write
from marginflow.estimators.for_table import named_for
from marginflow.evaluation.evaluate import Accounting
from marginflow.evaluation.sample import RawSamples
from marginflow.report import plots
from marginflow.report.estimates import with_error
from marginflow.report.tables import accounting_table
from marginflow.runs import experiments
from marginflow.runs.evaluate import evaluate, rows_of_table
from marginflow.runs.held_out import held_out_for
from marginflow.runs.run import Run
from marginflow.runs.score import Scorer

RUN, MODEL = "orders", "mixed"
NUM_ORDERS, NUM_NEW, NUM_DRAWN = 2000, 1000, 1000
MOST_EPOCHS = 100  # it ends before, as it learns no more
LEAST_LIKELY = 6  # are shown
SIDE_BY_SIDE = 5
CONTAMINATION = 0.01  # the share of orders that is flagged
# orders that nobody would place: each odd in one column, given the others
ODD = (
    (date(2024, 5, 14), "web", "kitchen", 1, 4990.00, 4, None),  # the decimal point lost
    (date(2024, 6, 8), "web", "toys", 1, 19.90, 48, 1),  # delivered after seven weeks
    (date(2024, 8, 23), "phone", "kitchen", 6, 12.50, 5, None),  # six pieces for a quarter of the price of one
    (date(2024, 11, 12), "web", "books", 25, 260.00, 3, 5),  # more copies than anybody buys
)


@dataclass(frozen=True)
class Orders:
    """What the demo has found: on held-out orders the accounting, and by how much -log p lies above that of their own
    law; new orders with their scores; orders that the model drew.
    """

    accounting: Accounting
    above: Estimate
    scored: pa.Table
    drawn: pa.Table


def orders(output: Path, epochs: int | None = None) -> Orders:
    """Write the orders, train on them, score new ones, draw others; print the commands and what they tell.

    epochs: of the training, at most.
    """
    table = output / "orders.csv"
    csv.write_csv(example_orders(NUM_ORDERS), table)
    say(f"{table}: {NUM_ORDERS:,} orders, made up, with a row number, a date, categories, a count, amounts, blanks")
    run = _trained(table, output / RUN, epochs)
    accounting, above = _held_out(run)
    return Orders(accounting, above, _scored(run, output), _drawn(run, output, table))


def _trained(table: Path, run_dir: Path, epochs: int | None) -> Run:
    epochs = MOST_EPOCHS if epochs is None else min(epochs, MOST_EPOCHS)
    command("train", table, "--model", MODEL, "--set", f"train.epochs={epochs}", "--run-dir", run_dir)
    given = [f"model.name={MODEL}", f"train.epochs={epochs}"]
    settings = experiments.read(table, given)
    train_run(settings, run_dir, overwrite=True, label="orders", suits=partial(named_for, [table], given))
    return Run.open(run_dir, device_on("auto"))


def _held_out(run: Run) -> tuple[Accounting, Estimate]:
    """The accounting on held-out orders; the mean of what -log p by the model lies above that by their own law."""
    command("evaluate", run.path)
    found: list[Tensor] = []
    result = evaluate(run, run.experiment.evaluate, each_row=lambda each: found.extend(one.log_prob for one in each))
    result.keep(run.path)
    true = torch.from_numpy(log_prob_of_orders(decoded(run.test().x[:], _schema(run))))
    above = Estimate.of(true - torch.cat(found).cpu())
    Console().print(accounting_table({"orders": result.accounting}))
    say(
        f"the law that drew them has {with_error(*_mean(-true))} on the same orders; the model lies "
        f"{with_error(above.value, above.standard_error)} above it"
    )
    return result.accounting, above


def _scored(run: Run, output: Path) -> pa.Table:
    """New orders with a few odd ones among them, scored; the least likely are shown."""
    file, to = output / "new_orders.csv", output / "new_orders.scored.csv"
    csv.write_csv(_with_odd(example_orders(NUM_NEW, seed=1)), file)
    command("score", run.path, file, "-o", to)
    held_out, _ = held_out_for(run)
    write_scores(run, Scorer(run, held_out, CONTAMINATION, 1, 0), file, to)
    scored = csv.read_csv(to)
    least = scored.sort_by("log_prob").slice(0, LEAST_LIKELY)
    odd = scored["order"].to_pylist()[-len(ODD) :]
    about = f"the {LEAST_LIKELY} least likely of {scored.num_rows:,} new orders; {odd[0]} to {odd[-1]} are made up"
    more = {
        "log p": [f"{each:.1f}" for each in least["log_prob"].to_pylist()],
        "percentile": [f"{each:.1f}" for each in least["percentile"].to_pylist()],
        "unusual column": least["unusual_column"].to_pylist(),
    }
    rows(least.select(csv.read_csv(file).column_names), about, more)
    say("percentile: the share of held-out orders that are as unusual; then the column furthest below its mean")
    return scored


def _drawn(run: Run, output: Path, table: Path) -> pa.Table:
    """Orders that the model draws: written, some shown beside real ones, their columns drawn beside held-out ones."""
    file = output / "orders.drawn.csv"
    command("sample", run.path, "-n", NUM_DRAWN, "-o", file)
    samples = torch.cat(list(RawSamples(run.model, run.spec, NUM_DRAWN, 0)))
    write([samples], run.spec, file)
    drawn = csv.read_csv(file)
    real = csv.read_csv(table).select(drawn.column_names)
    rows(real.slice(0, SIDE_BY_SIDE), f"{SIDE_BY_SIDE} orders of the table")
    rows(drawn.slice(0, SIDE_BY_SIDE), f"\n{SIDE_BY_SIDE} that the model drew")
    fresh = torch.cat([each.rows.take().x for each in rows_of_table(run, str(output / "new_orders.csv"), NUM_NEW)])
    plots.save(plots.column_marginals(fresh, samples, _schema(run)), output / "orders.png")
    return drawn


def _with_odd(table: pa.Table) -> pa.Table:
    """The odd orders behind a table, numbered on."""
    first = table["order"][-1].as_py() + 1
    odd = [dict(zip(table.column_names, (first + i, *each), strict=True)) for i, each in enumerate(ODD)]
    return pa.concat_tables([table, pa.Table.from_pylist(odd, schema=table.schema)])


def _schema(run: Run) -> Schema:
    assert run.spec.schema is not None
    return run.spec.schema


def _mean(values: Tensor) -> tuple[float, float]:
    found = Estimate.of(values)
    return found.value, found.standard_error
