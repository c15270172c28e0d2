"""The trial of the products in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from marginflow.nets import back_ends, product_choice


@pytest.mark.skipif(not back_ends.has_onednn(), reason="this build of torch has no such function")
def test_the_trial_is_made_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("PYTHONPATH", raising=False)  # it finds the package where this process found it
    product_choice._measured.clear()
    try:
        choice, settings = product_choice.measured(1), torch.get_num_threads()
        kept = json.loads((tmp_path / product_choice.FILE).read_text())
        (found,) = kept.values()
        assert found["failure"] is None
        assert product_choice.Choice(**found["choice"]) == choice
        assert choice.back_end == "onednn"
        assert torch.get_num_threads() == settings
    finally:
        product_choice._measured.clear()
