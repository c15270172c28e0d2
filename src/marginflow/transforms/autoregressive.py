"""The masked autoregressive structure: each dimension transformed given those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor

from marginflow.base.arguments import as_whole
from marginflow.base.settings import generator_from
from marginflow.base.transform import Univariate, as_univariate
from marginflow.nets.activations import Activation
from marginflow.nets.autograd import Written
from marginflow.nets.masked.degrees import resolve_degrees
from marginflow.nets.masked.forward import Pass
from marginflow.nets.masked.network import MaskedNetwork
from marginflow.nets.masked.order import FeatureOrder
from marginflow.transforms.chain import WrittenOut, in_one_node, is_watched
from marginflow.transforms.univariate.affine import Affine


class MaskedAutoregressive(WrittenOut):
    """A masked autoregressive transform: one masked network gives each dimension a scalar function of those before it.

    z_i = f(x_i; params_i(x_<i, context)),  log_det = sum_i log f'(x_i)

    x and z are (N, features); z has the positions of x. The inverse is exact and costs about as much as forward: every
    hidden unit is computed once. It is compiled where `univariate` and `activation` have a compiled form (see
    `Univariate`) and no gradient is asked for.

    Args:
        features: D, the number of dimensions.
        hidden: widths of the hidden layers.
        univariate: the scalar function f, `Affine` by default.
        order: "sequential", "reversed", "random", or the list of dimensions first to last.
        degrees: of the hidden units, "sequential" (1, 2, ... D - 1 in turn, as in the MAF paper), "even" (spread over
            all, also when there are fewer units than inputs), "random", or a list for each layer.
        context_features: width of the context, which every dimension sees.
        activation: of the hidden layers, a name such as "relu" or any elementwise function.
        seed: for a random order and random degrees.
        dropout: in training mode, the probability with which a hidden unit is left out; there is then no inverse.
        residual: whether there are residual connections: the first, third, fifth ... hidden layer before its
            activation is added to the layer two further, so that each pair of layers learns a residual; these layers
            are then of one width.

    Raises:
        ValueError: where order, degrees, widths, dropout or activation do not fit, rows or context are of another
            width, or the inverse is called in training mode with dropout.

    References:
        Germain, Gregor, Murray and Larochelle, MADE: Masked Autoencoder for Distribution Estimation, 2015
            (arXiv 1502.03509).
        Papamakarios, Pavlakou and Murray, Masked Autoregressive Flow for Density Estimation, 2017 (arXiv 1705.07057).
        Durkan and Nash, Autoregressive Energy Machines, 2019 (arXiv 1904.05626): with residual connections.

    Examples:
        >>> import torch
        >>> made, x = MaskedAutoregressive(5, [32, 32], order="random"), torch.randn(7, 5)
        >>> z, log_det = made(x)
        >>> torch.allclose(made.inverse(z)[0], x, atol=1e-5)
        True
    """

    of_vectors = True

    def __init__(
        self,
        features: int,
        hidden: Sequence[int],
        univariate: Univariate | None = None,
        *,
        order: str | Sequence[int] = "sequential",
        degrees: str | Sequence[Sequence[int]] = "even",
        context_features: int = 0,
        activation: Activation = "relu",
        seed: int = 0,
        dropout: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.features = features = as_whole(features, "features", least=1)
        self.degrees = degrees if isinstance(degrees, str) else "given"
        self.univariate = Affine() if univariate is None else as_univariate(univariate)
        generator = generator_from(seed)
        has_context = as_whole(context_features, "context_features") > 0
        hidden_degrees = resolve_degrees(degrees, features, hidden, has_context, generator, residual)
        self.network = MaskedNetwork(
            FeatureOrder(features, order, seed),
            hidden_degrees,
            [1] * features,
            [self.univariate.num_params] * features,
            context_features,
            activation,
            dropout,
            residual,
        )
        self.num_weights, self.num_units = self.network.num_weights, self.network.num_units

    @property
    def context_features(self) -> int:
        return self._network.context_features

    @property
    def _network(self) -> MaskedNetwork:
        return cast(MaskedNetwork, self._modules["network"])  # looking for attributes takes 1 us, in every block

    @property
    def order(self) -> Tensor:
        """The dimensions first to last: (features,)."""
        return self.network.order.dimensions

    def __repr__(self) -> str:
        network = self.network
        widths = [layer.out_features for layer in network.layers[:-1]]
        activation = network.plan.activation_name or network.activation
        said = (
            f"{self.features}, {widths}, {self.univariate}, order={network.order}, degrees={self.degrees}, {activation}"
        )
        options = {
            "context_features": network.context_features,
            "dropout": network.dropout,
            "residual": network.plan.residual,
        }
        return f"MaskedAutoregressive({said}{''.join(f', {name}={value}' for name, value in options.items() if value)})"

    @property
    def is_written(self) -> bool:
        return type(self.univariate) is Affine and not is_watched(self._network)

    @property
    def tensors(self) -> list[Tensor]:
        return self._network.tensors

    def written(self, x: Tensor, context: Tensor | None) -> Written:
        self.require_input(x)
        network = self._network
        network.fitting_context(context, x)
        return _Conditionals(network.order, network.written(x), cast(Affine, self.univariate).written)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.is_written:
            return in_one_node([self], x, context)
        self.require_input(x)
        z, log_derivative = self.univariate.forward(x, self.network(x, context))
        return z, log_derivative.sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.require_input(z)
        return self.network.invert(self.univariate, z, context)


class _Conditionals(Written):
    """The scalar functions at the parameters of a network: (x, context, *tensors of the network) -> z, log_det."""

    def __init__(self, order: FeatureOrder, network: Pass, univariate: Written) -> None:
        self.order, self.network, self.univariate = order, network, univariate

    @property
    def must_be_plain(self) -> bool:
        return self.network.must_be_plain

    def plain(self, x: Tensor, context: Tensor | None, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        x = self.order.reorder(x)
        z, log_derivative = self.univariate.plain(x, self.network.plain(x, context, *tensors))
        return self.order.restore(z), log_derivative.sum(1)

    def quick(
        self, kept: list[Tensor] | None, x: Tensor, context: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, Tensor]:
        x = self.order.reorder(x)
        z, log_derivative = self.univariate.quick(kept, x, self.network.quick(kept, x, context, *tensors))
        return self.order.restore(z), log_derivative.sum(1)

    def gradients(
        self, kept: Sequence[Tensor], inputs: Sequence[Any], needed: Sequence[bool], *grads: Tensor
    ) -> list[Tensor | None]:
        grad_z, grad_log, end = self.order.reorder(grads[0]), grads[1][:, None], len(self.network.layers)
        of_x, of_params = self.univariate.gradients(kept[end:], [], [], grad_z, grad_log)
        by_network, *rest = self.network.gradients(kept[:end], inputs, needed, cast(Tensor, of_params), more=of_x)
        return [None if by_network is None else self.order.restore(by_network), *rest]
