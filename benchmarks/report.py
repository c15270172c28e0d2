"""The benchmark's results as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.candidates import PEERS
from benchmarks.floors import EXPONENT, SHARE, Floors, shown
from benchmarks.sizes import MOST_ASKED, Size, named
from benchmarks.ways import AS_IT_COMES

CALLS = ("step", "log_prob")


def quickest(ways: Mapping[str, float]) -> tuple[str, float]:
    """The way that takes the fewest seconds, and these."""
    return min(ways.items(), key=lambda item: item[1])


def ratios(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The better peer's seconds over ours, our megabytes over the leaner peer's, less than 1 MB taken as 1.

    "same_step" and "same_log_prob" are of the quickest ways, theirs and ours; "own" is our sampling over our log_prob.
    """
    ours, peers = results["marginflow"], [results[peer] for peer in PEERS]
    found = {key: min(peer[key] for peer in peers) / ours[key] for key in (*CALLS, "sample")}
    for key in CALLS:
        found[f"same_{key}"] = min(quickest(peer["ways"][key])[1] for peer in peers) / quickest(ours["ways"][key])[1]
    leanest = min(peer["megabytes"] for peer in peers)
    return {
        **found,
        "megabytes": max(ours["megabytes"], 1) / max(leanest, 1),
        "own": ours["sample"] / ours["log_prob"],
    }


def limits(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The ratios that no code could exceed which multiplies as ours does: the better peer's seconds as it comes over
    those of our products alone, and of Adam in a step."""
    least = results["marginflow"]["limits"]
    return {key: min(results[peer][key] for peer in PEERS) / least[key] for key in CALLS}


def seconds(value: float) -> str:
    """Seconds in three digits."""
    if value >= 10:
        return f"{value:.0f} s"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def share_of_rate(size: Size, step: float, rate: float) -> float:
    """What a training step does of what the machine could multiply in that time, counting the triangle alone."""
    return 6 * size.rows * size.triangle / step / rate


def table(record: Mapping[str, Any]) -> str:
    """Markdown: the times, the ratios with what was asked for in brackets, the machine's rates."""
    return "\n\n".join(
        ["\n".join(_times(record)), "\n".join(_ratios(record)), _rates(record), _exponents(record), *_reasons(record)]
    )


def _times(record: Mapping[str, Any]) -> list[str]:
    lines = [
        "| model | library | train step | quickest way | log_prob | quickest way | sample | peak memory | parameters |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, results in record["models"].items():
        for library, each in results.items():
            calls = " | ".join(f"{seconds(each[key])} | {_way(each['ways'][key])}" for key in CALLS)
            estimated = " *" if "extrapolated_from_passes" in each else ""
            lines.append(
                f"| {name} | {library} | {calls} | {seconds(each['sample'])}{estimated} | "
                f"{each['megabytes']:.0f} MB | {each['parameters'] / 1e6:.2f} M |"
            )
    return [*lines, "", "\\* extrapolated from some of the D passes"]


def _way(ways: Mapping[str, float]) -> str:
    """The quickest way where it is not the library as it comes."""
    name, value = quickest(ways)
    return "" if name == AS_IT_COMES else f"{seconds(value)}, {name}"


def _ratios(record: Mapping[str, Any]) -> list[str]:
    lines = [
        "| against the better peer | train step, as it comes | limit | quickest ways | log_prob, as it comes | limit "
        "| quickest ways | sample | peak memory | sample / our log_prob |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, results in record["models"].items():
        floors, found = named(name).floors or Floors(), ratios(results)
        keys = ["step", "same_step", "log_prob", "same_log_prob", "sample", "megabytes", "own"]
        if all(len(each["ways"][key]) == 1 for each in results.values() for key in CALLS):
            found |= {"same_step": None, "same_log_prob": None}  # nothing but as it comes was timed
        cells = ["" if found[key] is None else getattr(floors, key).judged(found[key]) for key in keys]
        for column, limit in zip((1, 4), limits(results).values(), strict=True):
            cells.insert(column, shown(limit))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _rates(record: Mapping[str, Any]) -> str:
    rates = {int(threads): each for threads, each in record["rates"].items()}
    most = max(rates)
    shares = record["share_of_best_rate"]
    each = "; ".join(
        f"{threads} thread{'' if threads == 1 else 's'} "
        + ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in found.items())
        for threads, found in rates.items()
    )
    judged = "" if SHARE.met(shares[MOST_ASKED]) else ", not met"
    return (
        f"The machine multiplies 100 x 3072 by 3072 x 3072 at {max(rates[most].values()) / 1e9:.0f} GFLOP/s (each back "
        f"end: {each}); share of that rate in a training step, counting the triangle alone: "
        + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        + f". Asked for: {MOST_ASKED} {SHARE.bound:.0%}{judged}."
    )


def _exponents(record: Mapping[str, Any]) -> str:
    sweep = record["sweep"]
    ours = max(sweep[key]["marginflow"] for key in ("exponent", "exponent_from_512"))
    each = ", ".join(
        f"{name} {sweep['exponent'][name]:.2f} ({sweep['exponent_from_512'][name]:.2f})" for name in sweep["exponent"]
    )
    return (
        f"Exponent of the cost of sampling in D, 64 ... 4096 (512 ... 4096): {each}. Asked for: marginflow "
        f"{EXPONENT.bound:g} at most{'' if EXPONENT.met(ours) else ', not met'}."
    )


def _reasons(record: Mapping[str, Any]) -> list[str]:
    """What stands in the record of ways that were not timed, and of the products."""
    left_out = [
        f"{name}, {library}, {what}: {reason}"
        for name, results in record["models"].items()
        for library, each in results.items()
        for what, reason in each["left_out"].items()
    ]
    return [record["products"], *(["Left out: " + "; ".join(left_out)] if left_out else [])]
