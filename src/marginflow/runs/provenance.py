"""What a result was made by: versions, machine, and the commit of this code."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from marginflow.nets.products import known


def provenance() -> dict[str, Any]:
    """Versions, machine, threads, products of matrices, and the commit, for results; plain values."""
    products = known()
    return {
        "marginflow": version("marginflow"),
        "git_head": git_head(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "cuda": torch.version.cuda,
            "products": None if products is None else asdict(products),
        },
    }


@cache
def git_head(folder: Path = Path(__file__).parents[3]) -> str | None:
    """The commit of the code, with "+changes" where files differ from it; None outside a checkout.

    Args:
        folder: of the checkout; by default where this package is developed.

    Returns:
        The commit's hash.
    """
    if not (folder / ".git").exists():  # it was installed, perhaps into a folder of another project
        return None
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return f"{head}+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else head
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
