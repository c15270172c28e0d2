"""What a check says of models whose weights are broken, or whose calls raise: one finding in words, no traceback."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.nn.utils import prune

from marginflow import check, models
from marginflow.base.adapter import Adapter
from marginflow.distributions import Flow, StandardNormal
from marginflow.evaluation.check.weights import hidden_weights
from marginflow.interop import from_torch
from marginflow.nets.masked.linear import MaskedLinear
from marginflow.transforms import MaskedAutoregressive
from marginflow.transforms.calibrate import calibrate

X = torch.linspace(-2, 2, 100, dtype=torch.float64).view(50, 2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make", [models.maf, models.realnvp, models.nsf, models.maf_mog])
def test_weights_that_are_no_numbers_are_the_only_finding(make: Callable[..., Flow], value: float) -> None:
    model = make(2, hidden=[8], blocks=2)
    first, *_, last = model.parameters()
    with torch.no_grad():
        first.view(-1)[0] = last.view(-1)[0] = value
    findings = check(model, X)
    every = sum(weight.numel() for weight in model.parameters())
    assert not findings.ok
    assert [each.check for each in findings] == ["weights"]
    assert findings.of("weights").found.startswith(f"2 of {every:,} weights are not finite, of layer transform.")
    assert "last good file" in findings.of("weights").remedy


def test_findings_are_gone_through_and_counted() -> None:
    findings = check(models.planar(2), X)
    assert list(findings) == list(findings.every)
    assert len(findings) == len(findings.every) > 5


@pytest.mark.parametrize("hidden", [[8], [16, 16]])
def test_weights_written_where_masks_hide_them_are_found_and_the_remedy_works(hidden: list[int]) -> None:
    torch.default_generator.manual_seed(0)
    model = models.maf(3, hidden=hidden, blocks=2)
    x = torch.randn(50, 3)
    assert check(model, x).of("masked weights").status == "pass"
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    found = check(model, x).of("masked weights")
    assert found.status == "fail"
    assert "model.load_state_dict(model.state_dict())" in found.remedy
    seen = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(model.state_dict())
    findings = check(model, x)
    assert [findings.of(name).status for name in ("masked weights", "round trip, float64")] == ["pass", "pass"]
    assert all(torch.equal(seen[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("band", [0, -1])
def test_one_hidden_weight_of_any_band_is_enough(band: int) -> None:
    torch.default_generator.manual_seed(0)
    model = models.maf(8, hidden=[500, 500], blocks=1)
    layer = next(each for each in model.modules() if isinstance(each, MaskedLinear) and len(each.weights) > 1)
    weight, edge = layer.tensors[1:][band], layer.edges[band]
    row, column = (edge == 0).nonzero()[0].tolist()
    with torch.no_grad():
        weight[row, weight.shape[1] - edge.shape[1] + column] = 1e-3
    (found,) = hidden_weights(model)
    assert (found.status, found.found[:5]) == ("fail", "1 of ")


def test_a_model_without_numbers_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="meta device, which holds no numbers"):
        check(models.maf(2, hidden=[8]).to("meta"), X)


class Raises:
    event_shape = torch.Size([2])

    def __init__(self, error: Exception) -> None:
        self.error = error

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        raise self.error

    def sample(self, num_samples: int, context: Tensor | None = None) -> Tensor:
        return torch.randn(num_samples, 2)


@pytest.mark.parametrize(
    "error", [KeyError("scale"), RuntimeError("size of tensor a"), TypeError("no"), ZeroDivisionError("by 0")]
)
def test_what_a_density_raises_is_a_finding(error: Exception) -> None:
    found = check(Adapter(Raises(error)), X).of("evaluation")
    assert (found.status, found.found) == ("fail", f"the model raises {type(error).__name__}: {error}")


def test_a_part_that_cannot_be_copied_is_a_finding() -> None:
    model = models.realnvp(2, hidden=[8], batch_norm=True)
    calibrate(model, [X])
    layer = next(each for each in model.modules() if isinstance(each, nn.Linear))
    prune.l1_unstructured(layer, "weight", 0.3)
    model.log_prob(X)
    found = check(model, X)
    assert (found.of("evaluation").status, "deepcopy" in found.of("evaluation").found) == ("fail", True)


class Conditional(nn.Module):
    """A normal whose mean takes some features of the context, by which a gradient passes or not."""

    def __init__(self, used: list[int], passes: bool) -> None:
        super().__init__()
        self.used, self.passes = used, passes

    def forward(self, context: Tensor) -> Independent:
        context = context if self.passes else context.detach()
        return Independent(Normal(context[:, self.used].sum(1, keepdim=True).expand(-1, 2), 1.0), 1)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("passes", [True, False])
@pytest.mark.parametrize(("used", "status"), [([], "fail"), ([1], "warn"), ([0, 1, 2], "pass")])
def test_contexts_are_asked_without_gradients_too(used: list[int], passes: bool, status: str, constant: bool) -> None:
    context = torch.ones(50, 3) if constant else torch.randn(50, 3)
    findings = check(from_torch(Conditional(used, passes), context_features=3), X, context)
    found = findings.of("contexts that influence nothing")
    assert (found.status, found.found) == (status, f"{3 - len(used)} of 3 features")
    assert findings.ok == (status != "fail")


@pytest.mark.filterwarnings("ignore:.*digits are lost")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_of_few_digits_is_told_so(dtype: torch.dtype) -> None:
    findings = check(models.maf(2, hidden=[16]).to(dtype), X)
    name = str(dtype).removeprefix("torch.")
    found = findings.of(f"round trip, {name}")
    assert found.status == "fail"
    assert found.remedy.startswith(f"the model computes in {name}: use model.float()")
    assert "float32" not in str(findings)


@pytest.mark.parametrize(
    ("degrees", "hidden", "words"),
    [
        ("sequential", [4], 'use degrees = "even", and layers of at least 11 units'),
        ("even", [4], "too narrow to pass all inputs on: use at least 11 units in each"),
    ],
)
def test_inputs_that_are_cut_off_are_helped_by_what_is_not_done_yet(
    degrees: str, hidden: list[int], words: str
) -> None:
    flow = Flow([MaskedAutoregressive(12, hidden, degrees=degrees)], StandardNormal(12))
    found = check(flow, torch.randn(50, 12)).of("inputs that influence nothing")
    assert found.status == "fail"
    assert words in found.remedy


def test_inputs_whose_weights_are_0_are_not_said_to_be_cut_off() -> None:
    flow = Flow([MaskedAutoregressive(3, [16])], StandardNormal(3))
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.zero_()
    assert "weights are 0" in check(flow, torch.randn(50, 3)).of("inputs that influence nothing").remedy
