"""Linear layers under a staircase mask, stored and multiplied in bands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from marginflow.base.constants import HoldsConstants
from marginflow.nets import products
from marginflow.nets.memory import Memory

WEIGHTS_A_CALL = 30_000  # how many weights are multiplied by 100 rows in the time that a call itself takes, about


class Band(NamedTuple):
    """Rows of a layer that one band holds.

    number: of the band. rows: in the layer. own: the same, in the band's weight. place: among the rows asked for.
    """

    number: int
    rows: slice
    own: slice
    place: slice


def num_bands(in_features: int, out_features: int) -> int:
    """In how many bands a layer is quickest.

    b bands save (1 - 1 / b) / 2 of the products and cost b - 1 calls more, so the best b is sqrt(I O / (2 c)), c the
    weights that a call is worth.
    """
    best = round(math.sqrt(in_features * out_features / (2 * WEIGHTS_A_CALL)))
    return max(1, min(best, out_features))


def cut(rows: int, bands: int) -> list[int]:
    """Where so many rows are cut into bands: the first row of each, and the end."""
    return [rows * i // max(bands, 1) for i in range(bands + 1)]


def _first(x: Tensor, columns: int) -> Tensor:
    return x if x.shape[1] == columns else x[:, :columns]


def _pack_state(layer: MaskedLinear, state: dict[str, Any], prefix: str, _: object) -> None:
    """Put one packed weight into a state where the bands are."""
    bands = [state.pop(f"{prefix}weights.{i}") for i in range(len(layer.weights))]
    state[f"{prefix}weight"] = layer.pack(bands)


class MaskedLinear(HoldsConstants):
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
        self._visible = torch.searchsorted(in_degrees, out_degrees, right=not strict)  # columns that a row sees
        self.num_visible = int(self._visible.sum())
        self.cuts = cut(self.out_features, num_bands(self.in_features, self.out_features))
        self.all_bands = self.bands(0, self.out_features)
        device, dtype = torch.get_default_device(), torch.get_default_dtype()
        self._edge_names = [f"edge{band.number}" for band in self.all_bands]
        for name, edge in self._constants().items():
            self.register_buffer(name, edge.to(device, dtype), persistent=False)
        bound = 1 / math.sqrt(max(self.in_features, 1))
        weights = self.unpack(torch.empty(self.num_visible).uniform_(-bound, bound))
        self.weights = nn.ParameterList(map(nn.Parameter, weights))
        self.bias = nn.Parameter(torch.empty(self.out_features).uniform_(-bound, bound))
        self.gradients = [Memory() for _ in weights]  # of the bands
        self.register_state_dict_post_hook(_pack_state)

    def train(self, mode: bool = True) -> Self:
        for memory in () if mode else self.gradients:
            memory.release()
        return super().train(mode)

    def _constants(self) -> dict[str, Tensor]:
        """The masks over the ragged ends of the bands."""
        starts = [int(self._visible[band.rows][0]) for band in self.all_bands]
        masks = [self._mask(band.rows, self._visible.device) for band in self.all_bands]
        return {f"edge{i}": mask[:, start:] for i, (mask, start) in enumerate(zip(masks, starts, strict=True))}

    @property
    def tensors(self) -> list[Tensor]:
        """The bias and the bands of the weight."""
        bias = self._parameters.get("bias")  # looking for attributes, and iterating over modules, takes 10 us
        weights = cast("nn.Module", self._modules["weights"])._parameters.values()
        return [self.bias if bias is None else bias, *cast("Iterable[Tensor]", weights)]

    @property
    def columns(self) -> list[Tensor]:
        """The bias as a column, (O, 1), and the bands of the weight: for inputs that stand in columns."""
        return [self.bias.unsqueeze(1), *self.tensors[1:]]

    @property
    def edges(self) -> list[Tensor]:
        """For each band the mask over its last columns, (rows, columns): 1 where the weight is seen."""
        return [cast(Tensor, getattr(self, f"edge{band.number}")) for band in self.all_bands]

    def bands(self, top: int, bottom: int) -> list[Band]:
        """Where rows top ... bottom stand in the bands, one after the other."""
        found = []
        for i, (first, end) in enumerate(pairwise(self.cuts)):
            start, stop = max(top, first), min(bottom, end)
            if start < stop:
                found.append(Band(i, *(slice(start - shift, stop - shift) for shift in (0, first, top))))
        return found

    def _mask(self, rows: slice, device: torch.device) -> Tensor:
        """Which weights of some rows the mask leaves, of the columns that the last of them sees: (rows, columns)."""
        visible = self._visible[rows].to(device)
        return torch.arange(int(self._visible[rows][-1]), device=device) < visible[:, None]

    def pack(self, bands: Sequence[Tensor], cuts: Sequence[int] | None = None) -> Tensor:
        """What the mask leaves of bands, row by row: (number of such weights,). cuts: where bands of others are cut."""
        cuts = self.cuts if cuts is None else cuts
        if bands[0].is_meta:
            return bands[0].new_empty(self.num_visible)
        parts = zip(bands, cuts[:-1], cuts[1:], strict=True)
        return torch.cat([band.masked_select(self._mask(slice(*ends), band.device)) for band, *ends in parts])

    def unpack(self, packed: Tensor) -> list[Tensor]:
        """The bands that `pack` packs, zero where the mask hides."""
        parts = packed.split([int(self._visible[band.rows].sum()) for band in self.all_bands])
        masks = (self._mask(band.rows, packed.device) for band in self.all_bands)
        return [
            torch.zeros_like(mask, dtype=packed.dtype).masked_scatter_(mask, part)
            for mask, part in zip(masks, parts, strict=True)
        ]

    def forward(self, x: Tensor, tensors: Sequence[Tensor] | None = None) -> Tensor:
        """The output for `tensors`, by default its own. It can be differentiated any number of times."""
        bias, *weights = self.tensors if tensors is None else tensors
        out = []
        for band, weight, edge in zip(self.all_bands, weights, self.edges, strict=True):
            start, end = weight.shape[1] - edge.shape[1], weight.shape[1]
            seen = torch.cat([weight[:, :start], weight[:, start:] * edge], 1)
            out.append(functional.linear(x[:, :end], seen, bias[band.rows]))
        return out[0] if len(out) == 1 else torch.cat(out, 1)

    def product(self, x: Tensor, tensors: Sequence[Tensor]) -> Tensor:
        """The same without a graph, for which nothing is multiplied by a mask: x W^T + b, (N, I) -> (N, O)."""
        bias, *weights = tensors
        if len(weights) == 1:
            return products.linear(_first(x, weights[0].shape[1]), weights[0], bias)
        out = x.new_empty(x.shape[0], self.out_features)
        for band, weight in zip(self.all_bands, weights, strict=True):
            products.forward(x[:, : weight.shape[1]], weight, out[:, band.rows])
        return out.add_(bias)  # once for all bands

    def product_back(self, grad: Tensor, tensors: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
        """The gradient of x, grad W: (N, O) -> (N, I), added to `out` where that is given."""
        *others, (last, widest) = zip(self.all_bands, tensors[1:], strict=True)
        rows = grad[:, last.rows] if others else grad
        if out is not None:
            products.input_gradient(rows, widest, _first(out, widest.shape[1]), accumulate=True)
        elif widest.shape[1] == self.in_features:
            out = products.input_gradient(rows, widest)
        else:  # some inputs are seen by no one
            out = grad.new_zeros(len(grad), self.in_features)
            products.input_gradient(rows, widest, out[:, : widest.shape[1]])
        for band, weight in others:
            products.input_gradient(grad[:, band.rows], weight, _first(out, weight.shape[1]), accumulate=True)
        return out

    def tensors_back(
        self, x: Tensor, grad: Tensor, tensors: Sequence[Tensor], needed: Sequence[bool]
    ) -> list[Tensor | None]:
        """The gradients of bias and bands that need one; zero where the mask hides a weight, which so stays zero."""
        grads: list[Tensor | None] = [grad.sum(0) if needed[0] else None]
        for band, weight, wanted in zip(self.all_bands, tensors[1:], needed[1:], strict=True):
            if not wanted:
                grads.append(None)
                continue
            rows, seen = grad if len(tensors) == 2 else grad[:, band.rows], _first(x, weight.shape[1])
            target = self.gradients[band.number].empty((weight.shape[0], weight.shape[1]), x)
            found = products.weight_gradient(rows, seen, target)
            edge = cast(Tensor, self._buffers[self._edge_names[band.number]])
            if edge.shape[1]:
                inner = found.shape[1] - edge.shape[1]
                (found[:, inner:] if inner else found).mul_(edge)
            grads.append(found)
        return grads

    def partial(
        self, tensors: Sequence[Tensor], bands: Sequence[Band], below: Tensor, out: Tensor | None = None
    ) -> Tensor:
        """Rows of the output, (rows, N), as far as the first inputs go, below (inputs, N). tensors: see `columns`."""
        parts, count = [], below.shape[0]
        for number, rows, own, place in bands:
            weight = tensors[number + 1][own, :count]
            seen = below if weight.shape[1] == count else below[: weight.shape[1]]
            target = None if out is None else out[place]
            parts.append(torch.addmm(tensors[0][rows], weight, seen, out=target))
        if len(parts) == 1:
            return parts[0]
        return torch.cat([below[:0], *parts]) if out is None else out

    def tile(
        self, tensors: Sequence[Tensor], bands: Sequence[Band], columns: slice, out: Tensor | None = None
    ) -> Tensor:
        """Rows and columns of the weight, zero where hidden: (rows, columns).

        out: where they are written to, row after row; nothing is where the mask hides.
        """
        width = columns.stop - columns.start
        rows = None if out is None else out.view(bands[-1].place.stop if bands else 0, width)
        parts = [tensors[0].new_empty(0, width)] if out is None else []
        for number, _, own, place in bands:
            weight = tensors[number + 1][own, columns]
            if rows is None:
                parts.append(functional.pad(weight, (0, width - weight.shape[1])))
            else:
                rows[place, : weight.shape[1]] = weight
        return torch.cat(parts) if rows is None else rows

    @torch.no_grad()
    def dense_weight(self) -> Tensor:
        """The weight as one masked matrix: (O, I), a copy."""
        return self.tile(self.tensors, self.all_bands, slice(0, self.in_features))

    @torch.no_grad()
    def set_dense_weight(self, weight: Tensor) -> None:
        """Take over a matrix (O, I); ValueError for another shape, or where it is not zero where the mask hides it."""
        if weight.shape != (self.out_features, self.in_features):
            raise ValueError(
                f"the weight must have shape {(self.out_features, self.in_features)}; got {tuple(weight.shape)}"
            )
        mask = self._mask(slice(0, self.out_features), weight.device)
        if bool(weight[:, mask.shape[1] :].any()) or bool(weight[:, : mask.shape[1]].masked_select(~mask).any()):
            raise ValueError("the weight is not zero where the mask hides it")
        for band, own in zip(self.unpack(weight[:, : mask.shape[1]].masked_select(mask)), self.weights, strict=True):
            own.copy_(band)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        missing, _, errors = args[-3:] if args else (kwargs["missing_keys"], None, kwargs["error_msgs"])
        try:
            bands = self._read_bands(state_dict, prefix)
            if not bands and self.num_visible:
                missing.append(f"{prefix}weight")
        except ValueError as error:
            errors.append(str(error))
            bands, state_dict[f"{prefix}bias"] = [], self.bias.detach()
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)  # bias; the weights follow, part by part
        bands = bands or [weight.detach() for weight in self.weights]  # so that nothing of this layer changes
        state_dict.update({f"{prefix}weights.{i}": band for i, band in enumerate(bands)})

    def _read_bands(self, state_dict: dict[str, Any], prefix: str) -> list[Tensor]:
        """The bands of a state, taken out of it; ValueError where they do not fit, none where there are none."""
        packed, expected = state_dict.pop(f"{prefix}weight", None), (self.num_visible,)
        names = [f"{prefix}weights.{i}" for i in range(self.out_features) if f"{prefix}weights.{i}" in state_dict]
        given, cuts = [state_dict.pop(name) for name in names], cut(self.out_features, len(names))
        if packed is not None and (given or packed.shape != expected):
            also = f", and {names[0]} beside it" if given else ""
            raise ValueError(
                f"{prefix}weight has shape {tuple(packed.shape)}{also}; expected {expected}, what the mask leaves"
            )
        for name, band, top, bottom in zip(names, given, cuts[:-1], cuts[1:], strict=True):
            mask = self._mask(slice(top, bottom), band.device)
            if band.shape != mask.shape:
                raise ValueError(f"size mismatch for {name}: {tuple(band.shape)}; expected {tuple(mask.shape)}")
            if bool(band.masked_select(~mask).any()):
                raise ValueError(f"{name} has non-zero weights where the mask hides them")
        if given:
            packed = self.pack(given, cuts)
        return [] if packed is None else self.unpack(packed)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bands={len(self.weights)}"


Layers = Sequence[MaskedLinear]  # of a network, from the inputs to the outputs
