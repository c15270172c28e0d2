"""Where to compute: lightning-fabric's choice, or one clear refusal."""

from __future__ import annotations

from typing import Literal

import torch
from lightning_fabric import Fabric


def fabric_on(device: str, precision: Literal["32-true", "64-true"] = "32-true") -> Fabric:
    """A Fabric on one device: "auto" (CUDA where there is any, else the CPU), "cpu", "cuda", ...

    ValueError where there is no such device here, or it has no float64, in which sums are taken.
    """
    if device == "mps":
        raise ValueError("device 'mps' cannot be used: it has no float64; use 'cpu'")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return Fabric(accelerator=device, devices=1, precision=precision)
    except (ValueError, RuntimeError, ImportError) as error:
        raise ValueError(f"device {device!r} cannot be used here: {error}") from error
