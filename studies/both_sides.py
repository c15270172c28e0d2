"""The figure of docs/marginalising.md: log p from both sides, by cost: `python -m studies.both_sides`.

A normal density whose posterior lies 0.3 standard deviations off in each of 512 noise dimensions, where log p is known.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch.distributions import Independent, Normal

import marginflow as mf
from marginflow.interop import from_torch

NOISE, SHIFT, ROWS, CHAINS = 512, 0.3, 50, 8
OUTPUT = Path("docs/images/both_sides")


def main() -> None:
    """Draw it, as PNG and SVG."""
    mean = torch.cat([torch.zeros(2), torch.full((NOISE,), SHIFT)])
    model = mf.Marginalising(from_torch(Independent(Normal(mean, 1.0), 1)), mf.distributions.StandardNormal(NOISE))
    torch.manual_seed(0)
    draws, temperatures = [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000], [5, 10, 20, 40, 80, 160, 320]
    x = torch.randn(ROWS, 2)
    truth = mf.distributions.StandardNormal(2).log_prob(x)
    weights = [float((mf.log_likelihood(model, x, num_samples=k).log_prob - truth).mean()) for k in draws]
    lower, upper = [], []
    for number in temperatures:
        torch.manual_seed(1)
        drawn = model.sample(ROWS)
        torch.manual_seed(1)
        gap = mf.likelihood_gap(model, ROWS, num_samples=CHAINS, num_temperatures=number)
        known = mf.distributions.StandardNormal(2).log_prob(drawn)
        lower.append(float((gap.lower - known).mean()))
        upper.append(float((gap.upper - known).mean()))
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    axes.axhline(0, color="0.6", lw=1, ls=":")
    axes.plot(draws, weights, "o-", color="0.45", ms=4, label="importance weights, K draws")
    cost = [5 * CHAINS * number for number in temperatures]
    axes.plot(cost, upper, "v--", color="0.2", ms=5, label="annealed, from above")
    axes.plot(cost, lower, "^-", color="0.0", ms=5, label="annealed, from below")
    axes.set(xscale="log", xlabel="evaluations of p(x, \u03b5) a row", ylabel="nats above log p(x)")
    axes.set_ylim(-25, 6)
    axes.legend(frameon=False, loc="lower right")
    for ending in ("png", "svg"):
        figure.savefig(OUTPUT.with_suffix(f".{ending}"), dpi=150)


if __name__ == "__main__":
    main()
