"""Steps that torch.compile has compiled, where it can."""

from __future__ import annotations

import os
import shutil
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from marginflow.base.data_warning import TrainingWarning


def compiler() -> str | None:
    """The C++ compiler that torch.compile calls for the CPU; None where there is none."""
    return shutil.which(os.environ.get("CXX") or "g++")


class Compiled:
    """An objective that is compiled when it is first called; where that fails it goes on as it is, and says so once.

    objective: (x, context) -> (N,). device: on which it works; for the CPU a C++ compiler is needed.
    """

    def __init__(self, objective: nn.Module, device: torch.device, stacklevel: int) -> None:
        self.objective, self._call, self._stacklevel = objective, objective, stacklevel
        if device.type == "cpu" and compiler() is None:
            self._leave(f"{os.environ.get('CXX') or 'g++'} is not here: install a C++ compiler, or set CXX to one", 2)
        else:
            self._call: Any = torch.compile(objective)

    def __call__(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        try:
            return self._call(x, context)
        except Exception as error:
            if self._call is self.objective or not _of_compiler(error):
                raise
            self._leave(" ".join(str(error).split())[:200], 3)
            return self.objective(x, context)

    def _leave(self, why: str, more: int) -> None:
        self._call = self.objective
        warnings.warn(f"training eagerly: {why}", TrainingWarning, stacklevel=self._stacklevel + more)


def _of_compiler(error: BaseException) -> bool:
    """Whether an error is the compiler's, and not that of the model."""
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)
