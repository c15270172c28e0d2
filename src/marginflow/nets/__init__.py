"""Plain conditioners: networks that turn what they see, and a context, into parameters; called net(x, context)."""

from marginflow.nets.convolutional import ConvNet
from marginflow.nets.gated import GatedConvNet
from marginflow.nets.mlp import MLP

__all__ = ["MLP", "ConvNet", "GatedConvNet"]
