"""Every constructor and every data set takes settings as a caller has them, or refuses them in words."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import marginflow as mf
from marginflow import distributions, models, nets, transforms
from marginflow.base.settings import as_choice, as_real, as_sizes, generator_from
from marginflow.distributions import StandardNormal
from marginflow.nets.activations import as_activation
from marginflow.transforms import Planar

SMALL = {"hidden": [4], "blocks": 2, "width": 4, "num_train": 4, "num_validation": 4, "num_test": 4}

BUILT: dict[str, tuple[Callable[..., object], dict[str, Any]]] = {
    **{name: (model, {"features": 3}) for name, model in {**models.MODELS, **models.MIXTURES}.items()},
    **{name: (model, {"features": (1, 4, 4)}) for name, model in models.IMAGE_MODELS.items()},
    **{f"data.{name}": (mf.data.DATA_SETS[name], {}) for name in ("half_moons", "two_to_one", "pinwheel", "digits")},
    **{
        f"transforms.{name}": (getattr(transforms, name), {"features": 2})
        for name in ("ActNorm", "BatchNorm", "Conv1x1", "Permutation", "Radial", "Scaling", "Standardise", "Whiten")
    },
    **{
        f"transforms.{name}": (getattr(transforms, name), {})
        for name in ("Affine", "GaussianMixture", "LogisticMixture", "Logit", "RationalQuadratic", "SoftclipAffine",
                     "SoftplusAffine", "Squeeze", "Dequantise")
    },
    **{f"distributions.{each.__name__}": (each, {"shape": 2}) for each in distributions.ELEMENTARY},
    "TrainConfig": (mf.TrainConfig, {}),
    "VariationalConfig": (mf.VariationalConfig, {}),
    "diagonal_normal": (models.diagonal_normal, {"features": 2, "context_features": 1}),
    "nets.MLP": (nets.MLP, {"in_features": 2, "out_features": 2}),
    "nets.ConvNet": (nets.ConvNet, {"in_features": 2, "out_features": 2}),
    "nets.GatedConvNet": (nets.GatedConvNet, {"in_features": 2, "out_features": 2, "size": (2, 2)}),
    "transforms.Planar": (Planar, {"features": 2}),
    "transforms.Augment": (transforms.Augment, {"noise": StandardNormal(1)}),
    "transforms.Coupling": (transforms.Coupling, {"mask": [True, False], "conditioner": nets.MLP(1, 2)}),
    "transforms.FactorOut": (transforms.FactorOut, {"features": 3, "going_on": 2, "transforms": Planar(2)}),
    "transforms.Inverse": (transforms.Inverse, {"transform": Planar(2)}),
    "transforms.Flatten": (transforms.Flatten, {"shape": (1, 2, 2)}),
    "transforms.MaskedAutoregressive": (transforms.MaskedAutoregressive, {"features": 3, "hidden": [4]}),
    "transforms.LocalAutoregressive": (transforms.LocalAutoregressive, {"shape": (2, 3, 3), "hidden": [4]}),
    "distributions.Flow": (mf.Flow, {"transform": [Planar(2)], "base": StandardNormal(2)}),
    "distributions.Marginalising": (mf.Marginalising, {"flow": models.planar(3), "noise": StandardNormal(1)}),
    "distributions.LabelMixture": (mf.LabelMixture, {"flow": models.planar(2, context_features=3), "num_classes": 3}),
    "distributions.Conditional": (
        distributions.Conditional,
        {"flow": models.planar(2, context_features=4), "network": nets.MLP(3, 4), "context_features": 3},
    ),
}  # fmt: skip
ODD: dict[str, Any] = {
    "a real number": 2.5, "a real whole number": 2.0, "text": "relu", "a number as text": "2", "none": None, "less": -1,
    "zero": 0, "true": True, "nan": float("nan"), "infinite": float("inf"), "no list": [], "a list": [2],
    "text in a list": ["a"],
    "an array": np.zeros((2, 2)), "a tensor": torch.tensor([0, 1]), "a class": StandardNormal, "an object": object(),
    "a dict": {"a": 1}, "a module": nn.Linear(2, 2), "of torch's": torch.distributions.Normal(0.0, 1.0),
    "numpy's": np.int64(2), "one of torch's": torch.tensor(2),
}  # fmt: skip


def odd(value: Any) -> Any:
    """A value of a type that is not asked for, as a caller without a type checker may give it."""
    return value


def arguments_of(name: str) -> tuple[Callable[..., object], dict[str, Any], list[str]]:
    make, given = BUILT[name]
    parameters = [
        each.name for each in inspect.signature(make).parameters.values() if each.kind is not each.VAR_KEYWORD
    ]
    return make, {**{key: SMALL[key] for key in SMALL if key in parameters}, **given}, parameters


@pytest.mark.parametrize("name", BUILT)
def test_odd_settings_are_right_or_refused_in_words(name: str) -> None:
    """Python's and torch's own errors do not reach a caller; numbers of numpy's and torch's are numbers."""
    make, given, parameters = arguments_of(name)
    for parameter in parameters:
        for kind, value in ODD.items():
            if name.startswith("data.") and parameter.startswith("num_") and kind == "one of torch's":
                continue  # the least number of rows
            try:
                make(**{**given, parameter: value})
            except Exception as error:
                said = f"{name}({parameter}={value!r}): {type(error).__name__}: {error}"
                if not isinstance(error, ValueError) or len(str(error)) < 20 or "Error" in str(error):
                    pytest.fail(said)


WHOLE = {
    "features", "blocks", "context_features", "components", "bins", "levels", "patch", "reach", "factor", "depth",
    "width", "in_features", "out_features", "num_train", "copies", "seed", "epochs", "batch_size", "num_classes",
}  # fmt: skip
REAL = {"bound", "dropout", "noise", "alpha", "slope", "floor", "lr", "ema"}
LISTS = {"hidden"}


@pytest.mark.parametrize("name", BUILT)
def test_nonsense_is_not_taken_for_a_number(name: str) -> None:
    make, given, parameters = arguments_of(name)
    for parameter in parameters:
        if parameter == "noise" and name in ("data.digits", "transforms.Dequantise", "transforms.Augment"):
            continue
        wrong: list[Any] = []
        if parameter in WHOLE:
            wrong = [-1, 2.5, 2.0, True, "2", None, float("nan"), (2, 2, 2, 2)]
            if parameter in ("features",) and name == "transforms.Augment":
                wrong.remove(None)
            if parameter == "num_train" or given.get(parameter) == (1, 4, 4):
                wrong = [-1, 2.5, True, None]
        elif parameter in REAL:
            wrong = [float("nan"), float("inf"), True, "2", [2.0]]
        elif parameter in LISTS:
            wrong = [8, 8.0, "8", [0], [-1], [2.5], [True], ["8"], None, np.zeros((2, 2))]
        for each in wrong:
            with pytest.raises(ValueError, match=r"got|TrainConfig|VariationalConfig"):
                make(**{**given, parameter: each})


def test_settings_of_numpys_and_torchs_build_the_same() -> None:
    for number, real, widths in ((np.int64, np.float32, np.array), (torch.tensor, torch.tensor, torch.tensor)):
        for given, meant in (
            ({"hidden": widths([4, 4])}, {"hidden": [4, 4]}),
            ({"blocks": number(2), "seed": number(3)}, {"blocks": 2, "seed": 3}),
            ({"bound": real(2.0), "dropout": real(0.5)}, {"bound": 2.0, "dropout": 0.5}),
            ({"order": widths([2, 0, 1])}, {"order": [2, 0, 1]}),
            ({"context_features": number(2)}, {"context_features": 2}),
        ):
            same = [models.maf(3, **{"hidden": [4], **each}) for each in (given, meant)]
            assert repr(same[0]) == repr(same[1])
            same[0].load_state_dict(same[1].state_dict())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.maf(2, activation="rellu"), r"one of relu, .* got 'rellu'; did you mean relu"),
        (lambda: models.nsf(2, structure=odd("couplings")), "; did you mean coupling"),
        (lambda: models.planar(2, activation="tanhh"), "; did you mean tanh"),
        (lambda: models.maf(2, hidden=odd(8)), r"widths, each at least 1; got 8: give \[8\]"),
        (lambda: models.maf(2, blocks=odd(2.0)), "blocks must be a whole number; got 2.0: give 2"),
        (lambda: models.maf(2).sample(odd((10,))), r"num_samples must be a whole number; got \(10,\): give 10"),
        (lambda: models.maf(2, activation=odd(nn.ReLU)), "got the class ReLU"),
        (lambda: models.maf(2, residual=odd("no"), hidden=[4, 4, 4]), "residual must be True or False; got 'no'"),
        (lambda: transforms.RationalQuadratic(8, float("inf")), "bound must be positive and finite; got inf"),
        (lambda: transforms.GaussianMixture(3, float("nan")), "bound must be positive and finite; got nan"),
        (lambda: models.diagonal_normal(2, context_features=-1), "context_features must be at least 1; got -1"),
        (lambda: mf.data.load("half_moons", nois=0.1), "; did you mean noise"),
        (lambda: mf.Flow([Planar(1)], StandardNormal((1, 4, 4))), r"vectors .* put Flatten\(\(1, 4, 4\)\) in front"),
        (lambda: mf.Flow(models.planar(2, context_features=3).transform, models.planar(2, context_features=4)),
         "contexts of 3 and of 4 features"),
        (lambda: transforms.Sequential(Planar(2), odd(Planar)), "part 1, counted from 0, must be a transform"),
        (lambda: transforms.Flatten((1, 2, 2))(torch.zeros(3, 4)), r"events of shape \(1, 2, 2\); got \(4,\)"),
        (lambda: transforms.Permutation(odd(torch.tensor([1, 0]))), "features must be a whole number"),
        (lambda: models.maf(2, blocks=odd(1.0)), "blocks must be a whole number; got 1.0: give 1"),
        (lambda: models.maf(2, blocks=odd(np.float32(2))), r"got np.float32\(2.0\): give 2"),
        (lambda: models.maf(2, blocks=odd(torch.tensor(2.0))), r"got tensor\(2.\): give 2"),
        (lambda: models.maf(10**30), "must have at most 2,147,483,647 features; got 10000"),
        (lambda: models.maf(2, hidden=[10**12]), "hidden must be at most 2,147,483,647; got 1000000000000"),
        (lambda: StandardNormal((2**20, 2**20)), "must have at most 2,147,483,647 features"),
        (lambda: models.glow((1, 0, 0)), r"glow works on images with at least 1 channel and 1 pixel; got \(1, 0, 0\)"),
        (lambda: models.realnvp_images((0, 4, 4)), r"at least 1 channel and 1 pixel; got \(0, 4, 4\)"),
        (lambda: models.maf_local((1, 0, 4)), r"at least 1 channel and 1 pixel; got \(1, 0, 4\)"),
        (lambda: mf.TrainConfig(odd(3)), r"takes settings by name, such as TrainConfig\(epochs=...\); got 3"),
        (lambda: setattr(mf.TrainConfig(), "lr", -1), r"stays as it is once given: build another, TrainConfig\(lr=-1"),
        (lambda: mf.TrainConfig(weight_decay=float("inf")), "weight_decay = inf: input should be a finite number"),
        (lambda: distributions.Uniform(2, low="a"), "low must be real numbers"),
        (lambda: distributions.Uniform(2, low=[0.0] * 3), "broadcast to the shape"),
    ],
)  # fmt: skip
def test_messages_say_what_to_give(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


ACTIVATIONS: dict[str, tuple[Any, str]] = {
    "numpy's": (np.tanh, "cannot take one that records gradients"),
    "a sum": (lambda x: x.sum(), r"makes \(\) of shape \(2, 3\)"),
    "no tensor": (lambda x: 3, "returns a value of type int"),
    "a softmax": (lambda x: x.softmax(-1), "mixes entries"),
    "a softmax over rows": (lambda x: x.softmax(0), "mixes entries"),
    "running sums": (lambda x: x.cumsum(-1), "mixes entries"),
    "the norm": (lambda x: x.norm() * x, "mixes entries"),
    "a reversal": (lambda x: x.flip(1), "mixes entries"),
    "a step": (lambda x: (x > 0).double(), "lets no gradient pass"),
    "detached": (lambda x: x.detach().tanh(), "lets no gradient pass"),
    "half": (nn.functional.glu, "cannot take one|makes"),
}
GOOD_ACTIVATIONS: list[Any] = [
    torch.tanh, nn.ReLU(inplace=True), nn.PReLU().double(), nn.PReLU(4).double(), nn.GELU(), nn.Hardtanh(),
    torch.relu_, lambda x: x, lambda x: x * torch.sigmoid(x), nn.functional.leaky_relu,
]  # fmt: skip


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations_that_are_none_are_refused_when_a_model_is_built(kind: str) -> None:
    activation, message = ACTIVATIONS[kind]
    for make in (models.maf, models.realnvp):
        with pytest.raises(ValueError, match=f"activation must be an elementwise function of tensors.*({message})"):
            make(3, hidden=[4], activation=activation)


@pytest.mark.parametrize("place", range(len(GOOD_ACTIVATIONS)))
def test_elementwise_activations_are_taken_and_draw_nothing(place: int) -> None:
    torch.default_generator.manual_seed(0)
    before = torch.get_rng_state()
    as_activation(GOOD_ACTIVATIONS[place])
    assert torch.equal(torch.get_rng_state(), before)
    with torch.device("meta"):
        as_activation(GOOD_ACTIVATIONS[place])
    assert models.maf(3, hidden=[4], activation=GOOD_ACTIVATIONS[place]).log_prob(torch.zeros(2, 3)).shape == (2,)


def test_checks_of_single_settings() -> None:
    assert as_real(np.float16(0.5), "x") == as_real(torch.tensor(0.5), "x") == 0.5
    assert as_sizes((1, np.int8(2)), "x") == as_sizes(torch.tensor([1, 2]), "x") == [1, 2]
    assert as_choice("a", "ab", "x") == "a"
    assert (
        torch.rand(2, generator=generator_from(np.int64(5))).tolist()
        == torch.rand(2, generator=torch.Generator().manual_seed(5)).tolist()
    )
    for call in (
        lambda: as_real(10**400, "x"), lambda: as_real(1j, "x"), lambda: as_choice("c", "ab", "x"),
        lambda: generator_from(2**63), lambda: as_sizes({1, 2}, "x"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"must .*; got"):
            call()
