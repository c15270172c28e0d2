"""The benchmark's results as a table."""

from __future__ import annotations

from typing import Any

from benchmarks.candidates import PEERS, SIZES

# asked for beside the floors of each size: for the strictest, sampling against its own log_prob and the share of the
# machine's rate; the growth of sampling in D
STRICTEST, SAMPLE_OVER_LOG_PROB, SHARE, EXPONENT = "CIFAR 5 x 3072", 1.3, 0.6, 2.1


def ratios(results: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The better peer's seconds over ours, and our megabytes over the leaner peer's, less than 1 MB taken as 1."""
    ours = results["marginflow"]
    found = {key: min(results[peer][key] for peer in PEERS) / ours[key] for key in ("step", "log_prob", "sample")}
    leanest = min(results[peer]["megabytes"] for peer in PEERS)
    return {**found, "megabytes": max(ours["megabytes"], 1) / max(leanest, 1)}


def _seconds(value: float) -> str:
    if value >= 10:
        return f"{value:.0f} s"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def table(record: dict[str, Any]) -> str:
    """Markdown: a row a model and library, then the ratios with what was asked for in brackets."""
    lines = [
        "| model | library | train step | log_prob | sample 100 | peak memory | parameters |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, results in record["models"].items():
        for library, each in results.items():
            estimated = " *" if "extrapolated_from_passes" in each else ""
            lines.append(
                f"| {name} | {library} | {_seconds(each['step'])} | {_seconds(each['log_prob'])} | "
                f"{_seconds(each['sample'])}{estimated} | {each['megabytes']:.0f} MB | "
                f"{each['parameters'] / 1e6:.2f} M |"
            )
    lines += [
        "",
        "\\* extrapolated from some of the D passes",
        "",
        "| against the better peer | train step | log_prob | sample 100 | peak memory | sample / our log_prob |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, results in record["models"].items():
        lines.append(_ratio_row(name, results))
    rate = record["matrix_rate"] / 1e9
    share = record["share_of_matrix_rate"][STRICTEST]
    exponent = max(record["sweep"][key]["marginflow"] for key in ("exponent", "exponent_from_512"))
    lines += [
        "",
        f"The machine multiplies 100 x 3072 by 3072 x 3072 at {rate:.0f} GFLOP/s; share of that rate in a training "
        "step, counting the triangle alone: "
        + ", ".join(f"{name} {each:.0%}" for name, each in record["share_of_matrix_rate"].items())
        + f". Asked for: {STRICTEST} {SHARE:.0%}{'' if share >= SHARE else ', not met'}.",
        "",
        "Exponent of the cost of sampling in D, 64 ... 4096 (512 ... 4096): "
        + ", ".join(
            f"{name} {record['sweep']['exponent'][name]:.2f} ({record['sweep']['exponent_from_512'][name]:.2f})"
            for name in record["sweep"]["exponent"]
        )
        + f". Asked for: marginflow {EXPONENT} at most{'' if exponent <= EXPONENT else ', not met'}.",
    ]
    return "\n".join(lines)


def _ratio_row(name: str, results: dict[str, dict[str, Any]]) -> str:
    floors = next(size.floors for size in SIZES if size.name == name)
    cells = []
    for i, (key, value) in enumerate(ratios(results).items()):
        text = f"{value:.2f}" if value < 100 else f"{value:.0f}"
        if floors:
            met = value <= floors[i] if key == "megabytes" else value >= floors[i]
            text += f" ({'<=' if key == 'megabytes' else '>='} {floors[i]:g}{'' if met else ', not met'})"
        cells.append(text)
    ours = results["marginflow"]
    own = ours["sample"] / ours["log_prob"]
    cells.append(_against(own, SAMPLE_OVER_LOG_PROB) if name == STRICTEST else f"{own:.2f}")
    return f"| {name} | {' | '.join(cells)} |"


def _against(value: float, most: float) -> str:
    return f"{value:.2f} (<= {most:g}{'' if value <= most else ', not met'})"
