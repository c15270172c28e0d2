"""The models of a table, by name or to choose among, each with the settings that suit its number of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from marginflow.data import DataSpec
from marginflow.data.schema import Schema
from marginflow.models import MIXTURES, TABLE_MODELS
from marginflow.training.batch_size import suggested_batch_size

COMPONENTS = (1, 2, 3, 4, 6, 8, 12, 20, 30)  # of mixtures of Gaussians
ROWS_A_COMPONENT = 5  # at least
PASSES = 60  # of a training, which at the suggested batch size are 30 sqrt(N) steps,
MOST_PASSES = 200  # of one that validation rows end
STEPS = 4000  # and at most these
STEPS_OF_TRIAL = 600  # where a candidate is only tried
BATCHES, LEAST_BATCH = 8, 16  # of few rows an epoch has so many batches, of at least so many rows
RATE = 2e-3  # at most: the suggested rates are for trainings without dropout, at a constant rate
FOR_NETWORKS, MANY = 100, 1000  # rows, from which on networks are tried, and from which on they are many
NARROW, WIDE, LOW = 64, 128, 8  # hidden units; the narrow are for few rows of at most so many columns
FOR_ONE_ORDER, ONE_ORDER = 4000, 10_000  # rows, from which on one order of columns is tried, and from which on alone
OF_ORDERS: dict[str, Any] = {"hidden": [WIDE] * 3, "components": 3, "orders": 8, "dropout": 0.2}
BY_EM = (*MIXTURES, "mixture")
EM = {"epochs": 60, "validate_every": 5}  # an epoch is a step of EM
EM_UNTIL_NO_BETTER = {"epochs": 200}
UNTIL_NO_BETTER = {"patience": 10, "validate_every": 1}


@dataclass(frozen=True)
class Candidate:
    """A model that may be chosen.

    Attributes:
        name: such as "maf_mog", or "gaussian_mixture of 8".
        tables: of an experiment: model, preprocess and train.
    """

    name: str
    tables: dict[str, dict[str, Any]]

    def under(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        """The tables of an experiment: these, and above them what a user says; the order of a user is the only one."""
        own = {section: {**table, **tables.get(section, {})} for section, table in self.tables.items()}
        asked = tables.get("model", {})
        if "order" in asked and "orders" not in asked:
            own["model"].pop("orders", None)
        return {**tables, **own}

    def until_no_better(self) -> Candidate:
        """The same, trained until validation rows no longer gain."""
        train = {**self.tables["train"], **UNTIL_NO_BETTER}
        if self.model in BY_EM:
            train |= EM_UNTIL_NO_BETTER
        return replace(self, tables={**self.tables, "train": train})

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.tables["model"]["name"]


def are_real(schema: Schema | None) -> bool:
    """Whether all columns are real numbers without blanks, spikes and bounds, so that a flow takes them as they are."""
    return schema is None or all(
        each.kind == "real" and not each.blank and not each.atoms and each.lower is None and each.upper is None
        for each in schema.modelled
    )


def candidates(
    spec: DataSpec, num_rows: int, *, on_trial: bool = False, of_any_kind: bool = False
) -> Iterator[Candidate]:
    """The models for rows of this kind.

    Of real numbers: mixtures of Gaussians, `maf_mog`, `nsf` and `maf` with dropout, and `mixed`, whose columns are
    warped. Of other columns: mixtures of independent columns, and `mixed`, which averages eight orders of the columns
    where rows are few.

    Args:
        spec: of the rows.
        num_rows: to train on.
        on_trial: whether the trainings are short, by which the best is found that is trained to its end.
        of_any_kind: whether real columns are taken like all others.

    Yields:
        The candidates, the simplest first.
    """
    steps = STEPS_OF_TRIAL if on_trial else STEPS
    of_kind = _of_real_numbers if are_real(spec.schema) and not of_any_kind else _of_any_kind
    yield from of_kind(spec, num_rows, steps)


def _of_real_numbers(spec: DataSpec, num_rows: int, steps: int) -> Iterator[Candidate]:
    if not spec.context_features:
        for components in _components(COMPONENTS, num_rows):
            yield _standardised({"name": "gaussian_mixture", "components": components}, EM, f" of {components}")
    if num_rows >= FOR_NETWORKS or spec.context_features:
        yield from _networks_of_real_numbers(spec, num_rows, steps)


def _networks_of_real_numbers(spec: DataSpec, num_rows: int, steps: int) -> Iterator[Candidate]:
    width = NARROW if num_rows < MANY and spec.features <= LOW else WIDE
    network = {"hidden": [width, width], "dropout": 0.2}
    short, *more = lengths = (20, 80) if num_rows < MANY else (60,)
    for model in ({"name": "maf_mog", **network, "blocks": 3}, {"name": "maf", **network, "blocks": 5}):
        for passes in lengths:
            name = f", {passes} passes" if more else ""
            yield _standardised(model, by_steps(num_rows, steps, passes), name)
    yield _standardised({"name": "nsf", **network, "blocks": 3}, by_steps(num_rows, steps))
    few = {"hidden": [width] * 3, "dropout": 0.2}
    model = {"name": "mixed", **(few if num_rows < ONE_ORDER else {"hidden": [4 * WIDE] * 3, "dropout": 0.0})}
    yield Candidate("mixed", {"model": model, "train": by_steps(num_rows, steps, short)})


def _components(wanted: Iterable[int], num_rows: int) -> Iterator[int]:
    """Those numbers of components for which there are rows."""
    return (each for each in wanted if each == 1 or each * ROWS_A_COMPONENT <= num_rows)


def _standardised(model: dict[str, Any], train: dict[str, Any], more: str = "") -> Candidate:
    tables = {"preprocess": {"standardise": True}, "model": model, "train": train}
    return Candidate(f"{model['name']}{more}", tables)


def _of_any_kind(spec: DataSpec, num_rows: int, steps: int) -> Iterator[Candidate]:
    for components in _components((1, 8, 32, 128), num_rows):
        model = {"name": "mixture", "components": components}
        yield Candidate(f"mixture of {components}", {"model": model, "train": EM})
    yield from _networks_of_any_kind(num_rows, steps)


def _networks_of_any_kind(num_rows: int, steps: int) -> Iterator[Candidate]:
    if num_rows < ONE_ORDER:
        for passes in (20, 60):
            model = {"name": "mixed", **OF_ORDERS}
            train = by_steps(num_rows, steps, passes)
            yield Candidate(f"mixed of {model['orders']} orders, {passes} passes", {"model": model, "train": train})
    if num_rows >= FOR_ONE_ORDER:
        dropout = 0.1 if num_rows < ONE_ORDER else 0.0  # validation rows end a training before it is of use
        model = {"name": "mixed", "hidden": [2 * WIDE] * 5, "dropout": dropout}
        yield Candidate("mixed", {"model": model, "train": by_steps(num_rows, steps, 20)})


def known_as(name: str, num_rows: int, *, on_trial: bool = False) -> Candidate:
    """A model by its name that is none of the candidates, as it stands, trained as they are."""
    preprocess = {} if name in TABLE_MODELS else {"preprocess": {"standardise": True}}
    train = EM if name in BY_EM else by_steps(num_rows, STEPS_OF_TRIAL if on_trial else STEPS)
    return Candidate(name, {**preprocess, "model": {"name": name}, "train": train})


def named(name: str, spec: DataSpec, num_rows: int) -> Candidate:
    """A model by its name without trials: a network as among the candidates, any other as it stands.

    Args:
        name: of the model.
        spec: of the rows.
        num_rows: to train on.

    Returns:
        The candidate, trained until validation rows no longer gain.
    """
    of_real = are_real(spec.schema)
    networks = _networks_of_real_numbers(spec, num_rows, STEPS) if of_real else _networks_of_any_kind(num_rows, STEPS)
    found = next((each for each in networks if each.model == name), known_as(name, num_rows))
    train = EM if name in BY_EM else by_steps(num_rows, STEPS, MOST_PASSES)
    return replace(found, name=name, tables={**found.tables, "train": train}).until_no_better()


def by_steps(num_rows: int, most: int, passes: int = PASSES) -> dict[str, Any]:
    """How a network is trained on so many rows: passes at the suggested batch size, in all at most so many steps."""
    suggested = suggested_batch_size(num_rows)
    size = min(suggested.size, max(LEAST_BATCH, num_rows // BATCHES), num_rows)
    a_pass = max(num_rows // size, 1)
    epochs = max(1, min(passes, most // a_pass))
    return {
        "epochs": epochs,
        "batch_size": size,
        "lr": min(suggested.lr, RATE),
        "schedule": "cosine",
        "warmup_steps": min(100, epochs * a_pass // 10),
        "ema": 0.98,
        "clip_norm": 20.0,
    }
