"""The masked network in normal form: inputs in order, degrees sorted, outputs interleaved."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from marginflow.base.arguments import as_whole, require_context
from marginflow.base.settings import as_dropout
from marginflow.nets.activations import Activation, as_activation
from marginflow.nets.masked.forward import Pass, dropout_factors
from marginflow.nets.masked.inverse import Step, draw, invert
from marginflow.nets.masked.linear import MaskedLinear
from marginflow.nets.masked.operator import LARGE, registered
from marginflow.nets.masked.order import FeatureOrder
from marginflow.nets.masked.plan import plan_of


class MaskedNetwork(nn.Module):
    """Parameters for every step, each a function of the steps before it and of the context.

    One input and P outputs a step: x (N, D), context (N, C) -> params (N, D, P); params[:, i] depends on the context
    and on those dimensions of x alone that the order puts before i. Inside, dimensions stand in that order, which is
    all that is left of it.

    order: of the I inputs, those of the first step first. hidden_degrees: the sorted degrees of each hidden layer; a
        unit of degree d sees the first d steps.
    inputs, outputs: how many inputs each step gives, and how many parameters it takes, in order; see `MaskedPlan`.
        Of a ragged plan params are (N, sum(outputs)), step by step.
    context_features: C; the context enters beside x with degree 0, seen by all.
    activation: a name or any elementwise function.
    residual: what the first, third, fifth ... hidden layer is before its activation is added to that of the one two
        further. These layers have the same degrees, so a sum depends on what its terms depend on.
    dropout: in training mode, the probability with which each hidden unit is left out of a row; the others are
        divided by one minus it. Srivastava and others, Dropout, 2014.
    """

    def __init__(
        self,
        order: FeatureOrder,
        hidden_degrees: Sequence[Tensor],
        inputs: Sequence[int],
        outputs: Sequence[int],
        context_features: int = 0,
        activation: Activation = "relu",
        dropout: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        dropout, context_features = as_dropout(dropout), as_whole(context_features, "context_features")
        inputs, outputs = list(inputs), list(outputs)
        fit = len(inputs) == len(outputs) and sum(inputs) == len(order.dimensions) and sum(outputs) > 0
        if not fit or min([*inputs, *outputs]) < 0:
            raise ValueError(
                f"a masked network needs, for every step, how many inputs and outputs it has, {len(order.dimensions)} "
                f"inputs in all and one output at least; got {_listed(inputs)} and {_listed(outputs)}"
            )
        self.order, self.context_features, self.dropout = order, context_features, dropout
        self.activation = as_activation(activation)  # a module of the user's own is trained and saved too
        with torch.device("cpu"):
            steps, known = torch.arange(1, len(inputs) + 1), torch.arange(len(inputs) + 1)
            first = torch.cat([torch.zeros(context_features, dtype=torch.long), _repeat(steps, inputs)])
            degrees = [first, *hidden_degrees]
            out_degrees = _repeat(steps, outputs)
        self.hidden_layers = nn.ModuleList(MaskedLinear(below, above) for below, above in pairwise(degrees))
        self.output_layer = MaskedLinear(degrees[-1], out_degrees, strict=True)
        self.layers = [*cast("list[MaskedLinear]", list(self.hidden_layers)), self.output_layer]  # input to output
        counts = [torch.searchsorted(layer, known, right=True).tolist() for layer in [*degrees, out_degrees]]
        name = activation if isinstance(activation, str) else None
        self.plan = plan_of(inputs, outputs, context_features, counts, self.layers, self.activation, name, residual)
        self.num_weights = sum(layer.num_visible + layer.out_features for layer in self.layers)  # and biases
        self.num_units = sum(layer.out_features for layer in self.layers)
        self._register()

    @property
    def random(self) -> bool:
        """Whether units are left out at present."""
        return self.training and self.dropout > 0

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The parameters of every step: x (N, I), context (N, C) -> (N, I, P); of a ragged plan (N, outputs)."""
        params = self.written(x)(self.order.reorder(x), self.fitting_context(context, x), *self.tensors)
        return params if self.plan.ragged else self.order.restore(params)

    def written(self, x: Tensor) -> Pass:
        """A pass of x (N, I) in the network's order, with the units that it leaves out."""
        if not self.random:
            return self._whole
        return Pass(self.plan, self.layers, dropout_factors(self.layers, x, self.dropout), self._whole.number)

    def _register(self) -> None:
        """Make the pass that leaves no unit out, with a number where the network is large."""
        self._whole = Pass(self.plan, self.layers, number=registered(self) if self.num_weights >= LARGE else None)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._register()  # a copy is another network

    @property
    def tensors(self) -> list[Tensor]:
        """The biases and weights of all layers, from the inputs to the outputs."""
        return [tensor for layer in self.layers for tensor in layer.tensors]

    def invert(self, univariate: Any, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The x with univariate(x_i; params_i(x)) = z_i for every i, and log|det dx/dz|; see `inverse.invert`."""
        self._require_fixed()
        return invert(self.plan, self.layers, self.order, univariate, z, self.fitting_context(context, z))

    def draw(self, factor: Step, num_rows: int, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rows drawn step after step from factors, and their log probability; see `inverse.draw`."""
        self._require_fixed()
        like = self.output_layer.bias.new_empty(num_rows, 0)
        return draw(self.plan, self.layers, self.order, factor, num_rows, self.fitting_context(context, like))

    def _require_fixed(self) -> None:
        """Refuse to solve for what is random: ValueError."""
        if self.random:
            raise ValueError("there is no inverse in training mode, where dropout is random: call eval()")

    def fitting_context(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        """The context checked, in the precision of x; None where the network takes none."""
        if not self.context_features:
            return None
        require_context(context, self.context_features, x.shape[0], vector=True)
        return cast(Tensor, context).to(x.dtype)


def _listed(numbers: list[int]) -> str:
    return f"{numbers[:8]}{' ...' if len(numbers) > 8 else ''}"


def _repeat(steps: Tensor, times: Sequence[int]) -> Tensor:
    return steps.repeat_interleave(torch.tensor(times))
