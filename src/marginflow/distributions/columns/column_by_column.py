"""Columns one after the other: a masked network gives the parameters of the factor of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from marginflow.base.constants import HoldsConstants
from marginflow.data.schema import Column
from marginflow.distributions.columns.encoder import RowEncoder
from marginflow.distributions.columns.factors import Factors
from marginflow.distributions.columns.reader import RowReader
from marginflow.nets.activations import Activation
from marginflow.nets.autograd import Written
from marginflow.nets.masked.degrees import resolve_degrees
from marginflow.nets.masked.linear import MaskedLinear
from marginflow.nets.masked.network import MaskedNetwork
from marginflow.nets.masked.order import FeatureOrder

START = 0.1  # what the output's first weights are multiplied by: a training starts near independent columns


class Known(NamedTuple):
    """Columns of rows that are not drawn.

    x: (N, D), float64, of which they are taken. given: which columns are known, by their places.
    """

    x: Tensor
    given: Sequence[bool]


class ColumnByColumn(HoldsConstants):
    """One order of the columns: a masked network gives the parameters of each given those before it and the context.

    Inputs and parameters are those of a row, its columns in the row's own order.

    Beside the network stand direct connections from its inputs to the parameters, masked alike and 0 at first (Germain
    and others, MADE, 2015, arXiv 1502.03509): columns that are nearly sums of others are learned by these alone.

    columns: of the rows. encoder, factors: of the columns, which all orders share. context: how many inputs there are
    beside the columns'. order: the places of the columns.
    """

    of_inputs: Tensor
    of_params: Tensor

    def __init__(
        self, columns: Sequence[Column], encoder: RowEncoder, factors: Factors, context: int, order: list[int],
        hidden: Sequence[int], activation: Activation, dropout: float, generator: torch.Generator,
    ) -> None:  # fmt: skip
        super().__init__()
        self.order, self.factors = order, factors
        self.inputs_of, self.params_of = encoder.widths, factors.num_params
        inputs, params = ([each[place] for place in order] for each in (self.inputs_of, self.params_of))
        self.single = nn.ModuleList(
            nn.ModuleList([RowReader([each]), RowEncoder([each])]) for each in (columns[place] for place in order)
        )
        residual = len(hidden) > 2
        self.network = MaskedNetwork(
            FeatureOrder(sum(inputs)),
            resolve_degrees("even", len(columns), hidden, context > 0, generator, residual),
            inputs,
            params,
            context,
            activation,
            dropout,
            residual,
        )
        self.direct = _direct(context, inputs, params)
        with torch.no_grad():
            for tensor in self.direct.tensors:
                tensor.zero_()
            output = self.network.output_layer
            for tensor in output.tensors:
                tensor.mul_(START)
            output.bias.copy_(torch.cat([factors.marginals(place) for place in order]))
        self._register_constants()

    def _constants(self) -> dict[str, Tensor]:
        return {
            "of_inputs": _places(self.inputs_of, self.order),
            "of_params": _places(self.params_of, self.order).argsort(),
        }

    @property
    def like(self) -> Tensor:
        """Of the precision and on the device of the model."""
        return self.network.output_layer.bias

    def forward(self, inputs: Tensor, context: Tensor | None) -> Tensor:
        """The parameters of all factors (N, ...) of encoded rows (N, ...)."""
        inputs = inputs.index_select(1, self.of_inputs)
        params = self.network(inputs, context).flatten(1)
        seen = inputs if context is None else torch.cat([context, inputs], 1)
        params = _Direct(self.direct)(params, seen, *self.direct.tensors)
        return params.index_select(1, self.of_params)

    def draw(self, num_rows: int, context: Tensor | None, known: Known | None = None) -> Tensor:
        """Rows (N, D), float64, column after column, but for those that are known."""
        chunks: list[_Drawn] = []

        def factor(step: int, params: Tensor) -> tuple[Tensor, Tensor]:
            if step == 0:
                first = sum(chunk.num_rows for chunk in chunks)
                rows = slice(first, first + len(params))
                chunks.append(_Drawn(self.direct, params, rows, None if context is None else context[rows]))
            drawn, place = chunks[-1], self.order[step]
            of_network = params + drawn.parameters(self.params_of[place])
            if known is not None and known.given[place]:
                value = known.x[drawn.rows, place]
            else:
                value = self.factors.draw(place, of_network)
            reader, encoder = cast(nn.ModuleList, self.single[step])
            inputs = encoder(reader(value[:, None]), self.like)
            drawn.add(value, inputs)
            return inputs, params.new_zeros(len(value))

        self.network.draw(factor, num_rows, context)
        drawn = torch.cat([torch.stack(chunk.values, 1) for chunk in chunks])
        return drawn[:, torch.tensor(self.order).argsort()]


def _places(sizes: Sequence[int], order: Sequence[int]) -> Tensor:
    """Where the numbers of columns, which have so many each, stand in a row, column after column of an order."""
    with torch.device("cpu"):
        return torch.cat([torch.arange(sum(sizes)).split(list(sizes))[place] for place in order])


def _direct(context: int, inputs: Sequence[int], outputs: Sequence[int]) -> MaskedLinear:
    """From the context and the inputs of each step to the outputs of later ones."""
    with torch.device("cpu"):
        steps = torch.arange(1, len(inputs) + 1)
        first = torch.zeros(context, dtype=torch.long)
        in_degrees, out_degrees = (steps.repeat_interleave(torch.tensor(each)) for each in (inputs, outputs))
        in_degrees = torch.cat([first, in_degrees])
    return MaskedLinear(in_degrees, out_degrees, strict=True)


class _Direct(Written):
    """A masked layer beside a network: (params, x, bias, *bands of the weight) -> params + its output."""

    def __init__(self, layer: MaskedLinear) -> None:
        self.layer = layer

    def plain(self, params: Tensor, x: Tensor, *tensors: Tensor) -> Tensor:
        return params + self.layer(x, tensors)

    def quick(self, kept: list[Tensor] | None, params: Tensor, x: Tensor, *tensors: Tensor) -> Tensor:
        return self.layer.product(x, tensors).add_(params)

    def gradients(
        self, kept: Sequence[Tensor], inputs: Sequence[Any], needed: Sequence[bool], *grads: Tensor
    ) -> list[Tensor | None]:
        (_, x, *tensors), (of_params, of_x, *of_tensors), (grad,) = inputs, needed, grads
        by_x = self.layer.product_back(grad, tensors) if of_x else None
        return [grad if of_params else None, by_x, *self.layer.tensors_back(x, grad, tensors, of_tensors)]


class _Drawn:
    """What is drawn of some rows so far: the values of columns, and all inputs as the direct connections see them."""

    def __init__(self, layer: MaskedLinear, like: Tensor, rows: slice, context: Tensor | None) -> None:
        self.layer, self.columns, self.num_rows, self.rows = layer, layer.columns, len(like), rows
        self.values: list[Tensor] = []
        self.inputs, self.num_inputs = like.new_empty(layer.in_features, len(like)), 0
        self.num_outputs = 0
        if context is not None:
            self._see(context)

    def _see(self, inputs: Tensor) -> None:
        self.inputs[self.num_inputs : self.num_inputs + inputs.shape[1]] = inputs.T
        self.num_inputs += inputs.shape[1]

    def add(self, value: Tensor, inputs: Tensor) -> None:
        """A column more."""
        self.values.append(value)
        self._see(inputs)

    def parameters(self, number: int) -> Tensor:
        """What the connections add to the next so many parameters: (N, number)."""
        bands = self.layer.bands(self.num_outputs, self.num_outputs + number)
        self.num_outputs += number
        return self.layer.partial(self.columns, bands, self.inputs[: self.num_inputs]).T
