"""Gated convolutions and self-attention: the conditioner of Flow++."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from marginflow.base.arguments import as_whole, require_context
from marginflow.base.call import RemembersArguments
from marginflow.base.settings import as_dropout, as_sizes
from marginflow.base.surroundings import in_torch_func
from marginflow.nets.init import channels_last, start_at_zero
from marginflow.nets.patches import Patches


class GatedConvNet(RemembersArguments, nn.Module):
    """Alternating gated convolutions and self-attention: (N, in_features, H, W) -> (N, out_features, H, W).

    h <- norm(h + gated(conv(conv(h)))),  h <- norm(h + gated(attention(h))) in every block,  gated(a, b) = a sigmoid(b)

    The last convolution starts at zero, so that a coupling starts with one and the same function at every pixel.

    Args:
        in_features: channels of x.
        out_features: channels of the output.
        size: height and width (H, W) of x, for which attention learns the positions of pixels.
        width: channels of the hidden layers.
        blocks: number of pairs of a gated convolution and attention, at least 1.
        heads: of the attention, a divisor of the width; 0 leaves attention out.
        context_features: as for `ConvNet`; the context enters every gated convolution.
        context_patch: as for `ConvNet`.
        dropout: in training mode, the probability with which a hidden unit is left out.

    Raises:
        ValueError: where blocks is below 1, heads do not divide the width, or dropout is not in [0, 1).

    References:
        Ho, Chen, Srinivas, Duan and Abbeel, Flow++: Improving Flow-Based Generative Models with Variational
            Dequantization and Architecture Design, 2019 (arXiv 1902.00275), section 3.3.

    Examples:
        >>> import torch
        >>> GatedConvNet(3, 6, (8, 8), width=16, blocks=1)(torch.zeros(5, 3, 8, 8)).shape
        torch.Size([5, 6, 8, 8])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        size: tuple[int, int],
        *,
        width: int = 64,
        blocks: int = 2,
        heads: int = 4,
        context_features: int = 0,
        context_patch: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width, blocks = as_whole(width, "width", least=1), as_whole(blocks, "blocks", least=1)
        heads, context_patch = as_whole(heads, "heads"), as_whole(context_patch, "context_patch", least=1)
        if heads and width % heads:
            raise ValueError(f"heads must divide the width of {width}; got {heads}: 0 leaves attention out")
        self.in_features = in_features = as_whole(in_features, "in_features", least=1)
        self.out_features = out_features = as_whole(out_features, "out_features", least=1)
        self.context_features = context_features = as_whole(context_features, "context_features")
        self.dropout, self.size = as_dropout(dropout), tuple(as_sizes(size, "size"))
        if len(self.size) != 2:
            raise ValueError(f"size must be the height and width (H, W) of the images; got {self.size}")
        self._said = f"width={width}, blocks={blocks}, heads={heads}"
        self.input = nn.Conv2d(in_features, width, 3, padding=1)
        self.blocks = nn.ModuleList()
        for _ in range(blocks):
            self.blocks.append(_GatedConv(width, context_features, context_patch, dropout))
            if heads:
                self.blocks.append(_Attention(width, heads, self.size, dropout))
        self.output = nn.Conv2d(width, out_features, 3, padding=1)
        start_at_zero(self.output)
        channels_last(self)

    def __repr__(self) -> str:
        options = {name: getattr(self, name) for name in ("context_features", "dropout")}
        named = "".join(f", {name}={value}" for name, value in options.items() if value)
        return f"GatedConvNet({self.in_features}, {self.out_features}, {self._said}{named})"

    @property
    def random(self) -> bool:
        """Whether units are left out at present."""
        return self.training and self.dropout > 0

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.context_features:
            require_context(context, self.context_features, x.shape[0])
        if x.shape[2:] != self.size:
            raise ValueError(
                f"this network was built for images of {self.size[0]} x {self.size[1]} pixels; got shape "
                f"{tuple(x.shape)}"
            )
        h = self.input(x)
        for block in self.blocks:
            h = block(h, context)
        return self.output(functional.elu(h))


class _ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class _GatedConv(nn.Module):
    """Two convolutions, the second with a gate for each of its outputs, added to the input."""

    def __init__(self, width: int, context_features: int, context_patch: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(2 * width, width, 3, padding=1)
        self.second = nn.Conv2d(2 * width, 2 * width, 1)
        self.of_context = Patches(context_features, width, context_patch) if context_features else None
        self.norm, self.dropout = _ChannelNorm(width), dropout

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        h = self.first(_concat_elu(x))
        if self.of_context is not None and context is not None:
            h = h + self.of_context.fitted(context, x)
        h = functional.dropout(_concat_elu(h), self.dropout, self.training)
        return self.norm(x + functional.glu(self.second(h), 1))


class _Attention(nn.Module):
    """Self-attention between all pixels, with learned positions; gated, and added to the input."""

    def __init__(self, width: int, heads: int, size: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.position = nn.Parameter(0.01 * torch.randn(width, *size))
        self.queries_keys_values = nn.Conv2d(width, 3 * width, 1)
        self.output = nn.Conv2d(width, 2 * width, 1)
        self.norm = _ChannelNorm(width)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        n, width, height, breadth = x.shape
        joined = self.queries_keys_values(x + self.position)
        parts = joined.view(n, 3 * self.heads, width // self.heads, height * breadth).transpose(2, 3)
        with sdpa_kernel(SDPBackend.MATH) if in_torch_func() else nullcontext():  # the others know no forward mode
            attended = functional.scaled_dot_product_attention(*parts.chunk(3, 1))
        h = attended.transpose(2, 3).reshape(n, width, height, breadth)
        h = functional.dropout(h, self.dropout, self.training)
        return self.norm(x + functional.glu(self.output(h), 1))


def _concat_elu(x: Tensor) -> Tensor:
    """elu(x) and elu(-x) beside each other: twice the channels, and a gradient whatever the sign."""
    return functional.elu(torch.cat([x, -x], 1))
