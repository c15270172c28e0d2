"""Steps that are compiled: the same training where a compiler is at hand; where none is, an eager one and a word."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from marginflow import models
from marginflow.base.data_warning import TrainingWarning
from marginflow.training import TrainConfig, fit
from marginflow.training.compiled import Compiled, compiler

ROWS = torch.randn(220, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float32)


def losses(**settings: Any) -> list[float | None]:
    torch.default_generator.manual_seed(0)
    model = models.maf(2, hidden=[16, 16], blocks=2).float()
    history = fit(model, ROWS, TrainConfig(epochs=2, batch_size=50, **settings))
    return [value for record in history for value in (record.train_nll, record.validation_nll)]


def test_without_a_compiler_it_trains_eagerly_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = losses()
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert compiler() is None
    with pytest.warns(TrainingWarning, match="training eagerly: no-such-compiler is not here: install a C") as caught:
        assert losses(compile=True) == expected
    assert len(caught) == 1


def test_where_the_compiler_fails_it_trains_eagerly_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = losses()

    def failing(_: nn.Module) -> Any:
        def call(*_: Tensor | None) -> Tensor:
            raise TorchDynamoException("a header file is missing")

        return call

    monkeypatch.setattr("marginflow.training.compiled.compiler", lambda: "g++")
    monkeypatch.setattr(torch, "compile", failing)
    with pytest.warns(TrainingWarning, match="training eagerly: a header file is missing") as caught:
        assert losses(compile=True) == expected
    assert len(caught) == 1


def test_an_error_of_the_model_is_not_the_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("marginflow.training.compiled.compiler", lambda: "g++")
    monkeypatch.setattr(torch, "compile", lambda module: module)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Compiled(Wrong(), torch.device("cpu"), 1)(ROWS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # in torch itself
@pytest.mark.skipif(compiler() is None, reason="there is no C++ compiler")
def test_compiled_and_eager_trainings_agree() -> None:
    torch.compiler.reset()
    for ours, expected in zip(losses(compile=True), losses(), strict=True):
        assert ours == pytest.approx(expected, rel=1e-4)
