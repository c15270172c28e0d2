"""The map from rows to noise: its inverse, its volume, who may see whom in it, how far its scales reach."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from marginflow.base.seeds import seeded
from marginflow.base.transform import Transform
from marginflow.evaluation.check.findings import Finding
from marginflow.evaluation.check.parts import Parts
from marginflow.evaluation.layer_outputs import layers_of
from marginflow.nets.masked.linear import MaskedLinear
from marginflow.transforms import Coupling, MaskedAutoregressive, Sequential
from marginflow.transforms.round_trip import TOLERANCE, miss

FLOAT64 = 1e-6  # the largest error of a round trip, of values of size one
POINTS = 3  # at which volumes are compared
LARGEST_JACOBIAN = 1024  # dimensions
PROJECTIONS = 8  # where it is larger
PROBES = 64  # dimensions that are moved, to see which others move
WIDEST = 15.0  # of a log-scale: e^15 times an error of float32 is of size one


def of_map(parts: Parts, seed: int = 0) -> Iterator[Finding]:
    """What there is to say of a map on some rows; of one that is not shown, that it is not."""
    if parts.transform is None:
        of_columns = "its columns have factors, probabilities among them, and no map from rows to noise"
        why = of_columns if parts.is_of_columns else "this density does not show its map from rows to noise"
        yield Finding("map", "skip", why)
        return
    few = parts.first(200 if parts.rows.shape[1:].numel() <= LARGEST_JACOBIAN else 16)
    yield from round_trips(few, seed)
    yield volume(few.double(), seed)
    yield from autoregressive(few.double(), seed)
    yield scales(few)


@torch.no_grad()
def round_trips(parts: Parts, seed: int) -> Iterator[Finding]:
    """From rows to noise and back, and from noise to rows and back, in the model's precision and in double."""
    own = str(parts.rows.dtype).removeprefix("torch.")
    for precision, most in ({own: TOLERANCE} | {"float64": FLOAT64}).items():
        here = parts.double() if precision == "float64" else parts
        transform, x, context = here.transform, here.rows, here.context
        assert transform is not None
        try:
            z, _ = transform(x, context)
            with seeded(seed):
                drawn = torch.randn_like(z)
            there = float(miss(x, transform.inverse(z, context)[0]).max())
            back = float(miss(drawn, transform(transform.inverse(drawn, context)[0], context)[0]).max())
        except ValueError as error:
            yield Finding(f"round trip, {precision}", "fail", str(error), "without an inverse there are no samples")
            continue
        yield Finding(
            f"round trip, {precision}",
            "pass" if max(there, back) <= most else "fail",
            f"rows come back within {there:.1e}, noise within {back:.1e} (limit {most:.0e})",
            ""
            if max(there, back) <= most
            else "samples are not from this density: inverse and forward disagree; where "
            f"only {own} fails, bound the scales more tightly",
        )


def jacobian(transform: Transform, x: Tensor, context: Tensor | None) -> Tensor:
    """dz/dx at one row x (1, *event) by autograd: (D', D)."""
    size = transform(x, context)[0].numel()
    rows = x.expand(size, *x.shape[1:]).detach().clone().requires_grad_(True)
    z, _ = transform(rows, None if context is None else context.expand(size, *context.shape[1:]))
    (gradient,) = torch.autograd.grad(z.flatten(1).diagonal().sum(), rows)
    return gradient.flatten(1)


def volume(parts: Parts, seed: int) -> Finding:
    """The log-determinant against that of the Jacobian; where it is too large, their change along a direction."""
    transform, x, context = parts.transform, parts.rows, parts.context
    assert transform is not None
    name, remedy = (
        "log-determinant",
        "densities are wrong by that much: a term of log_det is missing or has the wrong sign",
    )
    size = x.shape[1:].numel()
    try:
        if size > LARGEST_JACOBIAN:
            return _projected(transform, x[:1], None if context is None else context[:1], seed, remedy)
        worst = 0.0
        for i in range(min(POINTS, len(x))):
            row, given = x[i : i + 1], None if context is None else context[i : i + 1]
            true = torch.linalg.slogdet(jacobian(transform, row, given))[1]
            with torch.no_grad():
                worst = max(worst, float((transform(row, given)[1] - true).abs().nan_to_num(math.inf, math.inf)))
    except RuntimeError as error:
        return Finding(name, "skip", f"no gradient passes through the map ({str(error).splitlines()[0]})")
    most = 1e-6 * (size + 10)
    found = f"differs from autograd's by {worst:.1e} nats at most, at {min(POINTS, len(x))} rows (limit {most:.0e})"
    return Finding(name, "pass" if worst <= most else "fail", found, "" if worst <= most else remedy)


def _projected(
    transform: Transform, x: Tensor, context: Tensor | None, seed: int, remedy: str, count: int = PROJECTIONS
) -> Finding:
    """d/dt log_det(x + t v) against tr(J^-1 dJ/dt), the trace by random projections g: g' J^-1 (dJ/dt) g.

    v is the direction in which log_det says that it changes most.

    References:
        Hutchinson, A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines, 1989.
    """
    with seeded(seed):
        projections = [torch.randn_like(x).sign() for _ in range(count)]
    point = x.detach().clone().requires_grad_(True)
    z, log_det = transform(point, context)
    (slope,) = torch.autograd.grad(log_det.sum(), point)
    v = slope / slope.norm().clamp_min(1e-300)
    said = float((slope * v).sum())
    traces = []
    for g in projections:
        latent = z.detach().clone().requires_grad_(True)
        (left,) = torch.autograd.grad((transform.inverse(latent, context)[0] * g).sum(), latent)
        point = x.detach().clone().requires_grad_(True)
        (pulled,) = torch.autograd.grad((transform(point, context)[0] * left).sum(), point, create_graph=True)
        (change,) = torch.autograd.grad((pulled * g).sum(), point)
        traces.append(float((change * v).sum()))
    estimates = torch.tensor(traces, dtype=torch.float64)
    error = float(estimates.std() / len(traces) ** 0.5)
    off = abs(float(estimates.mean()) - said)
    passed = off <= 5 * error + 1e-6 * (1 + abs(said))
    resolved = 5 * error <= abs(said) / 2 + 1e-6  # else 0 and twice as much would pass too
    found = (
        f"changes along a direction by {said:.4g}; by random projections of its Jacobian {float(estimates.mean()):.4g} "
        f"± {error:.1g}, which sees no constant that is missing"
    )
    if passed and not resolved:
        return Finding("log-determinant", "cannot tell", f"because the error is too large: log_det {found}")
    return Finding("log-determinant", "pass" if passed else "fail", found, "" if passed else remedy)


def layers_with_input(
    transform: Transform, x: Tensor, context: Tensor | None
) -> Iterator[tuple[str, Transform, Tensor]]:
    """Each layer that is none of layers, with its place and what reaches it."""
    for i, layer in enumerate(layers_of(transform), 1):
        if isinstance(layer, Sequential):
            yield from ((f"{i}.{name}", each, rows) for name, each, rows in layers_with_input(layer, x, context))
        else:
            yield f"{i}: {type(layer).__name__}", layer, x
        with torch.no_grad():
            x, _ = layer(x, context)


@torch.no_grad()
def autoregressive(parts: Parts, seed: int) -> Iterator[Finding]:
    """Of masked autoregressive layers: that no dimension sees one after it, and that all are seen by some."""
    assert parts.transform is not None
    some = parts.first(8)
    every = layers_with_input(parts.transform, some.rows, some.context)
    masked = [(name, layer, rows) for name, layer, rows in every if isinstance(layer, MaskedAutoregressive)]
    if not masked:
        return
    leaks, unseen, probed = [], 0, 0
    for name, layer, rows in masked:
        order = cast(MaskedAutoregressive, layer).order
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        with seeded(seed):
            dimensions = torch.randperm(len(order))[:PROBES].tolist()
            shifts = torch.randn(len(rows)).to(rows)
        z, _ = layer(rows, some.context)
        for j in dimensions:
            moved = rows.clone()
            moved[:, j] += shifts
            changed = (layer(moved, some.context)[0] != z).any(0)
            if bool(changed[place < place[j]].any()):
                leaks.append((name, j))
            if place[j] < len(order) - 1:  # nothing comes after the last
                probed += 1
                unseen += not bool(changed[place > place[j]].any())
    yield Finding(
        "triangularity",
        "fail" if leaks else "pass",
        f"in {leaks[0][0]} dimension {leaks[0][1]} moves one before it" if leaks else f"of {len(masked)} masked layers",
        "the Jacobian is not triangular, so log_det is wrong: order and masks do not belong together" if leaks else "",
    )
    share = unseen / max(probed, 1)
    yield Finding(
        "inputs that influence nothing",
        "pass" if not unseen else "fail" if share > 0.1 else "warn",
        f"{unseen} of {probed} probed inputs of masked layers influence no other dimension",
        _reaching([cast(MaskedAutoregressive, layer) for _, layer, _ in masked]) if unseen else "",
    )


def _reaching(layers: Sequence[MaskedAutoregressive]) -> str:
    """How inputs of masked layers come to influence others."""
    width = max(len(layer.order) for layer in layers) - 1
    if any(layer.degrees != "even" for layer in layers):
        return f'hidden degrees cut them off: use degrees = "even", and layers of at least {width} units'
    widths = [
        (cast(MaskedLinear, each).out_features, len(layer.order))
        for layer in layers
        for each in layer.network.hidden_layers
    ]
    if any(units < features - 1 for units, features in widths):
        return f"hidden layers are too narrow to pass all inputs on: use at least {width} units in each"
    return "their weights are 0, or the hidden units that see them never active: train again with another seed"


@torch.no_grad()
def scales(parts: Parts) -> Finding:
    """How far log-scales reach, as they say, and on rows a hundred times as far out as those given."""
    transform, x, context = parts.transform, parts.rows, parts.context
    assert transform is not None
    layers = [layer for layer in transform.modules() if isinstance(layer, Coupling | MaskedAutoregressive)]
    univariates = [layer.univariate for layer in layers]
    if any(each.num_params > 2 for each in univariates):  # far out their slopes fall as those of densities do
        return Finding("scales", "skip", "asked of shifts and scales; these are splines or mixtures")
    widest = max((float(getattr(each, "bound", 0.0)) for each in univariates), default=0.0)
    middle, size = x.mean(0), x.shape[1:].numel()
    far = middle + 100 * (x - middle)
    z, log_det = transform(far, context)
    per_dimension = float((log_det.abs() / size).nan_to_num(math.inf, math.inf).max())
    finite = bool(torch.isfinite(z).all())
    found = f"on rows a hundred times as far out log_det is {per_dimension:.1f} nats a dimension at most"
    if not finite or per_dimension > WIDEST:
        return Finding(
            "scales", "fail" if layers else "warn", f"{found}{'' if finite else ', and z is not finite'}", _REMEDY
        )
    if widest > WIDEST:
        return Finding("scales", "warn", f"a log-scale may reach {widest:g}; {found}", _REMEDY)
    return Finding("scales", "pass", found)


_REMEDY = "a scale without a bound lets samples and densities explode: set bound, 5 or less"
