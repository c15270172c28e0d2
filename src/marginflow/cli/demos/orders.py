"""A table of orders: trained on, new orders scored, others drawn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pyarrow import csv
from rich.console import Console
from torch import Tensor

from marginflow.base.devices import device_on
from marginflow.base.moments import Estimate
from marginflow.cli.demos.show import command, rows, say
from marginflow.cli.train import train_run
from marginflow.cli.train_table import experiment_for
from marginflow.data import Batch, Schema
from marginflow.data.example_orders import example_orders, log_prob_of_orders
from marginflow.data.tables.decode import decoded
from marginflow.data.tables.write import write
from marginflow.distributions import Flow
from marginflow.evaluation.evaluate import Accounting, score
from marginflow.evaluation.sample import RawSamples
from marginflow.report import plots
from marginflow.report.estimates import with_error
from marginflow.report.tables import accounting_table
from marginflow.runs import experiments
from marginflow.runs.evaluate import evaluate, rows_of_table
from marginflow.runs.run import Run

RUN = "orders"
NUM_ORDERS, NUM_NEW, NUM_DRAWN = 2000, 1000, 1000
MOST_EPOCHS = 100  # it ends before, as it learns no more
LEAST_LIKELY = 6  # are shown
SIDE_BY_SIDE = 5
COMPARED = 200  # held-out values that a value is compared with
# orders that nobody would place: each odd in one column, given the others
ODD = (
    (date(2024, 5, 14), "web", "kitchen", 1, 4990.00, 4, None),  # the decimal point lost
    (date(2024, 6, 8), "web", "toys", 1, 19.90, 48, 1),  # delivered after seven weeks
    (date(2024, 8, 23), "phone", "kitchen", 6, 12.50, 5, None),  # six pieces for a quarter of the price of one
    (date(2024, 11, 12), "web", "books", 25, 260.00, 3, 5),  # more copies than anybody buys
)


@dataclass(frozen=True)
class Scores:
    """Scores of rows: log p (N,); the share of held-out rows, in percent, that are less likely; the oddest column."""

    log_prob: np.ndarray
    percentile: np.ndarray
    oddest: list[str]


@dataclass(frozen=True)
class Orders:
    """What the demo has found: on held-out orders the accounting, and by how much -log p lies above that of their own
    law; new orders and their scores; orders that the model drew.
    """

    accounting: Accounting
    above: Estimate
    new: pa.Table
    scores: Scores
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
    new, scores = _new_orders(run, output)
    return Orders(accounting, above, new, scores, _drawn(run, output, table))


def _trained(table: Path, run_dir: Path, epochs: int | None) -> Run:
    given = ["model.name=mixed", *([] if epochs is None else [f"train.epochs={min(epochs, MOST_EPOCHS)}"])]
    command("train", table, *(word for each in given for word in ("--set", each)), "--run-dir", run_dir)
    settings = experiments.read(table, given)
    train_run(settings, run_dir, overwrite=True, label="orders", suits=partial(experiment_for, overrides=given))
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


def _new_orders(run: Run, output: Path) -> tuple[pa.Table, Scores]:
    """New orders with a few odd ones among them, scored; the least likely are shown."""
    file, scored = output / "new_orders.csv", output / "new_orders.scored.csv"
    new = _with_odd(example_orders(NUM_NEW, seed=1))
    csv.write_csv(new, file)
    command("score", file.parent / RUN, file, "-o", scored)
    scores = score_orders(run, file)
    columns = {"log_prob": scores.log_prob, "percentile": scores.percentile, "outlier": scores.oddest}
    csv.write_csv(pa.table({**{name: new[name] for name in new.column_names}, **columns}), scored)
    least = np.argsort(scores.log_prob)[:LEAST_LIKELY]
    more = {
        "log p": [f"{scores.log_prob[i]:.1f}" for i in least],
        "below": [f"{scores.percentile[i]:.1f}%" for i in least],
        "oddest": [scores.oddest[i] for i in least],
    }
    odd = new["order"].to_pylist()[-len(ODD) :]
    about = (
        f"of {new.num_rows:,} new orders the {LEAST_LIKELY} least likely; {odd[0]} to {odd[-1]} were made up to be odd"
    )
    rows(new.take(least), about, more)
    say("below: held-out orders that are less likely; oddest: the column that other values would make likelier by most")
    return new, scores


def score_orders(run: Run, file: Path) -> Scores:
    """log p of each row of a file, what share of held-out rows is less likely, and the oddest column of the rarest."""
    held_out = torch.cat([run.data.validation.take().x, run.data.test.take().x])
    x = torch.cat([each.take().x for each in rows_of_table(run, str(file))])
    known, log_prob = (score(run.model, Batch(each)).log_prob.cpu().numpy() for each in (held_out, x))
    percentile = 100 * np.searchsorted(np.sort(known), log_prob) / len(known)
    names = _schema(run).names
    rare = set(np.argsort(log_prob)[:LEAST_LIKELY].tolist())
    oddest = [names[_oddest(run.model, x[i], held_out[:COMPARED])] if i in rare else "" for i in range(len(x))]
    return Scores(log_prob, percentile, oddest)


def _oddest(model: Flow, row: Tensor, others: Tensor) -> int:
    """The place of the column in which the row is oddest: values of other rows would make it likelier by most.

    The largest of log mean over v of p(row with column = v), v the values of the column in other rows.
    """
    places = torch.arange(len(row))
    changed = row.repeat(len(row), len(others), 1)
    changed[places, :, places] = others.T
    log_prob = score(model, Batch(changed.flatten(0, 1))).log_prob.reshape(len(row), len(others))
    return int(log_prob.logsumexp(1).argmax())


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
    fresh = torch.cat([each.take().x for each in rows_of_table(run, str(output / "new_orders.csv"), NUM_NEW)])
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
