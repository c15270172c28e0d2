"""What print says of a model: of each layer what a person wants to know, and nothing else."""

from __future__ import annotations

import pytest
import torch
from registry import DISTRIBUTIONS, TRANSFORMS
from torch import nn

from marginflow import models
from marginflow.nets import GatedConvNet
from marginflow.transforms import Conv1x1, Coupling, FactorOut, Permutation, Planar, RationalQuadratic, Sequential


def test_a_flow_of_couplings_a_line_a_layer() -> None:
    assert str(models.nsf(4, structure="coupling", hidden=[8, 6], blocks=2, bins=5, bound=3.0)) == (
        "Flow(\n"
        "  (transform): Sequential(\n"
        "    (0): Coupling(4, transformed=[1, 3], RationalQuadratic(bins=5, bound=3.0), MLP(2, 28, [8, 6], relu))\n"
        "    (1): Coupling(4, transformed=[0, 2], RationalQuadratic(bins=5, bound=3.0), MLP(2, 28, [8, 6], relu))\n"
        "  )\n"
        "  (base): StandardNormal((4,))\n"
        ")"
    )


def test_equal_layers_are_counted() -> None:
    assert (
        str(Sequential(*(Planar(2) for _ in range(3)))) == "Sequential(\n  (0-2): 3 x Planar(2, activation='tanh')\n)"
    )
    assert str(Sequential()) == "Sequential()"


def test_layers_one_by_one() -> None:
    assert str(Permutation(3, [2, 0, 1])) == "Permutation(3, [2, 0, 1])"
    assert str(Conv1x1(4)) == "Conv1x1(4)"
    wide = Coupling([True] * 3 + [False] * 20, nn.Linear(3, 20 * 23), RationalQuadratic())
    assert str(wide) == (
        "Coupling(23, transformed=[3, 4, 5, 6, 7, 8, 9, 10, ...], RationalQuadratic(bins=8, bound=5.0), "
        "Linear(in_features=3, out_features=460, bias=True))"
    )
    assert str(GatedConvNet(2, 4, (4, 4), width=8, blocks=1, heads=2)).startswith(
        "GatedConvNet(2, 4, width=8, blocks=1"
    )
    assert "3 of 4 features are transformed" in str(FactorOut(4, 3, [Planar(3)]))


OURS = [name for name in (*TRANSFORMS, *DISTRIBUTIONS) if not name.startswith(("zuko", "nflows", "normflows", "freia"))]


@pytest.mark.parametrize("name", OURS)
def test_no_network_is_taken_apart(name: str) -> None:
    said = str((TRANSFORMS | DISTRIBUTIONS)[name].build())
    if "Foreign" not in said:
        for word in ("ModuleList", "Parameter", "MaskedLinear", "Conv2d", "<"):
            assert word not in said


def test_a_model_without_memory_prints_too() -> None:
    with torch.device("meta"):
        assert "transformed=[1, 3]" in str(models.realnvp(4, hidden=[8], blocks=1))
