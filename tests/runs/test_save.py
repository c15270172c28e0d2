"""Models trained in Python, kept as weights and the call that built them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import config
from registry import DISTRIBUTIONS, build_distribution
from safetensors.torch import load_file, save_file
from torch import nn

import marginflow as mf
from marginflow import models
from marginflow.base.call import RemembersArguments, as_data, from_data
from marginflow.base.distribution import Distribution
from marginflow.base.seeds import seeded
from marginflow.distributions import Flow, LabelMixture, Marginalising, StandardLogistic, StandardNormal, Uniform
from marginflow.storage.files import packed, read_about
from marginflow.training.checkpoint import ABOUT
from marginflow.transforms import Coupling, Logit, MaskedAutoregressive, Planar, Standardise

# of another library, from elsewhere, or with a network of torch's
UNTOLD = {
    "from torch", "from freia", "from elsewhere", "from elsewhere, with context", "conditional diagonal normal",
    "marginalising with learned noise", "conditional marginalising flow", "labels around noise", "noise around noise",
    "noise and labels, wrapped in each other",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(DISTRIBUTIONS) - UNTOLD))
def test_what_was_saved_is_loaded(name: str, tmp_path: Path) -> None:
    model = build_distribution(name)
    path = mf.save(model, tmp_path / "model.safetensors")
    loaded = mf.load(path)
    x, context = DISTRIBUTIONS[name].x(5), DISTRIBUTIONS[name].context(5)
    with seeded(1):
        expected = model.eval().log_prob(x, context)
    with seeded(1):
        torch.testing.assert_close(loaded.log_prob(x, context), expected, rtol=0, atol=0)
    assert not loaded.training
    assert loaded.spec is None
    assert mf.load(mf.save(loaded, tmp_path)).state_dict().keys() == model.state_dict().keys()  # once more, as it is


@pytest.mark.parametrize("name", sorted(UNTOLD))
def test_what_cannot_be_told_is_refused_with_a_remedy_that_works(name: str, tmp_path: Path) -> None:
    model = build_distribution(name)
    with pytest.raises(ValueError, match=r"is no public class .*torch\.save\(model\.state_dict\(\), path\)"):
        mf.save(model, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    build_distribution(name, seed=5).load_state_dict(torch.load(tmp_path / "weights.pt"))


def table(tmp_path: Path) -> mf.data.DataSet:
    rows = torch.randn(300, 2) * torch.tensor([30.0, 0.01]) + torch.tensor([170.0, 3.0])
    path = tmp_path / "people.csv"
    path.write_text("height,ratio\n" + "".join(f"{a},{b}\n" for a, b in rows.tolist()))
    return mf.data.table(path)


@pytest.mark.usefixtures("single")
def test_a_model_fitted_to_a_table_keeps_its_columns_and_units(tmp_path: Path) -> None:
    people = table(tmp_path)
    model = Flow([Standardise(2)], base=models.maf(2, hidden=[16], blocks=2, batch_norm=True))
    mf.fit(model, people, config(), tmp_path / "run")
    assert model.spec == people.spec
    rows = people.test.x[:]
    for path in (tmp_path / "run", tmp_path / "run" / "model.safetensors", mf.save(model, tmp_path / "a.safetensors")):
        loaded = mf.load(path)
        assert loaded.spec is not None
        assert loaded.spec.columns == ("height", "ratio")
        assert loaded.spec == people.spec
        torch.testing.assert_close(loaded.log_prob(rows), model.log_prob(rows), rtol=0, atol=0)
    assert 100 < float(loaded.sample(500)[:, 0].mean()) < 240


def test_a_directory_of_fit_whose_model_cannot_be_told_says_so(tmp_path: Path) -> None:
    model = Flow([Coupling([True, False], nn.Linear(1, 2))], StandardNormal(2))
    mf.fit(model, torch.randn(200, 2), config(), tmp_path)
    with pytest.raises(ValueError, match=r"does not say how its model was built: build it by your own code") as raised:
        mf.load(tmp_path)
    remedy = str(raised.value).partition("then ")[2]
    assert "load_state_dict(safetensors.torch.load_file(" in remedy
    with torch.no_grad():
        model.transform[0].conditioner.weight.zero_()
    import safetensors.torch

    exec(remedy, {"model": model, "safetensors": safetensors})
    assert not bool((model.transform[0].conditioner.weight == 0).any())


def test_float64_and_what_stands_in_two_places_stay_so(tmp_path: Path) -> None:
    shared = Planar(2)
    model = Flow([shared, Planar(2, "sigmoid"), shared], StandardNormal(2)).float()
    loaded = mf.load(mf.save(model, tmp_path))
    assert loaded.transform[0] is loaded.transform[2]
    assert {each.dtype for each in loaded.parameters()} == {torch.float32}
    assert {each.dtype for each in mf.load(mf.save(model.double(), tmp_path)).parameters()} == {torch.float64}


def test_a_model_that_was_changed_since_it_was_built_is_refused(tmp_path: Path) -> None:
    longer, other, shifted = models.planar(2, blocks=2), models.planar(2), Flow([Logit(0.05)], StandardNormal(2))
    longer.transform.transforms.append(Planar(2))
    other.base = StandardLogistic(2)
    shifted.transform[0].alpha = 0.2
    for model in (longer, other, shifted):
        with pytest.raises(ValueError, match="it was changed since it was built"):
            mf.save(model, tmp_path)


def test_no_model_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist: give a run directory, or a file"):
        mf.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"is not a run directory: it has no config\.toml; give one that"):
        mf.load(tmp_path)
    (tmp_path / "text").write_text("text")
    with pytest.raises(ValueError, match="text cannot be loaded"):
        mf.load(tmp_path / "text")


class Evil(RemembersArguments):
    pass


def told(model: Distribution) -> dict[str, Any]:
    return {"format": 2, "call": as_data(model), "dtype": "float32", "spec": None}


def changed(**changes: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda about: {**about, **changes}


def hidden(widths: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda about: json.loads(json.dumps(about).replace("[8]", widths))


def call(name: str, **arguments: object) -> dict[str, Any]:
    return {"call": name, "arguments": arguments}


def autoregressive(**arguments: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    layer = call("transforms.MaskedAutoregressive", **arguments)
    return changed(
        call=call("distributions.Flow", transform=[layer], base=call("distributions.StandardNormal", shape=2))
    )


def laughing(about: dict[str, Any]) -> dict[str, Any]:
    """Each part twice the one before: 2^40 in 2 KB."""
    nested = call("transforms.Sequential", transforms=[call("transforms.Planar", features=2)])
    for level in range(40):
        nested = call("transforms.Sequential", transforms=[nested, {"same": level + 1}])
    return {
        **about,
        "call": call("distributions.Flow", transform=nested, base=call("distributions.StandardNormal", shape=2)),
    }


@pytest.mark.usefixtures("single")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(call=call("os.system", command="true")), "os.system is no public class"),
        (changed(call=call("distributions.evaluation_mode", model=1)), "is no public class"),
        (changed(call=call("models.maf", features=2)), "models.maf is no public class"),
        (changed(call=call("transforms.Planar", features=2)), "a Planar, which is no density"),
        (changed(call=call("distributions.Uniform", shape=2, size=3)), "cannot be loaded"),
        (changed(call={"same": 3}), "cannot be loaded"),
        (changed(call=[1]), "a list, which is no density"),
        (changed(call=call("distributions.StandardNormal", shape=10**12)), "do not belong together"),
        (changed(call=call("distributions.StandardNormal", shape=[2**15, 2**15])), "do not belong together"),
        (changed(dtype="int8"), "cannot be loaded"),
        (changed(format=3), "has format 3; this version reads 1 and 2: update marginflow"),
        (changed(spec={"event_shape": "x"}), "cannot be loaded"),
        (
            changed(spec={"event_shape": [10**9]}),
            r"its rows have shape \(1000000000,\), its model's torch.Size\(\[2\]\)",
        ),
        (hidden("[1000000000]"), "a model with hidden = 1,000,000,000: they do not belong together"),
        (hidden("[15000, 15000]"), "a model of [0-9,]{11} numbers: they do not belong together"),
        (autoregressive(features=2, hidden=[65536] * 200), "a model with hidden = 13,107,200"),
        (
            autoregressive(features=20000, hidden=[8], univariate=call("transforms.GaussianMixture", components=20000)),
            "a model with outputs = 400,000,000",
        ),
        (
            changed(call=[call("transforms.Permutation", features=2**18, order="random")] * 5),
            "a model with features = 1,310,720",
        ),
        (laughing, "a model with calls = 3,298,534,883,329"),
    ],
)
def test_what_a_strangers_file_tells_is_not_believed(
    change: Callable[[dict[str, Any]], dict[str, Any]], message: str, tmp_path: Path
) -> None:
    model = models.maf(2, hidden=[8], blocks=2)
    path = tmp_path / "model.safetensors"
    path.write_bytes(packed(model.state_dict(), {ABOUT: json.dumps(change(told(model)))}))
    with pytest.raises(ValueError, match=message):
        mf.load(path)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    model = models.planar(2)
    with torch.no_grad():
        model.transform[0].w.fill_(torch.nan)
    with pytest.raises(ValueError, match="holds weights that are not finite"):
        mf.load(mf.save(model, tmp_path))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_not_kept(dtype: torch.dtype, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"kept in float32 or float64; this one is in {dtype}: save model.float"):
        mf.save(models.planar(2).to(dtype), tmp_path)


def test_a_training_is_not_written_into_and_what_is_no_density_not_kept(tmp_path: Path) -> None:
    mf.fit(models.planar(2), torch.randn(200, 2), config(), tmp_path)
    with pytest.raises(FileExistsError, match="holds a training, whose files belong together: give another path"):
        mf.save(models.planar(2), tmp_path)
    with pytest.raises(ValueError, match="Planar is not a marginflow distribution"):
        mf.save(Planar(2), tmp_path / "file")


def test_paths_and_weights_that_cannot_be_kept_are_refused_in_words(tmp_path: Path) -> None:
    table, model = tmp_path / "p.csv", models.maf(2, hidden=[8], blocks=1)
    table.write_text("a,b\n1,2\n")
    for path, message in (
        (table, r"must end in \.safetensors, or be a directory; got '.*p\.csv': give '.*p\.safetensors'"),
        (tmp_path / "model", r"must end in \.safetensors, or be a directory; got '.*': give '.*model\.safetensors'"),
        ("", "path must be a path; got ''"),
    ):
        with pytest.raises(ValueError, match=message):
            mf.save(model, path)
    assert table.read_text() == "a,b\n1,2\n"
    with pytest.raises(FileNotFoundError, match=r"the directory .*no does not exist"):
        mf.save(model, tmp_path / "no" / "m.safetensors")
    with torch.device("meta"):
        nowhere = models.maf(2, hidden=[8], blocks=1)
    for call in (lambda: mf.save(nowhere, tmp_path), lambda: mf.fit(nowhere, torch.zeros(30, 2))):
        with pytest.raises(ValueError, match="the model lies on the meta device, which holds no numbers: build it on"):
            call()
    next(model.parameters()).data.fill_(torch.nan)
    with pytest.raises(ValueError, match="the model holds weights that are not finite, in transform"):
        mf.save(model, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["p.csv"]


def test_a_path_may_start_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert mf.save(models.planar(2), "~/m.safetensors") == tmp_path / "m.safetensors"
    assert mf.load("~/m.safetensors").event_shape == (2,)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    model = models.maf(2, hidden=[8], blocks=2)
    mf.save(model, tmp_path)
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    state.pop(next(iter(state)))
    save_file(state, path, read_about(path))
    with pytest.raises(ValueError, match="Missing key"):
        mf.load(path)


def test_every_kind_of_argument_is_told() -> None:
    """Tensors, tuples, numbers that are not finite and numpy's, modules in modules."""
    model = Marginalising(LabelMixture(models.maf(4, context_features=2, hidden=(8, 8)), 2, torch.tensor([0.25, 0.75])),
                          StandardNormal((1,)))  # fmt: skip
    again = from_data(json.loads(json.dumps(as_data(model))))
    torch.testing.assert_close(again.flow.prior, model.flow.prior)
    uniform = Uniform(2, torch.tensor([-torch.inf, 0.0]), 2.0)
    torch.testing.assert_close(from_data(json.loads(json.dumps(as_data(uniform)))).low, uniform.low)
    layer = MaskedAutoregressive(np.int64(3), [np.int64(8), 8], order=range(2, -1, -1))
    again = from_data(json.loads(json.dumps(as_data(layer))))
    again.load_state_dict(layer.state_dict())
    x = torch.randn(4, 3)
    torch.testing.assert_close(again(x), layer(x))


def test_numbers_that_are_no_sizes_may_be_large(tmp_path: Path) -> None:
    model = Flow([Planar(2)], Uniform(2, -100_000, 100_000))
    x = torch.zeros(1, 2)
    torch.testing.assert_close(mf.load(mf.save(model, tmp_path)).log_prob(x), model.log_prob(x))
    seeded_model = models.maf(3, order="random", seed=2**29)
    assert mf.load(mf.save(seeded_model, tmp_path)).log_prob(torch.zeros(1, 3)).shape == (1,)
