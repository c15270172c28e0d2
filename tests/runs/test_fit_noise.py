"""q(eps | x) fitted after the fact: p stays bit for bit, the bound comes closer, and the run says so."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from helpers import Call, fails, succeeds
from torch import Tensor

import marginflow as mf
from marginflow import TrainConfig, data, models
from marginflow.distributions import Distribution, Flow, LabelMixture, Marginalising, StandardNormal
from marginflow.models import augmented_between
from marginflow.runs.run import Run


class Shifted(Distribution):
    """x ~ N(0, I) of two, eps | x ~ N(2 x, 0.3^2): a posterior that N(0, I) misses."""

    event_shape = torch.Size([4])

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        x, eps = x[:, :2], (x[:, 2:] - 2 * x[:, :2]) / 0.3
        return (-0.5 * (x.square() + eps.square()).sum(1)) - 4 * 0.5 * math.log(2 * math.pi) - 2 * math.log(0.3)

    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        x = torch.randn(num_samples, 2)
        return torch.cat([x, 2 * x + 0.3 * torch.randn(num_samples, 2)], 1)


def test_a_posterior_that_q_can_be_is_found() -> None:
    torch.manual_seed(0)
    model = Marginalising(Shifted(), StandardNormal(2))
    x = torch.randn(2000, 2)
    config = TrainConfig(epochs=30, lr=3e-3, schedule="cosine", batch_size=100)
    fitted = mf.fit_noise(model, x, config=config)
    truth = StandardNormal(2).log_prob(x[:500])
    before, after = (mf.log_likelihood(each, x[:500], num_samples=20) for each in (model, fitted))
    assert float((truth - before.bound).mean()) > 5
    assert float((truth - after.bound).mean()) < 0.1
    torch.testing.assert_close(after.log_prob, truth, atol=0.5, rtol=0)
    assert float(after.effective_sample_size.median()) > 10
    assert isinstance(model.augment.noise, StandardNormal)  # what was given is as it was


def sha256(state: dict[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode() + state[name].numpy().tobytes())
    return found.hexdigest()


def weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """Those of p: all but q's, which stand under the noise of a site."""
    return {key: each.clone() for key, each in model.state_dict().items() if "augment.noise." not in key
            and ".1.noise." not in key}  # fmt: skip


@pytest.mark.parametrize("where", ["in front", "between", "labels", "preprocessed"])
def test_p_stays_as_it_is_wherever_the_noise_is(where: str) -> None:
    torch.manual_seed(0)
    context = None
    if where == "between":
        model: Distribution = augmented_between(models.maf, 2, StandardNormal(1), after_blocks=1, blocks=2, hidden=[8])
    elif where == "labels":
        inner = models.maf(3, hidden=[8], blocks=1, context_features=2)
        model = LabelMixture(Marginalising(inner, StandardNormal(1)), 2)
        context = torch.eye(2)[torch.arange(300) % 2]
    else:
        model = Marginalising(models.maf(3, hidden=[8], blocks=2, batch_norm=True, dropout=0.1), StandardNormal(1))
        if where == "preprocessed":
            model = Flow([mf.transforms.Standardise(2)], base=model)
    x = torch.randn(300, 2)
    mf.fit(model, (x, context) if context is not None else x, TrainConfig(epochs=1, batch_size=50))
    before, training = weights(model), model.training
    others = 2 + 3 * torch.randn(300, 2)  # of which standardising and batch norm would take other statistics
    fitted = mf.fit_noise(model, (others, context) if context is not None else others, options={"hidden": [8]},
                          config=TrainConfig(epochs=2, batch_size=50, ema=0.9, seed=1))  # fmt: skip
    after = weights(fitted)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(torch.equal(before[key], each) for key, each in weights(model).items())
    assert model.training == training
    assert not fitted.training
    assert fitted.train().training  # it can be trained further
    assert all(each.requires_grad for each in fitted.parameters())
    torch.manual_seed(1)
    annealed = {"num_samples": 8, "method": "annealed", "num_temperatures": 80}
    estimates = [mf.log_likelihood(each, x[:20], **annealed).log_prob for each in (model, fitted)]
    torch.testing.assert_close(*estimates, atol=0.3, rtol=0)


def test_a_p_that_changes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Marginalising(models.maf(3, hidden=[8], blocks=1), StandardNormal(1))

    def careless(found: Marginalising, *_: object, **__: object) -> None:
        next(found.flow.parameters()).data.add_(1)

    monkeypatch.setattr("marginflow.runs.fit_noise.fit", careless)
    with pytest.raises(RuntimeError, match="p has changed while q was fitted"):
        mf.fit_noise(model, torch.randn(100, 2))


def test_it_can_be_kept_and_opened(tmp_path: Path) -> None:
    model = Marginalising(models.planar(3), StandardNormal(1))
    fitted = mf.fit_noise(model, torch.randn(200, 2), noise="diagonal_normal",
                          options={"hidden": [4]}, config=TrainConfig(epochs=1))  # fmt: skip
    again = mf.load(mf.save(fitted, tmp_path / "model.safetensors"))
    x = torch.randn(5, 2)
    torch.manual_seed(0)
    one = fitted.log_prob(x)
    torch.manual_seed(0)
    assert torch.equal(again.log_prob(x), one)


def test_what_has_no_noise_to_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="exact, it draws no noise"):
        mf.fit_noise(models.maf(2, hidden=[8]), torch.randn(100, 2))
    model = Marginalising(models.planar(3), StandardNormal(1))
    with pytest.raises(ValueError, match=r"noise must be one of .*did you mean diagonal_normal"):
        mf.fit_noise(model, torch.randn(100, 2), noise="diagonal_norma")
    with pytest.raises(ValueError, match=r"do not fit .diagonal_normal..*hiden"):
        mf.fit_noise(model, torch.randn(100, 2), options={"hiden": [4]})
    pixels = Flow([mf.transforms.Dequantise(4)], base=models.maf(2, hidden=[8]))
    assert data is not None
    with pytest.raises(ValueError, match=r"exact|dequantisation alone"):
        mf.fit_noise(pixels, torch.zeros(100, 2, dtype=torch.uint8))


FEW = ("data.num_train=400", "data.num_validation=100", "data.num_test=60", "train.epochs=3", "evaluate.num_samples=5")


def test_a_run_gets_another_q_in_a_run_of_its_own(call: Call) -> None:
    settings = [part for each in FEW for part in ("--set", each)]
    succeeds(call("train", "half_moons_planar_marginal", *settings, "--run-dir", "run"))
    said = succeeds(call("fit-noise", "run", "--set", "noise.hidden=[16]", "--set", "train.epochs=5"))
    assert "p is that of run, bit for bit; next, marginflow evaluate run_noise" in said
    before, after = Run.open(Path("run")), Run.open(Path("run_noise"))
    assert after.experiment.noise.name == "diagonal_normal"
    assert after.experiment.model == before.experiment.model
    own, same = weights(before.model), weights(after.model)
    assert own.keys() == same.keys()
    assert all(torch.equal(own[key], same[key]) for key in own)
    record = json.loads(Path("run_noise/fit_noise.json").read_text())
    assert record["p_sha256"] == sha256(own)
    assert record["weights_sha256"] == before.weights_sha256
    succeeds(call("evaluate", "run_noise", "--no-figures"))
    fails(call("train", "run_noise/config.toml", "--run-dir", "run_noise", "--resume", "--set", "train.epochs=9"),
          "holds a q.* that fit-noise made, whose p a training would change")  # fmt: skip
    fails(call("fit-noise", "run", "--overwrite", "--set", "data.seed=5"), "p and its data stay as they are")
    fails(call("fit-noise", "run"), "run_noise exists: give another --run-dir, or --overwrite")
    fails(call("fit-noise", "run", "--noise", "diagonal", "--overwrite"), "--noise must be one of")
    succeeds(call("train", "half_moons_planar", *settings, "--run-dir", "plain"))
    fails(call("fit-noise", "plain"), "was trained without noise dimensions")
