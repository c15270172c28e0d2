"""Linear layers under a staircase mask, stored and multiplied in bands."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS_A_CALL = 30_000  # how many weights are multiplied by 100 rows in the time that a call itself takes, about


def num_bands(in_features: int, out_features: int) -> int:
    """In how many bands a layer is quickest.

    b bands save (1 - 1 / b) / 2 of the products and cost b - 1 calls more, so the best b is sqrt(I O / (2 c)), c the
    weights that a call is worth.
    """
    best = round(math.sqrt(in_features * out_features / (2 * WEIGHTS_A_CALL)))
    return max(1, min(best, out_features))


def hide(weight: Tensor, edge: Tensor) -> Tensor:
    """A band's weight, in place, with its last columns times the edge."""
    weight[:, weight.shape[1] - edge.shape[1] :].mul_(edge)
    return weight


def _cuts(out_features: int, bands: int) -> list[int]:
    """Where the rows are cut into bands."""
    return [out_features * i // bands for i in range(bands + 1)] if bands else [0]


def _seen(columns: int, edge: Tensor) -> Tensor:
    """Which weights of a band the mask leaves: (rows, columns)."""
    return functional.pad(edge > 0, (columns - edge.shape[1], 0), value=True)


def _pack_state(layer: MaskedLinear, state: dict[str, Any], prefix: str, _: object) -> None:
    """Put one packed weight into a state where the bands are."""
    bands = [state.pop(f"{prefix}weights.{i}") for i in range(len(layer.weights))]
    state[f"{prefix}weight"] = layer.pack(bands)


class MaskedLinear(nn.Module):
    """A linear layer in which output i sees the inputs whose degree its own allows.

    y_i = b_i + sum over j of W_ij x_j,  j with in_degrees[j] <= out_degrees[i]  (< where `strict`)

    Both lists of degrees are sorted, so the mask is a staircase: the rows are cut into bands, and a band
    stores and multiplies only the columns that its last row sees. Inside a band only the last columns,
    its edge, are ragged; weights there that the mask hides are zero, and as their gradient is zero
    too they stay so, under any optimiser that treats each weight by itself (all of torch.optim but Muon). Who writes
    into a weight by hand keeps its zeros: `set_dense_weight` checks them.

    How many bands are quick is a matter of the machine. So the state has one `weight`, what the mask leaves of the
    matrix row by row, and initial weights are drawn in that order. Bands of any number are read too, as files of
    before hold them; there a hidden weight that is not zero is refused, and leaves the layer as it was.

    in_degrees (I,), out_degrees (O,): sorted. x (N, I) -> (N, O).
    """

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor, *, strict: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features = len(in_degrees), len(out_degrees)
        visible = torch.searchsorted(in_degrees, out_degrees, right=not strict)  # columns that a row sees
        self.cuts = _cuts(self.out_features, num_bands(self.in_features, self.out_features))
        self._visible = visible.tolist()
        for i, (top, bottom) in enumerate(pairwise(self.cuts)):
            start, end = self._visible[top], self._visible[bottom - 1]
            edge = torch.arange(start, end) < visible[top:bottom, None].to(torch.get_default_device())
            self.register_buffer(f"edge{i}", edge.to(torch.get_default_dtype()), persistent=False)
        bound = 1 / math.sqrt(max(self.in_features, 1))
        weights = self.unpack(torch.empty(sum(self._visible)).uniform_(-bound, bound))
        self.weights = nn.ParameterList(map(nn.Parameter, weights))
        self.bias = nn.Parameter(torch.empty(self.out_features).uniform_(-bound, bound))
        self.register_state_dict_post_hook(_pack_state)

    @property
    def tensors(self) -> list[Tensor]:
        """The bias and the bands of the weight."""
        return [self.bias, *self.weights]

    @property
    def edges(self) -> list[Tensor]:
        """For each band the mask over its last columns, (rows, columns): 1 where the weight is seen."""
        return [cast(Tensor, getattr(self, f"edge{i}")) for i in range(len(self.cuts) - 1)]

    def pack(self, bands: Sequence[Tensor]) -> Tensor:
        """What the mask leaves of bands, row by row: (number of such weights,)."""
        if bands[0].is_meta:
            return bands[0].new_empty(sum(self._visible))
        return torch.cat(
            [band.masked_select(_seen(band.shape[1], edge)) for band, edge in zip(bands, self.edges, strict=True)]
        )

    def unpack(self, packed: Tensor) -> list[Tensor]:
        """The bands that `pack` packs, zero where the mask hides."""
        bands, parts = [], packed.split([sum(self._visible[top:bottom]) for top, bottom in pairwise(self.cuts)])
        for (top, bottom), edge, part in zip(pairwise(self.cuts), self.edges, parts, strict=True):
            band = packed.new_zeros(bottom - top, self._visible[bottom - 1])
            bands.append(band.masked_scatter_(_seen(band.shape[1], edge.to(band.device)), part))
        return bands

    def forward(self, x: Tensor, tensors: Sequence[Tensor] | None = None) -> Tensor:
        """The output for `tensors`, by default its own. It can be differentiated any number of times.

        `forward` has the quick way through a whole network, for which nothing here is multiplied by a mask.
        """
        bias, *weights = self.tensors if tensors is None else tensors
        bands = []
        for (top, bottom), weight, edge in zip(pairwise(self.cuts), weights, self.edges, strict=True):
            start, end = weight.shape[1] - edge.shape[1], weight.shape[1]
            seen = torch.cat([weight[:, :start], weight[:, start:] * edge], 1)
            bands.append(functional.linear(x[:, :end], seen, bias[top:bottom]))
        return bands[0] if len(bands) == 1 else torch.cat(bands, 1)

    def pieces(self, top: int, bottom: int) -> list[tuple[int, int, int, int]]:
        """Rows top ... bottom band by band: (band, its first and last row, the place of the first among the rows)."""
        found = []
        for i in range(bisect_right(self.cuts, top) - 1, len(self.weights)):
            start, stop = max(top, self.cuts[i]), min(bottom, self.cuts[i + 1])
            if start >= stop:
                break
            found.append((i, start - self.cuts[i], stop - self.cuts[i], start - top))
        return found

    def partial(self, top: int, bottom: int, below: Tensor) -> Tensor:
        """Rows top ... bottom of the output, (rows, N), as far as the first inputs go, below (inputs, N)."""
        rows = [below.new_empty(0, below.shape[1])]
        for band, first, last, place in self.pieces(top, bottom):
            weight = self.weights[band][first:last, : len(below)]
            bias = self.bias[top + place : top + place + last - first, None]
            rows.append(torch.addmm(bias, weight, below[: weight.shape[1]]))
        return torch.cat(rows)

    def block(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """Rows top ... bottom and columns left ... right of the weight, zero where hidden."""
        blocks = [self.bias.new_empty(0, right - left)]
        for band, first, last, _ in self.pieces(top, bottom):
            weight = self.weights[band][first:last, left:right]
            blocks.append(functional.pad(weight, (0, right - left - weight.shape[1])))
        return torch.cat(blocks)

    @torch.no_grad()
    def dense_weight(self) -> Tensor:
        """The weight as one masked matrix: (O, I), a copy."""
        return self.block(0, self.out_features, 0, self.in_features)

    @torch.no_grad()
    def set_dense_weight(self, weight: Tensor) -> None:
        """Take over a matrix (O, I); ValueError where it is not zero where the mask hides it."""
        for (top, bottom), band, edge in zip(pairwise(self.cuts), self.weights, self.edges, strict=True):
            rows, end = weight[top:bottom].to(band), band.shape[1]
            seen = rows[:, :end].clone()
            if bool(rows[:, end:].any()) or not torch.equal(hide(seen.clone(), edge), seen):
                raise ValueError(f"rows {top} ... {bottom - 1} of the weight are not zero where the mask hides them")
            band.copy_(seen)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        errors: list[str] = args[-1] if args else kwargs["error_msgs"]
        try:
            bands = self._read_bands(state_dict, prefix)
        except ValueError as error:
            errors.append(str(error))
            bands = [weight.detach() for weight in self.weights]  # so that nothing changes
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)  # bias; the weights follow, part by part
        if bands:
            state_dict.update({f"{prefix}weights.{i}": band for i, band in enumerate(bands)})

    def _read_bands(self, state_dict: dict[str, Any], prefix: str) -> list[Tensor]:
        """The bands of a state, taken out of it; ValueError where they do not fit, none where there are none."""
        packed, known = state_dict.pop(f"{prefix}weight", None), sum(self._visible)
        names = [f"{prefix}weights.{i}" for i in range(self.out_features) if f"{prefix}weights.{i}" in state_dict]
        given = [state_dict.pop(name) for name in names]
        if packed is not None:
            if given or packed.shape != (known,):
                also = f", and {names[0]} beside it" if given else ""
                raise ValueError(
                    f"{prefix}weight has shape {tuple(packed.shape)}{also}; expected ({known},), what the mask leaves"
                )
            return self.unpack(packed)
        rows = []
        for name, band, (top, bottom) in zip(names, given, pairwise(_cuts(self.out_features, len(given))), strict=True):
            expected = bottom - top, self._visible[bottom - 1]
            if band.shape != expected:
                raise ValueError(f"size mismatch for {name}: {tuple(band.shape)}; expected {expected}")
            seen = (
                torch.arange(expected[1], device=band.device)
                < torch.tensor(self._visible[top:bottom], device=band.device)[:, None]
            )
            if bool(band.masked_select(~seen).any()):
                raise ValueError(f"{name} has non-zero weights where the mask hides them")
            rows.append(band.masked_select(seen))
        return self.unpack(torch.cat(rows)) if rows else []

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bands={len(self.weights)}"
