"""The coupling structure: some features stay as they are and say how the others are transformed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from marginflow.base.arguments import as_tensor, shown
from marginflow.base.settings import require_function
from marginflow.base.shapes import sum_event
from marginflow.base.transform import Transform, Univariate, as_univariate
from marginflow.nets.masked.order import FeatureOrder
from marginflow.transforms.univariate.affine import Affine


class Coupling(Transform):
    """A coupling: features under the mask stay; the others are transformed, element by element, given those.

    z_a = x_a,  z_b = f(x_b; conditioner(x_a, context)),  log_det = sum_b log f'(x_b)

    Nothing is computed for features that stay. The inverse costs what forward costs. After a `Squeeze` channels are
    pixels: see `models.realnvp_images`.

    Args:
        mask: for each feature, or channel of images, whether it stays (a); the rest (b) is transformed. Both must
            occur.
        conditioner: called with x_a (N, A, ...), and with the context too where its `context_features` is not 0;
            returns (N, B P, ...) or (N, B, P, ...), the P parameters of each transformed feature side by side.
            `nets.MLP` is one, for images `nets.ConvNet` and `nets.GatedConvNet`.
        univariate: the scalar function f, with P parameters; `Affine` by default.

    Raises:
        ValueError: where the mask hides everything or nothing, the conditioner returns another shape, rows or context
            are of another width, or the inverse is called in training mode with dropout in the conditioner.

    References:
        Dinh, Krueger and Bengio, NICE: Non-linear Independent Components Estimation, 2015 (arXiv 1410.8516).
        Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2017 (arXiv 1605.08803).

    Examples:
        >>> import torch
        >>> from marginflow.nets import MLP
        >>> coupling, x = Coupling([True, False, False], MLP(1, 2 * 2)), torch.randn(7, 3)
        >>> z, log_det = coupling(x)
        >>> torch.equal(z[:, 0], x[:, 0]), torch.allclose(coupling.inverse(z)[0], x, atol=1e-5)
        (True, True)
    """

    def __init__(
        self, mask: Sequence[bool] | Tensor, conditioner: nn.Module, univariate: Univariate | None = None
    ) -> None:
        super().__init__()
        stays = as_tensor(mask, "the mask").cpu()
        if stays.ndim != 1 or len(stays) == 0 or not bool(((stays == 0) | (stays == 1)).all()):
            raise ValueError(f"the mask must be one true or false for each feature; got {shown(mask)}")
        stays = stays.bool()
        if bool(stays.all()) or not bool(stays.any()):
            raise ValueError(
                f"a mask must let some features stay and some be transformed; of its {len(stays)} features "
                f"{int(stays.sum())} stay: mark at least one of each (one feature alone needs MaskedAutoregressive)"
            )
        self.features = self.num_features = len(stays)
        first = (~stays).nonzero().flatten()[:9].tolist()
        self._transformed = f"[{', '.join(map(str, first[:8]))}{', ...' if len(first) > 8 else ''}]"
        self.num_kept = int(stays.sum())
        self.num_transformed = self.num_features - self.num_kept
        require_function(conditioner, "conditioner", "nets.MLP(1, 2)")
        self.conditioner = conditioner
        self.univariate = Affine() if univariate is None else as_univariate(univariate)
        those_that_stay_first = torch.argsort(~stays, stable=True).tolist()
        self.order = FeatureOrder(self.num_features, those_that_stay_first)
        self._require_conditioner()

    def _require_conditioner(self) -> None:
        """Refuse a conditioner that says it is made for other widths."""
        expected = (self.num_kept, self.num_transformed * self.univariate.num_params)
        got = tuple(getattr(self.conditioner, name, None) for name in ("in_features", "out_features"))
        if any(size is not None and size != right for size, right in zip(got, expected, strict=True)):
            raise ValueError(
                f"the conditioner must take the {expected[0]} features that stay and return {expected[1]}, "
                f"{self.univariate.num_params} for each that is transformed; got one that takes {got[0]} and "
                f"returns {got[1]}"
            )

    @property
    def context_features(self) -> int:
        return cast(int, getattr(self.conditioner, "context_features", 0))

    def _params(self, kept: Tensor, context: Tensor | None) -> Tensor:
        """The parameters of the transformed features: (N, B, ..., P)."""
        params = self.conditioner(kept, context) if self.context_features else self.conditioner(kept)
        transformed, each = self.num_transformed, self.univariate.num_params
        expected = (kept.shape[0], transformed, each, *kept.shape[2:])
        if params.shape not in (expected, (kept.shape[0], transformed * each, *kept.shape[2:])):
            raise ValueError(f"the conditioner must return {expected} numbers; got shape {tuple(params.shape)}")
        return params.view(expected).movedim(2, -1)

    def _split(self, x: Tensor) -> list[Tensor]:
        self.require_input(x)
        return list(self.order.reorder(x).split([self.num_kept, self.num_transformed], 1))

    def _joined(self, kept: Tensor, transformed: Tensor) -> Tensor:
        return self.order.restore(torch.cat([kept, transformed], 1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, rest = self._split(x)
        z, log_derivative = self.univariate.forward(rest, self._params(kept, context))
        return self._joined(kept, z), sum_event(log_derivative)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if getattr(self.conditioner, "random", False):
            raise ValueError("there is no inverse in training mode, where dropout is random: call eval()")
        kept, rest = self._split(z)
        x, log_derivative = self.univariate.inverse(rest, self._params(kept, context))
        return self._joined(kept, x), sum_event(log_derivative)

    def __repr__(self) -> str:
        conditioner = repr(self.conditioner).replace("\n", "\n  ")
        return f"Coupling({self.num_features}, transformed={self._transformed}, {self.univariate}, {conditioner})"
