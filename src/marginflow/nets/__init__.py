"""Networks: plain conditioners, called net(x, context), and the masked network."""

from marginflow.nets.conv import ConvNet
from marginflow.nets.gated import GatedConvNet
from marginflow.nets.mlp import MLP

__all__ = ["MLP", "ConvNet", "GatedConvNet"]
