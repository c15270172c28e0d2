"""Buffers that follow from how a module was built: right also where torch leaves memory as it finds it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn


class HoldsConstants(nn.Module):
    """A module with buffers that no training changes, most of which no file holds.

    Moved off the meta device by `to_empty`, or loaded there with assign=True, a module has what it was built with.
    """

    @abstractmethod
    def _constants(self) -> dict[str, Tensor]:
        """These buffers by name, on the CPU, made anew from what the module remembers."""

    def _register_constants(self) -> None:
        """Make all of them buffers that no file holds, on torch's default device."""
        for name, constant in self._constants().items():
            self.register_buffer(name, constant.to(torch.get_default_device()), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        if any(now is not None and now is not before[name] for name, now in self._buffers.items()):
            self._write_constants()
        return self

    @torch.no_grad()
    def _write_constants(self) -> None:
        """Write the constants into their buffers, which are where and in the precision that they should be."""
        buffers = {name: now for name, now in self._buffers.items() if now is not None and not now.is_meta}
        if not buffers:
            return
        for name, constant in self._constants().items():
            if name in buffers:
                buffers[name].copy_(constant)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        local_metadata = args[0] if args else kwargs["local_metadata"]
        if local_metadata.get("assign_to_params_buffers"):
            device = next((each.device for each in state_dict.values() if isinstance(each, Tensor)), None)
            for name in self._constants():
                buffer = self._buffers[name]
                if buffer is not None and buffer.is_meta:
                    self._buffers[name] = torch.empty_like(buffer, device=device or torch.get_default_device())
            self._write_constants()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class HoldsWideConstants(HoldsConstants):
    """The same with constants in float64, which follow the module to another device and not to another precision."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for name, constant in self._constants().items():
            now = self._buffers[name]
            if now is not None and now.dtype != constant.dtype:
                self._buffers[name] = constant.to(now.device)
        return self
