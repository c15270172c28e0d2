"""Models as graphs that hold for any number of rows: exported and loaded, traced, and inside torch.func.

All that the registry holds, in torch's strict mode too, and samples of models that take long: stress/graphs.py.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from registry import DISTRIBUTIONS, SMALL_IMAGE_MODELS, build_distribution, small
from torch import Tensor, nn
from torch.export import Dim

from marginflow import models
from marginflow.base.distribution import Distribution
from marginflow.distributions import Flow

CHECK_THEMSELVES = (
    "from torch",
    "from elsewhere",
    "from elsewhere, with context",
)  # distributions of torch's, at values
NAMES = [name for name in DISTRIBUTIONS if name not in CHECK_THEMSELVES]
SOLVED = ("planar", "made_mog", "maf_mog", "flowpp")  # whose inverse is a loop of the graph, which takes long to export


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)  # torch's, of what it exports
    yield
    logging.disable(logging.NOTSET)


class Draw(nn.Module):
    """As many samples as there are rows of zeros."""

    def __init__(self, model: Distribution) -> None:
        super().__init__()
        self.model = model

    def forward(self, zeros: Tensor, context: Tensor | None = None) -> Tensor:
        return self.model.sample(zeros.shape[0], context)


def same_again(graph: nn.Module, module: nn.Module, args: tuple[Tensor, ...]) -> None:
    """Both give the same, noise drawn in the same order."""
    torch.default_generator.manual_seed(1)
    expected = module(*args)
    torch.default_generator.manual_seed(1)
    torch.testing.assert_close(graph(*args), expected, rtol=1e-4, atol=1e-4)


def export_and_load(module: nn.Module, args: tuple[Tensor, ...], folder: Path, *, strict: bool = False) -> nn.Module:
    """What comes of it once it was exported for any number of rows, saved to a file and loaded."""
    rows = Dim("rows")
    program = torch.export.export(module, args, dynamic_shapes=tuple({0: rows} for _ in args), strict=strict)
    torch.export.save(program, folder / "model.pt2")
    return torch.export.load(folder / "model.pt2").module()


def given(name: str, rows: int) -> tuple[Tensor, ...]:
    x, context = DISTRIBUTIONS[name].x(rows), DISTRIBUTIONS[name].context(rows)
    return (x,) if context is None else (x, context)


def export_log_prob(name: str, folder: Path, *, strict: bool) -> None:
    model = build_distribution(name).eval()
    loaded = export_and_load(model, given(name, 5), folder, strict=strict)
    for rows in (1, 2, 9):
        same_again(loaded, model, given(name, rows))


MODELS = [f"{each} flow" for each in models.MODELS] + [f"{each} image flow" for each in SMALL_IMAGE_MODELS]


@pytest.mark.filterwarnings("ignore:No complete tensor found:UserWarning")  # torch's, of weights stored channels last
@pytest.mark.parametrize("name", MODELS)
def test_log_prob_of_every_model_is_exported_for_any_number_of_rows(name: str, tmp_path: Path) -> None:
    export_log_prob(name, tmp_path, strict=False)


def export_sample(model: Flow, width: int, folder: Path) -> None:
    draw = Draw(model.eval())
    contexts = () if width == 0 else (torch.randn(5, width),)
    loaded = export_and_load(draw, (torch.zeros(5), *contexts), folder)
    for rows in (1, 2, 9):
        same_again(loaded, draw, (torch.zeros(rows), *(each[:1].expand(rows, -1) for each in contexts)))


@pytest.mark.parametrize("name", sorted(set(models.MODELS) - set(SOLVED)))
@pytest.mark.parametrize("width", [0, 2])
def test_sample_of_every_model_is_exported(name: str, width: int, tmp_path: Path) -> None:
    torch.default_generator.manual_seed(0)
    options = {**small(name), **({"blocks": 1} if not name.startswith("made") else {})}
    export_sample(models.MODELS[name](3, context_features=width, **options), width, tmp_path)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_traces_pass_the_check_of_torch_and_take_any_number_of_rows(name: str) -> None:
    """Where noise is drawn torch's check, which calls twice, has no meaning; ours draws the same."""
    model = build_distribution(name).eval()
    traced = torch.jit.trace(model, given(name, 5), check_trace=model.exact)
    same_again(traced, model, given(name, 9))


NOISY = ("marginalising", "noise", "pixels", "VFlow", "uniform")  # or without a gradient


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.filterwarnings(
    "ignore:There is a performance drop:UserWarning"
)  # torch's, of the gate's second derivative
@pytest.mark.parametrize("name", [name for name in NAMES if not any(word in name for word in NOISY)])
def test_densities_go_through_vmap_and_jacobians(name: str) -> None:
    """The gradient row by row is that of the sum."""
    model = build_distribution(name).eval()
    args = given(name, 3)

    def of_one(*own: Tensor) -> Tensor:
        return model.log_prob(*(each[None] for each in own))[0]

    x = args[0].clone().requires_grad_()
    (expected,) = torch.autograd.grad(model.log_prob(x, *args[1:]).sum(), x)
    torch.testing.assert_close(torch.func.vmap(of_one)(*args), model.log_prob(*args), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacrev(of_one))(*args), expected, rtol=1e-3, atol=1e-3)
    numbers = x[0].numel()
    hessian = torch.func.vmap(torch.func.hessian(of_one))(*args).reshape(3, numbers, numbers)
    torch.testing.assert_close(hessian, hessian.mT, rtol=1e-2, atol=1e-2)
