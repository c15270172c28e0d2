"""Questions answered by many trainings: each module trains, writes its numbers and draws its table or figure."""

from pathlib import Path

RESULTS = Path("experiments/results")
