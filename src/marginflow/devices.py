"""Where to compute: lightning-fabric's choice, or one clear refusal."""

from __future__ import annotations

from typing import Any

from lightning_fabric import Fabric


def fabric_on(device: str, precision: Any = "32-true") -> Fabric:
    """A Fabric on one device: "auto", "cpu", "cuda", ...; ValueError where there is no such device here."""
    try:
        return Fabric(accelerator=device, devices=1, precision=precision)
    except (ValueError, RuntimeError, ImportError) as error:
        raise ValueError(f"device {device!r} cannot be used here: {error}") from error
