"""A model that checks itself: healthy ones pass, and each planted fault is found by the check that is there for it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import nflows.distributions
import nflows.flows
import nflows.transforms
import normflows
import pytest
import torch
import zuko
from torch import Tensor

from marginflow import check, data, models
from marginflow.base.noise_sites import Sites
from marginflow.distributions import Flow, LabelMixture, Marginalising, StandardNormal
from marginflow.evaluation.check.findings import Findings
from marginflow.evaluation.check.maps import _projected
from marginflow.interop import from_nflows, from_normflows, from_zuko
from marginflow.transforms import Affine, BatchNorm, Logit, MaskedAutoregressive, Sequential, Standardise
from marginflow.transforms.calibrate import calibrate


def rows(features: int = 3, num_rows: int = 500) -> Tensor:
    return torch.randn(num_rows, features)


def failed(findings: Findings) -> set[str]:
    return {each.check for each in findings.every if each.status == "fail"}


HEALTHY = {
    "maf": lambda: models.maf(3, hidden=[16], blocks=2),
    "maf of splines": lambda: models.nsf(3, hidden=[16], blocks=2),
    "mixtures": lambda: models.maf_mog(3, hidden=[16], blocks=1),
    "coupling": lambda: models.realnvp(3, hidden=[16], blocks=2),
    "planar": lambda: models.planar(3),
    "marginal": lambda: Marginalising(models.maf(4, hidden=[16], blocks=2), StandardNormal(1)),
    "preprocessed": lambda: standardised(),
}


def standardised() -> Flow:
    flow = Flow([Standardise(3)], base=models.maf(3, hidden=[16], blocks=2))
    calibrate(flow, [rows()])
    return flow


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_models_pass(name: str) -> None:
    findings = check(HEALTHY[name](), rows())
    assert findings.ok, str(findings)
    assert findings.of("log-determinant").status == "pass"
    assert findings.of("round trip, float64").status == "pass"


def test_a_trained_model_with_batch_norm_passes_and_is_left_as_it_is() -> None:
    model = models.maf(2, hidden=[16], blocks=2, batch_norm=True)
    x = data.load("half_moons", num_train=1000).train.x
    calibrate(model, [x])
    before = copy.deepcopy(model.state_dict())
    model.train()
    findings = check(model, x, floor=0.287)
    assert findings.ok, str(findings)
    assert findings.of("batch-norm statistics").status == findings.of("floor").status == "pass"
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class WrongInverse(MaskedAutoregressive):
    """A random order whose inverse goes through the dimensions as if it were another."""

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().inverse(z.flip(1), context)


class LacksATerm(MaskedAutoregressive):
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = super().forward(x, context)
        return z, log_det - self.univariate.forward(x, self.network(x, context))[1][:, 0]


class Leaks(MaskedAutoregressive):
    """Its first dimension sees the last."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = super().forward(x, context)
        return torch.cat([z[:, :1] + x[:, -1:], z[:, 1:]], 1), log_det


class CountsNoise(Marginalising):
    """Says that log p(x, eps) is log p(x)."""

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        return self.flow._log_prob(self.augment(x, context)[0], context)

    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[Tensor]:
        yield from ()
        return self._log_prob(x, context)


@dataclass(frozen=True)
class Unbounded:
    """Shift and scale without a bound."""

    num_params: int = 2

    def forward(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return (x - params[..., 0]) * torch.exp(params[..., 1]), params[..., 1]

    def inverse(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return y * torch.exp(-params[..., 1]) + params[..., 0], -params[..., 1]


def strong(layer: MaskedAutoregressive) -> Flow:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(2)
    return Flow([layer], StandardNormal(layer.features))


def off(by: float) -> Flow:
    model = models.maf(3, hidden=[16], blocks=2, batch_norm=True)
    calibrate(model, [rows()])
    for layer in model.modules():
        if isinstance(layer, BatchNorm) and layer.mean is not None and layer.variance is not None:
            layer.mean, layer.variance = layer.mean + by, layer.variance * 2
    return model


def cut_off() -> Flow:
    """Sequential degrees 1, 2, ... 4 for 12 dimensions: eight inputs are seen by no other."""
    return strong(MaskedAutoregressive(12, [4], degrees=[[1, 2, 3, 4]]))


@pytest.mark.parametrize(
    ("model", "features", "found_by"),
    [
        (lambda: strong(WrongInverse(3, [16], order="random", seed=1)), 3, "round trip, float64"),
        (cut_off, 12, "inputs that influence nothing"),
        (lambda: strong(LacksATerm(3, [16])), 3, "log-determinant"),
        (lambda: strong(Leaks(3, [16])), 3, "triangularity"),
        (lambda: off(1.0), 3, "batch-norm statistics"),
        (lambda: strong(MaskedAutoregressive(3, [16], Unbounded(), activation="relu")), 3, "scales"),
        (lambda: CountsNoise(models.maf(4, hidden=[16], blocks=1), StandardNormal(2)), 2, "normalisation"),
        (lambda: models.maf(3, hidden=[16], batch_norm=True), 3, "batch-norm statistics"),
    ],
    ids=["wrong inverse", "cut off", "missing term", "leak", "statistics off", "unbounded", "noise as data", "none"],
)  # fmt: skip
def test_planted_faults_are_found(model: object, features: int, found_by: str) -> None:
    findings = check(model(), rows(features))
    assert not findings.ok
    assert found_by in failed(findings), str(findings)
    assert findings.of(found_by).remedy


def test_noise_counted_as_data_below_the_entropy_is_found_by_the_floor_too() -> None:
    flow = models.maf(4, hidden=[16], blocks=1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.zero_()
    x = rows(2)

    class CountsTwice(Marginalising):
        def _noise(self, x: Tensor, context: Tensor | None) -> Sites[Tensor]:
            joint, minus_log_q = self.augment(x, context)
            yield from ()
            return self.flow._log_prob(joint, context) + 2 * minus_log_q

    findings = check(CountsTwice(flow, StandardNormal(2)), x, floor=2.83)
    assert {"floor", "normalisation"} <= failed(findings)


def test_a_scale_that_may_grow_is_a_warning_before_it_has() -> None:
    finding = check(models.maf(3, hidden=[16], blocks=1, bound=1e3), rows()).of("scales")
    assert (finding.status, finding.found[:30]) == ("warn", "a log-scale may reach 1000; on")


def test_contexts_that_nothing_uses_are_found() -> None:
    model = models.maf(2, hidden=[16], blocks=1, context_features=3)
    x, context = rows(2), torch.randn(500, 3)
    assert check(model, x, context).of("contexts that influence nothing").status == "pass"
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, MaskedAutoregressive):
                for tensor in layer.network.hidden_layers[0].tensors:
                    if tensor.ndim == 2:
                        tensor[:, :2] = 0
    finding = check(model, x, context).of("contexts that influence nothing")
    assert (finding.status, finding.found) == ("warn", "2 of 3 features")


def test_labels_are_drawn_for_a_mixture_over_them() -> None:
    model = LabelMixture(models.maf(2, hidden=[16], blocks=1, context_features=3), 3)
    assert check(model, rows(2)).ok
    assert check(model, rows(2), model.one_hot(torch.arange(500) % 3)).ok


@pytest.mark.slow
def test_images_and_large_maps_are_asked_by_projections() -> None:
    torch.default_generator.manual_seed(1)
    layer = MaskedAutoregressive(40, [60], Affine())
    flow = strong(layer)
    x = rows(40, 5)
    assert _projected(flow.transform, x[:1], None, 0, "mend", 500).status == "pass"

    class Lacks(MaskedAutoregressive):
        def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            z, log_det = super().forward(x, context)
            return z, log_det / 2

    lacks = Lacks(40, [60], Affine())
    lacks.load_state_dict(layer.state_dict())
    assert _projected(Sequential(lacks), x[:1], None, 0, "mend", 500).status == "fail"
    assert check(models.IMAGE_MODELS["glow"]((3, 4, 4), hidden=[4], blocks=1), torch.randn(50, 3, 4, 4)).ok


@pytest.mark.parametrize("library", ["zuko", "nflows", "normflows"])
def test_flows_of_other_libraries_are_checked_through_their_adapters(library: str, single: None) -> None:
    if library == "zuko":
        model = from_zuko(zuko.flows.NSF(3, transforms=2, hidden_features=[16]))
    elif library == "nflows":
        made = nflows.transforms.MaskedAffineAutoregressiveTransform(features=3, hidden_features=16)
        model = from_nflows(nflows.flows.Flow(made, nflows.distributions.StandardNormal([3])))
    else:
        layers = [normflows.flows.AutoregressiveRationalQuadraticSpline(3, 1, 16) for _ in range(2)]
        model = from_normflows(
            normflows.NormalizingFlow(normflows.distributions.DiagGaussian(3, trainable=False), layers)
        )
    findings = check(model, rows())
    assert findings.ok, str(findings)
    assert findings.of("log-determinant").status == "pass"
    assert findings.of("round trip, float32").status == "pass"


def test_a_foreign_flow_with_a_fault_is_caught(single: None) -> None:
    class OneTooMany(nflows.transforms.MaskedAffineAutoregressiveTransform):
        def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            z, log_det = super().forward(inputs, context)
            return z, log_det + 1

    made = OneTooMany(features=3, hidden_features=16)
    model = from_nflows(nflows.flows.Flow(made, nflows.distributions.StandardNormal([3])))
    assert {"log-determinant", "normalisation"} <= failed(check(model, rows()))


def test_what_cannot_be_checked_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 20 rows"):
        check(models.planar(2), torch.randn(5, 2))
    with pytest.raises(ValueError, match="shape"):
        check(models.planar(2), torch.randn(50, 3))
    assert check(Flow([Logit(0.05)], models.planar(2)), torch.rand(50, 2)).of("round trip, float64").status == "pass"


@pytest.mark.parametrize("floor", ["a", [1], float("nan"), float("inf"), True])
def test_the_floor_of_a_check_is_a_finite_number(floor: object) -> None:
    with pytest.raises(ValueError, match=r"floor must be (a number|finite); got"):
        check(models.planar(2), torch.randn(30, 2), floor=floor)  # pyright: ignore[reportArgumentType]
