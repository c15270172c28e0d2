"""Every public call takes rows, contexts and sizes as a caller has them, or refuses them in the same words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import nflows.distributions
import numpy as np
import pytest
import torch
import zuko
from helpers import Series
from registry import DISTRIBUTIONS, build_distribution, concrete_classes
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import marginflow as mf
from marginflow import models
from marginflow.base.distribution import Distribution
from marginflow.base.noise_sites import draw_noise
from marginflow.base.seeds import seeded
from marginflow.distributions import DiagonalNormal, Flow, LabelMixture, Marginalising, StandardNormal
from marginflow.evaluation.layer_outputs import by_layer
from marginflow.interop import to_torch
from marginflow.nets import MLP
from marginflow.training import TrainConfig
from marginflow.transforms import Dequantise, Flatten, Logit, Planar

N, D, C, E = 24, 3, 2, 2
Call = Callable[[Distribution, Any, Any], object]


def noisy(width: int = C) -> Marginalising:
    torch.default_generator.manual_seed(0)
    return Marginalising(models.maf(D + E, hidden=[8], blocks=2, context_features=width), StandardNormal(E)).eval()


def rows() -> Tensor:
    """Whole numbers, so that they stay what they are in every type."""
    return torch.arange(N * D).reshape(N, D).mul(7).remainder(5) - 2.0


def context() -> Tensor:
    return torch.arange(N * C).reshape(N, C).remainder(3) - 1.0


def trained(model: Distribution, x: Any, c: Any) -> object:
    history = mf.fit(model, x if c is None else (x, c), TrainConfig(epochs=1, batch_size=8))
    return [(record.train_nll, record.validation_nll) for record in history]


def noise_of(number: int) -> Tensor:
    return torch.ones(number, E) / 2


OF_ROWS: dict[str, Call] = {
    "log_prob": lambda m, x, c: m.log_prob(x, c),
    "call": lambda m, x, c: m(x, c),
    "noise": lambda m, x, c: draw_noise(m.noise(x, c)),
    "log_likelihood": lambda m, x, c: mf.log_likelihood(m, x, c, num_samples=3).log_prob,
    "evaluate": lambda m, x, c: mf.evaluate(m, x if c is None else (x, c)).bound.value,
    "layer outputs": lambda m, x, c: list(by_layer(m, x, c).values()),
}
IN_TORCH: dict[str, Call] = {  # whose batch shapes are torch's own
    "to_torch.log_prob": lambda m, x, c: to_torch(m.flow, c).log_prob(torch.cat([torch.as_tensor(x), noise_of(N)], 1)),
    "to_torch.sample": lambda m, n, c: to_torch(m.flow, c).sample(),
}
OF_MANY: dict[str, Call] = {
    **OF_ROWS,
    "log_weight": lambda m, x, c: m.log_weight(x, [noise_of(N)], c),
    "log_joint": lambda m, x, c: m.log_joint(x, noise_of(N), c),
    "check": lambda m, x, c: str(mf.check(m, x, c)),
    "fit": trained,
}
OF_SIZES: dict[str, Call] = {
    "sample": lambda m, n, c: m.sample(n, c),
    "sample_and_flag": lambda m, n, c: m.sample_and_flag(n, c),
    "marginflow.sample": lambda m, n, c: mf.sample(m, n, c).x,
    "sample_and_log_prob": lambda m, n, c: m.flow.sample_and_log_prob(n, c),
}

ROWS: dict[str, Callable[[Tensor], Any]] = {
    "float32": lambda x: x.float(),
    "float16": lambda x: x.half(),
    "whole numbers": lambda x: x.long(),
    "short whole numbers": lambda x: x.to(torch.int16),
    "array": lambda x: x.numpy(),
    "array of float32": lambda x: x.float().numpy(),
    "array of whole numbers": lambda x: x.numpy().astype(np.int32),
    "array that may not be written": lambda x: np.broadcast_to(x.numpy(), x.shape),
    "array backwards": lambda x: x.numpy()[::-1].copy()[::-1],
    "array of other byte order": lambda x: x.numpy().astype(">f8"),
    "array of long doubles": lambda x: x.numpy().astype(np.longdouble),
    "lists": lambda x: x.tolist(),
    "lists of whole numbers": lambda x: x.long().tolist(),
    "list of tensors": list,
    "list of arrays": lambda x: list(x.numpy()),
    "not contiguous": lambda x: x.T.contiguous().T,
}
BAD_ROWS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "another width": (lambda x: x[:, 1:], r"x must have shape \(N, 3\), one row an event; got \(24, 2\)"),
    "one dimension too many": (lambda x: x[None], r"x must have shape \(N, 3\), one row an event; got \(1, 24, 3\)"),
    "one number": (lambda x: 1.0, r"x must have shape \(N, 3\), one row an event; got \(\)"),
    "pixels": (lambda x: x.abs().to(torch.uint8), r"x is uint8, as pixels are: put Dequantise\(levels\) in front"),
    "complex": (lambda x: x + 1j, "must be real numbers; got torch.complex128"),
    "complex array": (lambda x: x.numpy() + 1j, "must be real numbers; got ndarray of complex128"),
    "words": (lambda x: [["a", "b", "c"]] * N, "must be real numbers; got list of <U1"),
    "objects": (lambda x: x.numpy().astype(object), "must be real numbers; got ndarray of object"),
    "rows of other lengths": (lambda x: [[0.0], [0.0, 1.0]], "must be numbers, in rows of one length; got list"),
    "nothing": (lambda x: None, "must be real numbers; got NoneType of object: give a tensor, an array, or lists"),
    "columns in a dict": (
        lambda x: dict(zip("abc", x.T, strict=True)),
        r"dict of object: .* numpy\.column_stack\(list\(",
    ),
    "a set": (lambda x: {1.0, 2.0}, "set of object: it has no order, give a list"),
    "a generator": (
        iter,
        r"_iterator of object: give its rows in a list, list\(values\)|generator of object: give its",
    ),
    "a loader": (lambda x: DataLoader(TensorDataset(x)), "DataLoader of object: give the rows that it reads"),
    "none among numbers": (lambda x: [[None, 1.0, 2.0]] * N, "it holds None, remove or fill these first"),
}
CONTEXTS = {
    **ROWS,
    "one row": lambda c: c[3],
    "one row of its own": lambda c: c[3:4],
    "list of one": lambda c: c[3].tolist(),
}
BAD_CONTEXTS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "none": (lambda c: None, r"this model takes a context of 2 features, \(24, 2\) or \(2,\); got none"),
    "another width": (lambda c: c[:, 1:], r"must have shape \(24, 2\), .* or \(2,\), one for all; got \(24, 1\)"),
    "too few": (lambda c: c[1:], r"context must have shape \(24, 2\), a row for each row, .*; got \(23, 2\)"),
    "too many": (
        lambda c: torch.cat([c, c]),
        r"context must have shape \(24, 2\), a row for each row, .*; got \(48, 2\)",
    ),
    "one number": (lambda c: 1.0, r"context must have shape \(24, 2\), .*; got \(\)"),
    "a row of another width": (lambda c: c[0, :1], r"context must have shape \(24, 2\), .*; got \(1,\)"),
    "words": (lambda c: [["a", "b"]] * N, "context must be real numbers; got list of <U1"),
}
SIZES = {"int64": np.int64(N), "uint8": np.uint8(N), "tensor": torch.tensor(N), "array": np.array(N)}
BAD_SIZES = {"negative": (-1, "not be negative; got -1"), "fraction": (2.5, "be a whole number; got 2.5"),
             "words": ("24", "be a whole number; got '24'"), "none": (None, "be a whole number; got None"),
             "too many": (10**30, "be at most 2,147,483,647; got 10"), "2^31": (2**31, "be at most 2,147")}  # fmt: skip


def same(call: Call, argument: Any, own: Any, expected: tuple[Any, Any]) -> None:
    results = []
    for x, c in ((argument, own), expected):
        with seeded(5):
            results.append(call(noisy(C if expected[1] is not None else 0), x, c))
    if isinstance(results[0], str):
        assert results[0] == results[1]
    else:
        torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("call", OF_MANY)
def test_rows_of_any_kind_are_the_same_rows(call: str, kind: str) -> None:
    same(OF_MANY[call], ROWS[kind](rows()), context(), (rows(), context()))


@pytest.mark.parametrize("call", OF_ROWS)
def test_one_row_may_come_without_its_dimension(call: str) -> None:
    same(OF_ROWS[call], rows()[5], context()[5], (rows()[5:6], context()[5:6]))
    same(OF_ROWS[call], rows()[5].tolist(), None, (rows()[5:6], None))


@pytest.mark.parametrize("kind", BAD_ROWS)
@pytest.mark.parametrize("call", OF_MANY)
def test_rows_that_do_not_fit_are_refused_alike(call: str, kind: str) -> None:
    make, message = BAD_ROWS[kind]
    with pytest.raises(ValueError, match=message):
        OF_MANY[call](noisy(), make(rows()), context())


@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("call", [*OF_MANY, *OF_SIZES])
def test_a_context_of_any_kind_is_the_same_and_one_row_stands_for_all(call: str, kind: str) -> None:
    whole = context()[3].expand(N, C) if "one" in kind else context()
    first = N if call in OF_SIZES else rows()
    same({**OF_MANY, **OF_SIZES}[call], first, CONTEXTS[kind](context()), (first, whole))


@pytest.mark.parametrize("kind", BAD_CONTEXTS)
@pytest.mark.parametrize("call", [*OF_MANY, *OF_SIZES])
def test_a_context_that_does_not_fit_is_refused_alike(call: str, kind: str) -> None:
    make, message = BAD_CONTEXTS[kind]
    with pytest.raises(ValueError, match=message):
        {**OF_MANY, **OF_SIZES}[call](noisy(), N if call in OF_SIZES else rows(), make(context()))


@pytest.mark.parametrize("call", [*OF_MANY, *OF_SIZES])
def test_a_context_that_nothing_uses_is_refused_alike(call: str) -> None:
    with pytest.raises(ValueError, match=r"nothing in this model uses a context; got one of shape \(24, 2\): leave it"):
        {**OF_MANY, **OF_SIZES}[call](noisy(0), N if call in OF_SIZES else rows(), context())


@pytest.mark.parametrize("call", OF_SIZES)
def test_sizes_may_be_numpys_and_are_whole(call: str) -> None:
    for size in SIZES.values():
        same(OF_SIZES[call], size, context(), (N, context()))
    for size, message in BAD_SIZES.values():
        with pytest.raises(ValueError, match=f"num_samples must {message}"):
            OF_SIZES[call](noisy(), size, context())


@pytest.mark.parametrize("kind", ROWS)
def test_a_context_of_any_kind_is_the_same_in_torchs_distributions(kind: str) -> None:
    same(IN_TORCH["to_torch.log_prob"], rows(), ROWS[kind](context()), (rows(), context()))
    same(IN_TORCH["to_torch.sample"], None, ROWS[kind](context()), (None, context()))


def test_torchs_distributions_take_values_and_images_of_context_too() -> None:
    flow = noisy().flow
    value = torch.randn(7, N, D + E)
    expected = flow.log_prob(value.reshape(-1, D + E), context().repeat(7, 1)).view(7, N)
    for given in (value, value.numpy(), value.tolist()):
        torch.testing.assert_close(to_torch(flow, context().tolist()).log_prob(given), expected)
    image = build_distribution("image normal by a network")
    c, x = DISTRIBUTIONS["image normal by a network"].context(4), torch.randn(4, 2, 3, 2)
    assert c is not None
    torch.testing.assert_close(to_torch(image, c).log_prob(x), image.log_prob(x, c))
    torch.testing.assert_close(to_torch(image, c[0]).log_prob(x), image.log_prob(x, c[0].expand(4, -1, -1, -1)))
    with pytest.raises(ValueError, match="num_samples must be at least 1; got 0"):
        to_torch(noisy(), context(), num_samples=0)


@pytest.mark.parametrize("kind", ROWS)
def test_noise_of_any_kind_is_the_same_noise(kind: str) -> None:
    eps = torch.arange(N * E).reshape(N, E).remainder(3) - 1.0
    given = ROWS[kind](eps)
    for call in (
        lambda e: noisy().log_weight(rows(), [e], context()),
        lambda e: noisy().log_joint(rows(), e, context()),
    ):
        torch.testing.assert_close(call(given), call(eps))
    torch.testing.assert_close(
        noisy().float().log_weight(rows(), [given], context())[0],
        noisy().log_joint(rows(), eps, context()).float(), rtol=1e-4, atol=1e-4,
    )  # fmt: skip


def test_noise_that_does_not_fit_is_called_eps() -> None:
    for wrong, message in (
        (torch.zeros(N, 3), r"eps must have shape \(N, 2\), one row an event; got \(24, 3\)"),
        (torch.zeros(N, 2, dtype=torch.uint8), "eps is uint8"),
        ("ab", "eps must be real numbers; got str"),
    ):
        with pytest.raises(ValueError, match=message):
            noisy().log_joint(rows(), wrong, context())


SEEDED = {
    "evaluate": lambda seed: mf.evaluate(noisy(0), rows(), seed=seed).bound.value,
    "check": lambda seed: str(mf.check(noisy(0), rows(), seed=seed)),
}
COUNTED = {
    "log_likelihood": lambda k: mf.log_likelihood(noisy(0), rows(), num_samples=k).log_prob,
    "of an exact model": lambda k: mf.log_likelihood(noisy(0).flow, torch.zeros(4, D + E), num_samples=k).log_prob,
    "chunk": lambda k: mf.log_likelihood(noisy(0), rows(), num_samples=k, chunk=k).log_prob,
    "evaluate": lambda k: mf.evaluate(noisy(0), rows(), num_samples=k).bound.value,
}


@pytest.mark.parametrize("call", SEEDED)
def test_seeds_are_whole_numbers_in_range(call: str) -> None:
    assert SEEDED[call](np.int64(3)) == SEEDED[call](3)
    for seed, message in (
        (1.5, "whole number; got 1.5"), ("1", "whole number"), (None, "whole"), (-1, "between 0 and 2"),
        (2**30, "between 0 and 2"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"seed must .*{message}"):
            SEEDED[call](seed)


@pytest.mark.parametrize("call", COUNTED)
def test_numbers_of_draws_are_whole(call: str) -> None:
    with seeded(1):
        expected = COUNTED[call](3)
    with seeded(1):
        torch.testing.assert_close(COUNTED[call](np.int64(3)), expected)
    for number in (0, -1, 2.5, "3", None if call != "chunk" else 0):
        with pytest.raises(ValueError, match=r"must be (a whole number|at least 1)"):
            COUNTED[call](number)


def test_an_accounting_is_json_whatever_the_numbers_were_of() -> None:
    found = mf.evaluate(noisy(0), rows(), num_samples=np.int64(2), seed=np.int64(1)).as_dict()
    again = json.loads(json.dumps(found))
    assert (again["num_samples"], again["seed"], again["raw_nll"]) == (2, 1, found["raw_nll"])


class Plain:
    """A density in nothing but its methods."""

    def log_prob(self, x: Tensor) -> Tensor:
        return -x.square().sum(1)

    def sample(self, num_samples: int) -> Tensor:
        return torch.zeros(num_samples, 2)


ENTRIES = {
    "sample": lambda m: mf.sample(m, 3), "evaluate": lambda m: mf.evaluate(m, torch.zeros(3, 2)),
    "check": lambda m: mf.check(m, torch.zeros(30, 2)), "fit": lambda m: mf.fit(m, torch.zeros(30, 2)),
    "fit_to_density": lambda m: mf.fit_to_density(m, lambda x: x.sum(1)), "to_torch": to_torch,
    "save": lambda m: mf.save(m, "nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_no_distribution_is_refused_alike(entry: str) -> None:
    for wrong, message in (
        (Plain(), r"Plain is not a marginflow distribution: wrap it in Flow\(\[\], base=model\)"),
        (Planar(2), r"Planar is not a marginflow distribution: wrap it in Flow\(\[model\], base=.*StandardNormal"),
        (torch.nn.Linear(2, 2), "Linear is not a marginflow distribution: build one, such as marginflow.models.maf"),
        (None, "NoneType is not a marginflow distribution: build one"),
        (models.maf, r"the function maf is not a marginflow distribution: call it, model\(...\)"),
        (Flow, r"the class Flow is not a marginflow distribution: call it, model\(...\)"),
        (torch.zeros(30, 2), "Tensor is not a marginflow distribution: the model comes first, then the rows"),
        (zuko.flows.MAF(2), r"MAF is one of zuko's, .* give marginflow\.interop\.from_zuko\(model\)"),
        (
            nflows.distributions.StandardNormal([2]),
            r"one of nflows's, .* give marginflow\.interop\.from_nflows\(model\)",
        ),
        (torch.distributions.Normal(0.0, 1.0), r"one of torch's: marginflow\.interop\.from_torch"),
    ):
        with pytest.raises(ValueError, match=message):
            ENTRIES[entry](wrong)


def test_a_density_from_elsewhere_is_asked_for_numbers_in_shape() -> None:
    class Wide(Plain):
        def log_prob(self, x: Tensor) -> Tensor:
            return super().log_prob(x)[:, None]

    class Arrays(Plain):
        def log_prob(self, x: Tensor) -> Any:
            return x.numpy().sum(1)

    class Unsure(Plain):
        event_shape, context_features = 2, None

    for wrong, message in ((Wide(), r"Wide.log_prob must give a tensor \(4,\) for so many rows; got \(4, 1\)"),
                           (Arrays(), r"must give a tensor \(4,\) for so many rows; got ndarray")):  # fmt: skip
        for call in (Flow([], wrong).log_prob, lambda x, m=wrong: mf.log_likelihood(m, x)):
            with pytest.raises(ValueError, match=message):
                call(torch.zeros(4, 2))
    assert Flow([], Unsure()).event_shape == (2,)
    with pytest.raises(ValueError, match="got the class Plain"):
        Flow([], Plain)
    with pytest.raises(ValueError, match=r"MultivariateNormal is one of torch's: marginflow\.interop\.from_torch"):
        Flow([], torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2)))
    for x, got in ((1.0, r"\(\)"), ([0.0, 1.0], r"\(2,\)")):
        with pytest.raises(ValueError, match=rf"x must have shape \(N, ...\), one row an event; got {got}"):
            Flow([], Plain()).log_prob(x)


def test_tables_of_other_libraries_and_special_tensors() -> None:
    for call in OF_MANY:
        same(OF_MANY[call], Series(rows().numpy()), context(), (rows(), context()))
    for wrong, message in (
        (rows().to_sparse(), "real numbers; got torch.float64, torch.sparse_coo"),
        (np.ma.masked_array(rows().numpy(), rows().numpy() > 1), "has masked values"),
    ):
        with pytest.raises(ValueError, match=message):
            noisy().log_prob(wrong, context())
    pixels = Flow([Dequantise(17)], StandardNormal(2))
    assert pixels.log_prob(torch.zeros(3, 2, dtype=torch.uint16)).shape == (3,)


def test_checks_take_pairs() -> None:
    assert str(mf.check(noisy(), (rows(), context()))) == str(mf.check(noisy(), rows(), context()))


def test_a_context_is_asked_for_where_draws_need_one() -> None:
    with pytest.raises(ValueError, match=r"this model takes a context of 2 features, \(256, 2\)"):
        mf.fit_to_density(noisy(), lambda x: x.sum(1))


def test_draws_for_each_row_of_a_context() -> None:
    model = noisy()
    with seeded(2):
        each = model.sample_each(np.int64(4), context().tolist())
    with seeded(2):
        torch.testing.assert_close(each.flatten(0, 1), model.sample(4 * N, context().repeat_interleave(4, 0)))
    assert model.sample_each(3, context()[0]).shape == (1, 3, D)
    with pytest.raises(ValueError, match=r"context of 2 features, \(N, 2\) or \(2,\); got none"):
        model.sample_each(3, None)
    with pytest.raises(ValueError, match=r"got none: use sample\(num_samples\)"):
        noisy(0).sample_each(3, None)


def test_sizes_of_models_may_be_numpys() -> None:
    assert models.maf(np.int64(3), hidden=[np.int64(8)]).sample(2).shape == (2, 3)
    assert StandardNormal(np.array([1, 4, 4])).event_shape == (1, 4, 4)


def test_images_and_pixels() -> None:
    flow = Flow([Dequantise(17), Logit(0.05), Flatten((1, 2, 2))], models.maf(4, hidden=[8]))
    x = torch.randint(17, (5, 1, 2, 2))
    results = []
    for kind in (x.to(torch.uint8), x, x.tolist(), x.numpy().astype(np.uint16)):
        with seeded(0):
            results.append(flow.log_prob(kind))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=0)
    assert flow.log_prob(x[0]).shape == (1,)
    with pytest.raises(ValueError, match=r"Dequantise takes whole grey levels as uint8; got torch\.float64"):
        flow.log_prob(x.double())
    for call in (flow.log_prob, lambda x: mf.fit(flow, x)):
        with pytest.raises(ValueError, match="is bool, and pixels are whole grey levels: give 0 and 1 as uint8"):
            call(x > 8)
    with pytest.raises(ValueError, match=r"grey levels must lie in 0 \.\.\. 16; got \d+ \.\.\. 17"):
        flow.log_prob(torch.full((2, 1, 2, 2), 17))


@pytest.mark.usefixtures("single")
def test_rows_come_to_the_precision_of_the_model_and_gradients_reach_them() -> None:
    model = models.maf(2, hidden=[8])
    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    log_prob = model.log_prob(x)
    assert log_prob.dtype == torch.float32
    torch.testing.assert_close(log_prob, model.log_prob(x.float()), rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(log_prob.sum(), x)
    assert gradient.dtype == torch.float64
    assert model.double().log_prob(x.float()).dtype == torch.float64
    assert StandardNormal(2).log_prob(x).dtype == torch.float32  # which has a precision, too
    big, base = torch.tensor([[2**30 + 1, 0]]), DiagonalNormal(2).double()  # float32 has no such number
    torch.testing.assert_close(base.log_prob(big), base.log_prob(big.double()), rtol=0, atol=0)
    conditional = DiagonalNormal(1, MLP(2, 2, []), 2).double()
    there, here = (conditional.log_prob([[0.5]], given) for given in (big, big.double()))
    torch.testing.assert_close(there, here, rtol=0, atol=0)


def test_a_mixture_takes_one_label_for_all() -> None:
    model = LabelMixture(models.maf(2, hidden=[8], context_features=3), 3)
    x = torch.randn(5, 2)
    torch.testing.assert_close(model.log_prob(x, [0, 1, 0]), model.log_prob(x, model.one_hot([1] * 5)))
    assert model.sample(4, [0, 0, 1]).shape == (4, 2)


def test_one_image_of_context_stands_for_all() -> None:
    model = build_distribution("image normal by a network")
    c, x = DISTRIBUTIONS["image normal by a network"].context(1), torch.randn(4, 2, 3, 2)
    assert c is not None
    expected = model.log_prob(x, c.expand(4, -1, -1, -1))
    for one in (c, c[0], c[0].numpy()):
        torch.testing.assert_close(model.log_prob(x, one), expected)


def test_the_public_calls_are_final() -> None:
    public = (
        "log_prob",
        "sample",
        "sample_and_log_prob",
        "sample_and_flag",
        "sample_each",
        "noise",
        "log_weight",
        "forward",
    )
    for cls in concrete_classes(Distribution):
        assert all(getattr(cls, name) is getattr(Distribution, name) for name in public), cls


TRACED = ["masked autoregressive flow", "conditional through a network", "mixture over labels", "flow over a flow",
          "from elsewhere", "realnvp flow", "uniform"]  # fmt: skip


@pytest.mark.parametrize("name", TRACED)
def test_what_is_traced_holds_no_checks(name: str) -> None:
    """torch.export gives the same operations with the door and without; torch.func and torch.compile go through it."""
    model = build_distribution(name).eval()
    torch.default_generator.manual_seed(1)
    case = DISTRIBUTIONS[name]
    x, c = case.x(4), case.context(4)

    class Inside(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor, c: Tensor | None) -> Tensor:
            return self.model._log_prob(x, c)

    with torch.no_grad():
        operations = [
            [str(node.target) for node in torch.export.export(each, (x, c)).graph.nodes if node.op == "call_function"]
            for each in (model, Inside())
        ]
    assert operations[0] == operations[1]
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, c), model.log_prob(x, c))
    by_row = torch.func.vmap(lambda row, own: model.log_prob(row, own)[0], in_dims=(0, None if c is None else 0))
    torch.testing.assert_close(by_row(x, c), model.log_prob(x, c))


@pytest.mark.usefixtures("single")
def test_autocast_goes_through() -> None:
    model = noisy()
    with seeded(1):
        expected = model.log_prob(rows(), context())
    with torch.autocast("cpu", torch.bfloat16), seeded(1):
        torch.testing.assert_close(model.log_prob(rows(), context()).float(), expected, rtol=0.05, atol=0.5)
