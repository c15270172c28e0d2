"""Columns one after the other: a masked network gives the parameters of the factor of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from marginflow.data.schema import Column
from marginflow.distributions.columns.encoder import RowEncoder
from marginflow.distributions.columns.factors import Factors
from marginflow.distributions.columns.reader import Read, RowReader
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


class ColumnByColumn(nn.Module):
    """One order of the columns: a masked network gives the parameters of each given those before it and the context.

    Beside the network stand direct connections from its inputs to the parameters, masked alike and 0 at first (Germain
    and others, MADE, 2015, arXiv 1502.03509): columns that are nearly sums of others are learned by these alone.

    columns: of the rows. context: how many inputs there are beside them. order: the places of the columns.
    """

    def __init__(
        self, columns: Sequence[Column], context: int, order: list[int], hidden: Sequence[int],
        components: int, activation: Activation, dropout: float, generator: torch.Generator,
    ) -> None:  # fmt: skip
        super().__init__()
        self.order = order
        self.factors = Factors(columns, order, components)
        self.encoder = RowEncoder(columns, order)
        self.single = nn.ModuleList(
            nn.ModuleList([RowReader([each]), RowEncoder([each], [0])]) for each in (columns[place] for place in order)
        )
        residual = len(hidden) > 2
        self.network = MaskedNetwork(
            FeatureOrder(self.encoder.num_inputs),
            resolve_degrees("even", len(columns), hidden, context > 0, generator, residual),
            self.encoder.widths,
            self.factors.num_params,
            context,
            activation,
            dropout,
            residual,
        )
        self.direct = _direct(context, self.encoder.widths, self.factors.num_params)
        with torch.no_grad():
            for tensor in self.direct.tensors:
                tensor.zero_()
            output = self.network.output_layer
            for tensor in output.tensors:
                tensor.mul_(START)
            output.bias.copy_(self.factors.marginals())

    @property
    def like(self) -> Tensor:
        """Of the precision and on the device of the model."""
        return self.network.output_layer.bias

    def forward(self, read: Read, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """log P of what is discrete in rows, and the log density of the rest, each (N,)."""
        return self.factors(self._params_of(read, context), read)

    def of_each(self, read: Read, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The same of each column given those before it, in the order of a row: both (N, D)."""
        return self.factors.of_each(self._params_of(read, context), read)

    def _params_of(self, read: Read, context: Tensor | None) -> Tensor:
        """Of all factors, in the order of the columns: (N, ...)."""
        inputs = self.encoder(read, self.like)
        params = self.network(inputs, context).flatten(1)
        seen = inputs if context is None else torch.cat([context, inputs], 1)
        return _Direct(self.direct)(params, seen, *self.direct.tensors)

    def params_of_step(self, step: int, read: Read, context: Tensor | None) -> Tensor:
        """Of the factor of one column, the first of the order is step 0: (N, ...)."""
        first = sum(self.factors.num_params[:step])
        return self._params_of(read, context)[:, first : first + self.factors.num_params[step]]

    def draw(self, num_rows: int, context: Tensor | None, known: Known | None = None) -> Tensor:
        """Rows (N, D), float64, column after column, but for those that are known."""
        chunks: list[_Drawn] = []

        def factor(step: int, params: Tensor) -> tuple[Tensor, Tensor]:
            if step == 0:
                first = sum(chunk.num_rows for chunk in chunks)
                rows = slice(first, first + len(params))
                chunks.append(_Drawn(self.direct, params, rows, None if context is None else context[rows]))
            drawn = chunks[-1]
            of_network = params + drawn.parameters(self.factors.num_params[step])
            if known is not None and known.given[self.order[step]]:
                value = known.x[drawn.rows, self.order[step]]
            else:
                value = self.factors.draw(step, of_network)
            reader, encoder = cast(nn.ModuleList, self.single[step])
            inputs = encoder(reader(value[:, None]), self.like)
            drawn.add(value, inputs)
            return inputs, params.new_zeros(len(value))

        self.network.draw(factor, num_rows, context)
        drawn = torch.cat([torch.stack(chunk.values, 1) for chunk in chunks])
        return drawn[:, torch.tensor(self.order).argsort()]


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
