"""A label may be given by name or by number, wherever a context may."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import marginflow as mf
from marginflow import models
from marginflow.base.labels import as_one_hot
from marginflow.base.seeds import seeded
from marginflow.data import DataSpec
from marginflow.distributions import Distribution, LabelMixture
from marginflow.evaluation.sample import sample_raw

NAMES = ("cat", "dog", "eel")
PLACES = [1, 0, 2, 2, 1]


def conditional() -> Distribution:
    torch.default_generator.manual_seed(0)
    model = models.maf(2, hidden=[8], blocks=1, context_features=3).eval()
    model.spec = DataSpec((2,), context_features=3, labels=NAMES)
    return model


def mixture() -> Distribution:
    model = LabelMixture(conditional(), 3).eval()
    model.spec = DataSpec((2,), context_features=3, labels=NAMES)
    return model


def rows() -> Tensor:
    return torch.arange(10.0).view(5, 2) / 5 - 1


LABELS: dict[str, Any] = {
    "names": [NAMES[place] for place in PLACES],
    "a tuple": tuple(NAMES[place] for place in PLACES),
    "an array of names": np.array([NAMES[place] for place in PLACES]),
    "an array of objects": np.array([NAMES[place] for place in PLACES], object),
    "numbers": PLACES,
    "an array of numbers": np.array(PLACES, np.int8),
    "an array of real numbers": np.array(PLACES, float),
    "a list of real numbers": [float(place) for place in PLACES],
    "a tensor": torch.tensor(PLACES),
}
ONE: dict[str, Any] = {"a name": "dog", "a list of one": ["dog"], "a number": 1, "of numpy's": np.int64(1),
                       "real": 1.0, "a list of a real one": [1.0]}  # fmt: skip
CALLS: dict[str, Callable[[Distribution, Any], Any]] = {
    "log_prob": lambda m, c: m.log_prob(rows(), c),
    "sample": lambda m, c: m.sample(5, c),
    "marginflow.sample": lambda m, c: mf.sample(m, 5, c).x,
    "sample_and_log_prob": lambda m, c: m.sample_and_log_prob(5, c)[1],
    "log_likelihood": lambda m, c: mf.log_likelihood(m, rows(), c).log_prob,
    "evaluate": lambda m, c: torch.tensor(mf.evaluate(m, (rows(), c)).raw_nll),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("make", [conditional, mixture])
def test_labels_are_their_one_hot_vectors(make: Callable[[], Distribution], call: str) -> None:
    model = make()
    each = torch.eye(3)[PLACES]
    for given, meant in [(labels, each) for labels in LABELS.values()] + [(one, each[0]) for one in ONE.values()]:
        with seeded(1):
            expected = CALLS[call](model, meant)
        with seeded(1):
            torch.testing.assert_close(CALLS[call](model, given), expected, rtol=0, atol=0)


def test_a_model_is_trained_on_labels_and_keeps_their_names() -> None:
    histories = []
    for labels in (LABELS["names"] * 8, torch.eye(3)[PLACES * 8]):
        model = mixture()
        x = torch.randn(8 * len(PLACES), 2, generator=torch.Generator().manual_seed(1))
        history = mf.fit(model, (x, labels), {"epochs": 1, "batch_size": 8})
        histories.append(history[-1].validation_nll)
        assert model.spec is not None
        assert model.spec.labels == NAMES
    assert histories[0] == histories[1]


def test_names_that_are_numbers_are_names() -> None:
    for number, place in ((1, 0), (3, 2)):
        assert torch.as_tensor(as_one_hot(number, ("1", "2", "3"), 4)).tolist() == [torch.eye(3)[place].tolist()]
    with pytest.raises(ValueError, match="label '0', which the model does not know; it knows '1', '2', '3'"):
        as_one_hot(0, ("1", "2", "3"), 4)
    assert torch.as_tensor(as_one_hot([True, False], ("False", "True"), 2)).tolist() == [[0, 1], [1, 0]]


def test_a_mixture_without_names_takes_numbers() -> None:
    model = LabelMixture(models.maf(2, hidden=[8], context_features=3), 3)
    torch.testing.assert_close(model.log_prob(rows(), PLACES), model.log_prob(rows(), model.one_hot(PLACES)))
    torch.testing.assert_close(model.log_prob(rows()[:3], [0, 1, 2]), model.log_prob(rows()[:3], torch.eye(3)))
    torch.testing.assert_close(model.log_prob(rows(), [0, 1, 0]), model.log_prob(rows(), model.one_hot([1] * 5)))
    with pytest.raises(ValueError, match="label '3', which the model does not know; it knows '0', '1', '2'"):
        model.log_prob(rows(), 3)


WRONG = {
    "another name": ("dgo", "label 'dgo', which the model does not know; did you mean dog?"),
    "names of too many": (["cat"] * 4, "labels must be one for all 5 rows, or one for each; got 4"),
    "numbers of too many": ([0, 1, 2, 1], "labels must be one for all 5 rows, or one for each; got 4"),
    "real ones of too many": ([0.0, 1.0, 2.0, 1.0], "labels must be one for all 5 rows, or one for each; got 4"),
    "real ones that are none": ([0.0, 1.0, 7.0, 1.0, 0.0], "labels must lie in 0 ... 2; got 7"),
    "less than none": (-1, "labels must lie in 0 ... 2; got -1"),
    "true": (True, "label 'True', which the model does not know"),
    "two a row": ([["cat"], ["dog"]], "context must be|labels must be one a row"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("make", [conditional, mixture])
def test_labels_that_are_none_are_refused_in_words(make: Callable[[], Distribution], kind: str) -> None:
    given, message = WRONG[kind]
    pattern = "|".join(map(re.escape, message.split("|")))
    for call in CALLS.values():
        with pytest.raises(ValueError, match=pattern):
            call(make(), given)


def test_what_may_be_labels_or_a_vector_is_asked_about() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1, 0\] may be labels of 3 rows, or one one-hot vector for all"):
        mixture().log_prob(rows()[:3], [0, 1, 0])
    with pytest.raises(ValueError, match="no labels are known of this model"):
        models.maf(2, hidden=[8], context_features=3).log_prob(rows(), "cat")
    with pytest.raises(ValueError, match="context must be real numbers; got str"):
        models.maf(2, hidden=[8]).log_prob(rows(), "cat")


def test_as_many_labels_as_classes_are_no_vector() -> None:
    """Three labels of three rows, of real numbers and of truth values too."""
    for make in (conditional, mixture):
        for labels in ([0.0, 1.0, 2.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]):
            expected = make().log_prob(rows()[:3], torch.eye(3)[[int(label) for label in labels]])
            torch.testing.assert_close(make().log_prob(rows()[:3], np.array(labels)), expected, rtol=0, atol=0)
        with pytest.raises(ValueError, match=r"\[True, False, False\] may be labels of 3 rows, or one one-hot vector"):
            make().log_prob(rows()[:3], [True, False, False])


NOT_ONE_HOT = {
    "no class": [[0, 0, 0]] * 5, "two classes": [[1.0, 1.0, 0.0]] * 5, "shares": [[0.5, 0.5, 0.0]] * 5,
    "random": torch.linspace(-1, 1, 15).view(5, 3), "one for all": [0.2, 0.3, 0.5], "twice": [[0, 2, -1]] * 5,
}  # fmt: skip


@pytest.mark.parametrize("kind", NOT_ONE_HOT)
def test_a_mixture_refuses_contexts_that_are_no_labels(kind: str) -> None:
    for call in {**CALLS, "fit": lambda m, c: mf.fit(m, (rows(), c), {"epochs": 1, "batch_size": 2})}.values():
        for model in (mixture(), mf.Flow([], mixture())):
            with pytest.raises(ValueError, match=r"labels are one-hot vectors, one 1 and else 0; got .* in row 0"):
                call(model, NOT_ONE_HOT[kind])


def test_labels_for_a_model_that_knows_none_come_with_a_remedy() -> None:
    model, labels = models.maf(2, hidden=[8], context_features=3), np.array(PLACES, float)
    with pytest.raises(ValueError, match=r"for labels give (torch\.nn\.functional\.one_hot\(.*, 3\))$") as caught:
        mf.fit(model, (rows(), labels))
    given = eval(str(caught.value).partition(": for labels give ")[2], {"torch": torch, "labels": labels})
    assert given.tolist() == torch.eye(3)[PLACES].long().tolist()
    assert model.log_prob(rows(), given).shape == (5,)


def test_samples_of_a_label_by_name_or_number() -> None:
    model = mf.Flow([], mixture())
    spec = DataSpec((2,), context_features=3, labels=NAMES)
    assert torch.equal(sample_raw(model, spec, 4, 0, label="dog"), sample_raw(model, spec, 4, 0, label=1))
    with pytest.raises(ValueError, match="label 'cow', which the model does not know; it knows 'cat', 'dog', 'eel'"):
        sample_raw(model, spec, 4, 0, label="cow")
