"""The installed command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from helpers import Call, succeeds


def test_version_and_completion(call: Call) -> None:
    import marginflow

    assert succeeds(call("--version")).strip() == f"marginflow {marginflow.__version__}"
    assert "--install-completion" in succeeds(call("--help"))
    typed = {"_MARGINFLOW_COMPLETE": "complete_bash", "COMP_WORDS": "marginflow e", "COMP_CWORD": "1"}
    command = str(Path(sys.executable).with_name("marginflow"))
    completed = subprocess.run([command], env={**os.environ, **typed}, capture_output=True, text=True, check=False)
    assert completed.stdout.split() == ["evaluate"]
