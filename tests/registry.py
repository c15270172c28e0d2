"""One of everything: every transform and distribution in the shapes and settings that matter."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import normflows
import torch
from FrEIA.framework import SequenceINN
from FrEIA.modules import RNVPCouplingBlock
from torch import Tensor, nn
from torch.distributions import Independent, Laplace

import marginflow
from marginflow import distributions, models
from marginflow.base.distribution import Distribution
from marginflow.base.transform import Transform, Univariate
from marginflow.data import Column, Grid, Schema, Warp
from marginflow.distributions import (
    Conditional,
    ContextEncoder,
    DiagonalNormal,
    Flow,
    LabelMixture,
    Marginalising,
    Mixed,
    Product,
    RealByFlow,
    StandardLogistic,
    StandardNormal,
    Uniform,
)
from marginflow.interop import from_freia, from_normflows, from_torch
from marginflow.interop.foreign import ForeignMap
from marginflow.nets import MLP, ConvNet, GatedConvNet
from marginflow.transforms import (
    ActNorm,
    Additive,
    Affine,
    Augment,
    BatchNorm,
    Conv1x1,
    Coupling,
    Dequantise,
    FactorOut,
    Flatten,
    GaussianMixture,
    Identity,
    Inverse,
    LocalAutoregressive,
    LogisticMixture,
    Logit,
    MaskedAutoregressive,
    Permutation,
    Planar,
    Radial,
    RationalQuadratic,
    Scaling,
    Sequential,
    SoftclipAffine,
    SoftplusAffine,
    Squeeze,
    Standardise,
    Whiten,
)
from marginflow.transforms.calibrate import calibrate
from marginflow.transforms.normalise import Calibrated

T = TypeVar("T", bound=nn.Module)


def real(*shape: int) -> Callable[[int], Tensor]:
    return lambda n: torch.randn(n, *shape)


def unit(*shape: int) -> Callable[[int], Tensor]:
    return lambda n: torch.rand(n, *shape) * 0.98 + 0.01


def pixels(levels: int, *shape: int) -> Callable[[int], Tensor]:
    return lambda n: torch.randint(levels, (n, *shape), dtype=torch.uint8)


WARP = Warp("standardise", 1.0, 1.5)
SCHEMA = Schema((
    Column("size", "category", levels=("S", "M", "L"), shares=(0.2, 0.5, 0.3)),
    Column("count", "integer", grid=Grid(), blank=True, lower=0.0, atoms=(0.0,), shares=(0.3,), blank_share=0.1,
           warp=WARP, quantiles=(0.0, 1.0, 2.0, 3.0, 5.0)),
    Column("length", "real", warp=WARP, quantiles=(-1.0, 0.0, 1.0, 2.0, 3.0)),
))  # fmt: skip


def rows_of_schema(n: int) -> Tensor:
    """Rows of that schema, blanks among them."""
    count = torch.randint(0, 6, (n,)).double()
    count[torch.rand(n) < 0.1] = torch.nan
    return torch.stack([torch.randint(0, 3, (n,)).double(), count, torch.randn(n, dtype=torch.float64)], 1)


def given(schema: Schema, name: str) -> Schema:
    """The same with a column as its context."""
    return Schema(tuple(replace(each, given=each.name == name) for each in schema.columns))


def real_columns_by_a_flow() -> RealByFlow:
    """A flow over two real columns, given two others."""
    width = Column("width", "real", warp=WARP, quantiles=(-1.0, 0.0, 1.0, 2.0, 3.0))
    schema = Schema((*SCHEMA.columns, width))
    flow = models.nsf(2, hidden=[8], blocks=2, context_features=ContextEncoder(SCHEMA.columns[:2]).out_features)
    return RealByFlow(schema, flow, Mixed(Schema(SCHEMA.columns[:2]), hidden=[8], components=2)).eval()


@dataclass(frozen=True)
class Case:
    """How to build one, and rows x that it takes."""

    build: Callable[[], nn.Module]
    x: Callable[[int], Tensor]
    context_features: int = 0
    context_size: tuple[int, ...] = ()  # height and width, where the context is an image
    labels: bool = False  # whether the context is one-hot

    def context(self, n: int) -> Tensor | None:
        if self.labels:
            return torch.eye(self.context_features)[torch.randint(self.context_features, (n,))]
        return torch.randn(n, self.context_features, *self.context_size) if self.context_features else None


def calibrated(layer: Calibrated) -> Calibrated:
    layer.set_statistics(torch.randn(layer.features), torch.rand(layer.features) + 0.5)
    return layer.eval()


def calibrated_flow() -> Flow:
    flow = models.maf(3, hidden=[16], blocks=2, batch_norm=True)
    calibrate(flow, [torch.randn(50, 3)])
    return flow.eval()


def concrete_classes(base: type) -> set[type]:
    """All subclasses in the package that can be built."""
    for module in pkgutil.walk_packages(marginflow.__path__, "marginflow."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, left = set(), [base]
    while left:
        left += (subclasses := left.pop().__subclasses__())
        found |= {
            each for each in subclasses if each.__module__.startswith("marginflow") and not inspect.isabstract(each)
        }
    return found


def strong(module: T, by: float = 3) -> T:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_().mul_(by)
    return module


def coupling(mask: list[int], univariate: Univariate | None = None, by: float = 0.5, **options: object) -> Coupling:
    """A coupling with weights larger than a new one's."""
    univariate = Affine() if univariate is None else univariate
    num_params = (len(mask) - sum(mask)) * univariate.num_params
    return strong(Coupling(mask, MLP(sum(mask), num_params, [16, 16], **options), univariate), by)


def contracting(radial: Radial) -> Radial:
    with torch.no_grad():
        radial.g.fill_(-50.0)
    return radial


def residual_coupling() -> Coupling:
    return strong(Coupling([True, False, False, True], MLP(2, 4, [12, 8, 12, 8, 12], residual=True)), 0.5)


def conditional_normal(features: int, context: int) -> DiagonalNormal:
    return DiagonalNormal(features, nn.Linear(context, 2 * features), context)


def small(name: str) -> dict[str, object]:
    """Options that keep a model small."""
    if name in ("planar", "radial"):
        return {"blocks": 3}
    return {"hidden": [16]} if name.startswith("made") else {"hidden": [16], "blocks": 2}


def image_coupling(
    univariate: Univariate | None = None, *, gated: bool = False, by: float = 0.3, **options: object
) -> Coupling:
    """A coupling of images of 3 channels, of which the second stays."""
    univariate = Affine() if univariate is None else univariate
    outputs = 2 * univariate.num_params
    if gated:
        network = GatedConvNet(1, outputs, (2, 3), width=8, blocks=1, heads=2, **options)
    else:
        network = ConvNet(1, outputs, [6, 5], **options)
    return Coupling([False, True, False], strong(network, by), univariate)


def local(
    shape: tuple[int, int, int], univariate: Univariate | None = None, by: float = 3, **options: object
) -> LocalAutoregressive:
    """A masked network over pixels, its weights larger than a new one's and its masks kept."""
    layer = LocalAutoregressive(shape, [12, 12], univariate, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(by)
    return layer


def roused(flow: Flow) -> Flow:
    """A flow of images whose couplings, which start as the identity, do something."""
    for module in flow.modules():
        if isinstance(module, ConvNet | GatedConvNet):
            strong(module, 0.1)
    return flow


SMALL_IMAGE_MODELS: dict[str, dict[str, object]] = {
    "realnvp_images": {"hidden": [4]},
    "glow": {"hidden": [4, 4], "blocks": 2},
    "flowpp": {"width": 4, "blocks": 2, "depth": 1, "heads": 2, "components": 3},
    "maf_conv": {"hidden": [16], "blocks": 2},
    "maf_local": {"hidden": [16], "blocks": 2, "patch": 2},
}


def image_model(name: str, channels: int = 1, **options: object) -> Flow:
    return roused(models.IMAGE_MODELS[name]((channels, 4, 4), **SMALL_IMAGE_MODELS[name], **options))


class Laplaces(nn.Module):
    """A torch distribution with parameters to train."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.randn(3))

    def forward(self, context: Tensor | None) -> torch.distributions.Distribution:
        return Independent(Laplace(self.mean, torch.ones_like(self.mean)), 1)


class Elsewhere(nn.Module):
    """A density of ours in nothing but its two methods: N(m + W c, I)."""

    event_shape = (3,)

    def __init__(self, width: int = 0) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.randn(3))
        self.weight = nn.Parameter(torch.randn(3, width)) if width else None

    def _mean(self, context: tuple[Tensor, ...]) -> Tensor:
        return self.mean if self.weight is None else self.mean + context[0] @ self.weight.T

    def log_prob(self, x: Tensor, *context: Tensor) -> Tensor:
        return torch.distributions.Normal(self._mean(context), 1.0).log_prob(x).sum(1)

    def sample(self, num_samples: int, *context: Tensor) -> Tensor:
        return self._mean(context) + torch.randn(num_samples, 3)


def foreign_flow() -> normflows.NormalizingFlow:
    layers = [normflows.flows.MaskedAffineAutoregressive(3, 16) for _ in range(2)]
    return normflows.NormalizingFlow(normflows.distributions.DiagGaussian(3, trainable=False), layers)


def freia() -> SequenceINN:
    inn = SequenceINN(4)
    inn.append(RNVPCouplingBlock, subnet_constructor=lambda inputs, outputs: MLP(inputs, outputs, [8]))
    return inn


def marginalising(flow: Callable[[], Flow]) -> Marginalising:
    return Marginalising(flow(), StandardNormal(2))


def made(features: int, hidden: list[int], **options: object) -> Callable[[], MaskedAutoregressive]:
    return lambda: MaskedAutoregressive(features, hidden, **options)


TRANSFORMS: dict[str, Case] = {
    **{
        f"planar {h}": Case(lambda h=h: strong(Planar(3, h)), real(3))
        for h in ("tanh", "sigmoid", "arctan", "softsign")
    },
    "planar of one feature": Case(lambda: strong(Planar(1)), real(1)),
    "made": Case(made(5, [16, 12]), real(5)),
    "made without hidden layers": Case(made(4, []), real(4)),
    "made of one dimension": Case(made(1, [8]), real(1)),
    "made of width one": Case(made(4, [1, 1], activation="tanh"), real(4)),
    "made narrower than its input": Case(made(12, [5, 7], degrees="even"), real(12)),
    "made in bands": Case(made(9, [150, 260], activation="tanh"), real(9)),
    "made reversed": Case(made(5, [16], order="reversed", degrees="sequential"), real(5)),
    "made in random order": Case(made(6, [32, 32], order="random", degrees="random", seed=3), real(6)),
    "made from lists": Case(made(4, [3, 4], order=[2, 0, 3, 1], degrees=[[1, 3, 2], [1, 2, 3, 3]]), real(4)),
    "made with context": Case(made(4, [16, 16], context_features=3, degrees="random"), real(4), 3),
    "made of one dimension with context": Case(made(1, [8], context_features=2), real(1), 2),
    "made with dropout": Case(lambda: made(4, [16], dropout=0.5)().eval(), real(4)),
    "made with a tight scale": Case(made(4, [16], univariate=Affine(bound=0.5), activation="elu"), real(4)),
    "made of soft clips": Case(made(4, [16], univariate=SoftclipAffine()), real(4)),
    "made of soft pluses": Case(made(4, [16], univariate=SoftplusAffine(), context_features=1), real(4), 1),
    "made of shifts": Case(made(5, [16, 16], univariate=Additive()), real(5)),
    "made of splines": Case(made(4, [16], univariate=RationalQuadratic(5, 2.0), context_features=1), real(4), 1),
    "made of mixtures": Case(made(4, [16], univariate=GaussianMixture(3)), real(4)),
    "made with residuals": Case(made(5, [16, 12, 16], residual=True), real(5)),
    "made with residuals and context": Case(
        made(6, [16, 30, 16, 12, 16], residual=True, context_features=2, activation="silu", degrees="random"),
        real(6),
        2,
    ),
    "made with residuals in bands": Case(made(9, [260, 150, 260], residual=True, activation="tanh"), real(9)),
    "the map inside a flow of another library": Case(
        lambda: ForeignMap(from_normflows(foreign_flow().double())), real(3)
    ),
    "radial": Case(lambda: strong(Radial(3), 2), real(3)),
    "radial that contracts": Case(lambda: contracting(Radial(3)), real(3)),
    "radial of one feature": Case(lambda: strong(Radial(1), 2), real(1)),
    "radial with context": Case(lambda: strong(Radial(3, context_features=2), 1), real(3), 2),
    "planar with context": Case(lambda: strong(Planar(3, context_features=2), 1), real(3), 2),
    "additive coupling": Case(lambda: coupling([1, 0, 1, 0, 0], Additive()), real(5)),
    "affine coupling": Case(lambda: coupling([0, 1, 0, 1], activation="elu", residual=False), real(4)),
    "affine coupling with context": Case(
        lambda: Sequential(coupling([0, 1, 0], context_features=2), coupling([1, 0, 1], context_features=2)), real(3), 2
    ),
    "residual coupling": Case(residual_coupling, real(4)),
    "spline coupling": Case(lambda: coupling([1, 0, 0, 1], RationalQuadratic(6, 1.5), 0.3), real(4)),
    "spline coupling of two bins": Case(lambda: coupling([1, 0], RationalQuadratic(2)), real(2)),
    "mixture coupling": Case(lambda: coupling([1, 0, 0], GaussianMixture(4), 0.2), real(3)),
    "mixture of one": Case(lambda: coupling([1, 0, 0], GaussianMixture(1)), real(3)),
    "scaling": Case(lambda: strong(Scaling(3), 1), real(3)),
    "scaling of images": Case(lambda: strong(Scaling(2), 1), real(2, 3, 2)),
    "batch norm": Case(lambda: calibrated(BatchNorm(3)), real(3)),
    "batch norm of images": Case(lambda: calibrated(BatchNorm(2)), real(2, 3, 2)),
    "standardise": Case(lambda: calibrated(Standardise(3)), real(3)),
    "standardise images": Case(lambda: calibrated(Standardise(2)), real(2, 3, 2)),
    "permutation": Case(lambda: Permutation(5, "random", seed=1), real(5)),
    "permutation of channels": Case(lambda: Permutation(3), real(3, 2, 2)),
    "flatten": Case(lambda: Flatten((2, 3, 2)), real(2, 3, 2)),
    "dequantise": Case(lambda: Dequantise(256), pixels(256, 1, 4, 4)),
    "dequantise 17 levels": Case(lambda: Dequantise(17), pixels(17, 6)),
    "logit": Case(lambda: Logit(1e-6), unit(4)),
    "logit of images": Case(lambda: Logit(0.05), unit(2, 3, 2)),
    "sequential": Case(lambda: Sequential(strong(Planar(4)), Permutation(4), made(4, [8])()), real(4)),
    "empty sequential": Case(Sequential, real(4)),
    "identity": Case(Identity, real(4)),
    "act norm": Case(lambda: strong(ActNorm(3), 1), real(3)),
    "whiten": Case(lambda: strong(Whiten(3), 0.5), real(3)),
    "whiten images": Case(lambda: strong(Whiten(2), 0.5), real(2, 3, 2)),
    "local autoregressive": Case(lambda: local((2, 3, 4)), real(2, 3, 4)),
    "local autoregressive, reversed": Case(lambda: local((2, 3, 2), order="reversed", reach=2), real(2, 3, 2)),
    "local autoregressive, context": Case(lambda: local((1, 2, 3), context_features=2), real(1, 2, 3), 2),
    "local autoregressive, spline": Case(lambda: local((2, 2, 2), RationalQuadratic(4), by=1.5), real(2, 2, 2)),
    "act norm of images": Case(lambda: strong(ActNorm(2), 1), real(2, 3, 2)),
    "1x1 convolution of vectors": Case(lambda: strong(Conv1x1(4), 0.5), real(4)),
    "1x1 convolution": Case(lambda: strong(Conv1x1(3, seed=1), 0.5), real(3, 4, 2)),
    "1x1 convolution of one channel": Case(lambda: Conv1x1(1), real(1, 2, 2)),
    "squeeze": Case(Squeeze, real(2, 4, 6)),
    "squeeze by three": Case(lambda: Squeeze(3), real(1, 3, 6)),
    "unsqueeze": Case(lambda: Inverse(Squeeze()), real(8, 1, 3)),
    "factor out": Case(lambda: FactorOut(4, 3, [strong(Planar(3)), Permutation(3)]), real(4)),
    "factor out of images": Case(
        lambda: FactorOut(3, 2, [Squeeze(), strong(Conv1x1(8), 0.3), Inverse(Squeeze())]), real(3, 2, 4)
    ),
    "logistic mixture coupling": Case(lambda: coupling([1, 0, 0], LogisticMixture(4), 0.2), real(3)),
    "made of logistic mixtures": Case(made(3, [16], univariate=LogisticMixture(2)), real(3)),
    "image coupling": Case(image_coupling, real(3, 2, 3)),
    "image coupling with a vector as context": Case(
        lambda: Sequential(
            image_coupling(context_features=2), Permutation(3, [1, 0, 2]), image_coupling(context_features=2)
        ),
        real(3, 2, 3),
        2,
    ),
    "image coupling with an image as context": Case(
        lambda: Sequential(
            image_coupling(context_features=2, context_patch=2),
            Permutation(3, [1, 0, 2]),
            image_coupling(context_features=2, context_patch=2, kernel=3, activation="elu"),
        ),
        real(3, 2, 3),
        2,
        (4, 6),
    ),
    "gated coupling": Case(lambda: image_coupling(LogisticMixture(3), gated=True, by=0.2), real(3, 2, 3)),
    "gated coupling with context": Case(
        lambda: Sequential(
            image_coupling(gated=True, context_features=2),
            Permutation(3, [1, 0, 2]),
            image_coupling(gated=True, context_features=2),
        ),
        real(3, 2, 3),
        2,
    ),
    "residual image coupling": Case(
        lambda: Coupling([1, 0], strong(ConvNet(1, 2, [4, 3, 4], kernel=3, residual=True), 0.5)), real(2, 3, 2)
    ),
    **{
        f"{name} of images": Case(lambda n=name: image_model(n).transform, real(1, 4, 4)) for name in SMALL_IMAGE_MODELS
    },
    "dequantise by learned noise": Case(
        lambda: Dequantise(5, image_model("realnvp_images", context_features=1, levels=1)), pixels(5, 1, 4, 4)
    ),
    "of freia": Case(lambda: from_freia(freia()).transform, real(4)),
    "inverse of planar": Case(lambda: Inverse(strong(Planar(3))), real(3)),
    "inverse of made": Case(lambda: Inverse(made(4, [16], context_features=2)()), real(4), 2),
    "augment": Case(lambda: Augment(StandardNormal(2)), real(3)),
    "augment images": Case(lambda: Augment(StandardNormal((1, 3, 2))), real(2, 3, 2)),
    "augment by learned noise": Case(lambda: Augment(conditional_normal(2, 3)), real(3)),
    "augment between blocks": Case(
        lambda: Sequential(strong(Planar(3)), Augment(StandardNormal(1)), made(4, [8])()), real(3)
    ),
}

DISTRIBUTIONS: dict[str, Case] = {
    "standard normal": Case(lambda: StandardNormal(3), real(3)),
    "standard normal images": Case(lambda: StandardNormal((2, 3, 2)), real(2, 3, 2)),
    "diagonal normal": Case(lambda: DiagonalNormal(3), real(3)),
    "conditional diagonal normal": Case(lambda: conditional_normal(2, 3), real(2), 3),
    "standard logistic": Case(lambda: StandardLogistic(3), real(3)),
    "standard logistic images": Case(lambda: StandardLogistic((2, 3, 2)), real(2, 3, 2)),
    "uniform": Case(lambda: Uniform(3, -0.5, 1.5), unit(3)),
    "mixture of gaussians": Case(lambda: strong(distributions.GaussianMixture(3, 4), 0.5), real(3)),
    "flow over a mixture of gaussians": Case(
        lambda: Flow([Permutation(3)], base=strong(models.gaussian_mixture(3), 0.5)), real(3)
    ),
    "planar flow": Case(lambda: models.planar(3, blocks=3), real(3)),
    "masked autoregressive flow": Case(lambda: models.maf(3, hidden=[16], blocks=2), real(3)),
    "conditional masked autoregressive flow": Case(
        lambda: models.maf(3, hidden=[16], blocks=2, context_features=2), real(3), 2
    ),
    **{f"{name} flow": Case(partial(function, 3, **small(name)), real(3)) for name, function in models.MODELS.items()},
    **{
        f"conditional {name} flow": Case(partial(function, 3, context_features=2, **small(name)), real(3), 2)
        for name, function in models.MODELS.items()
    },
    **{
        f"marginalising {name} flow": Case(partial(marginalising, partial(function, 5, **small(name))), real(3))
        for name, function in models.MODELS.items()
    },
    "spline couplings": Case(lambda: models.nsf(4, structure="coupling", hidden=[16], blocks=2), real(4)),
    "marginalising with a flow as noise": Case(
        lambda: Marginalising(models.planar(5), models.iaf(2, hidden=[8], blocks=1, context_features=3)), real(3)
    ),
    "noise between blocks": Case(
        lambda: models.augmented_between(
            models.realnvp, 3, models.diagonal_normal(2, context_features=3), after_blocks=1, blocks=3, hidden=[8]
        ),
        real(3),
    ),
    "conditional through a network": Case(
        lambda: Conditional(models.maf(3, hidden=[16], blocks=2, context_features=5), MLP(2, 5, [8]), 2), real(3), 2
    ),
    "flow with batch norm": Case(calibrated_flow, real(3)),
    "flow over a flow": Case(lambda: Flow([Permutation(3)], base=models.planar(3, blocks=2)), real(3)),
    "image flow": Case(lambda: Flow([Flatten((1, 2, 2))], models.maf(4, hidden=[8], blocks=2)), real(1, 2, 2)),
    "product": Case(lambda: Product(models.maf(2, hidden=[8], context_features=2), StandardNormal(1)), real(3), 2),
    "marginalising flow": Case(lambda: Marginalising(models.planar(5), StandardNormal(2)), real(3)),
    "marginalising with learned noise": Case(
        lambda: Marginalising(models.planar(5), conditional_normal(2, 3)), real(3)
    ),
    "mixed by a mixture of independent columns": Case(lambda: models.mixture(SCHEMA, components=3), rows_of_schema),
    "mixed": Case(lambda: models.mixed(SCHEMA, hidden=[8] * 3, components=2, orders=2), rows_of_schema),
    "mixed given columns": Case(
        lambda: models.mixed(given(SCHEMA, "length"), hidden=[8] * 3, components=2),
        lambda n: rows_of_schema(n)[:, :2],
        1,
    ),
    "mixed with real columns by a flow": Case(
        real_columns_by_a_flow, lambda n: torch.cat([rows_of_schema(n), torch.randn(n, 1, dtype=torch.float64)], 1)
    ),
    "mixed marginalised over noise": Case(
        lambda: Marginalising(
            models.mixed(SCHEMA, hidden=[8] * 3, components=2, noise_features=2), StandardNormal(2)
        ).eval(),
        rows_of_schema,
    ),
    "mixture over labels": Case(
        lambda: LabelMixture(models.maf(3, hidden=[16], blocks=2, context_features=4), 4), real(3), 4, labels=True
    ),
    "conditional marginalising flow": Case(
        lambda: Marginalising(models.maf(5, hidden=[16], context_features=2), conditional_normal(2, 5)), real(3), 2
    ),
    **{f"{name} image flow": Case(lambda n=name: image_model(n), real(1, 4, 4)) for name in SMALL_IMAGE_MODELS},
    **{
        f"conditional {name} image flow": Case(lambda n=name: image_model(n, context_features=2), real(1, 4, 4), 2)
        for name in SMALL_IMAGE_MODELS
    },
    **{
        f"marginalising {name} image flow": Case(
            lambda n=name: Marginalising(image_model(n, 3), StandardNormal((2, 4, 4))), real(1, 4, 4)
        )
        for name in SMALL_IMAGE_MODELS
    },
    "VFlow of images": Case(
        lambda: Marginalising(image_model("glow", 3), image_model("realnvp_images", context_features=2, levels=1)),
        real(2, 4, 4),
    ),
    "image flow over labels": Case(
        lambda: LabelMixture(image_model("glow", context_features=4), 4), real(1, 4, 4), 4, labels=True
    ),
    "image normal by a network": Case(
        lambda: strong(models.diagonal_normal((2, 3, 2), context_features=1, hidden=[4]), 0.3), real(2, 3, 2), 1, (3, 2)
    ),
    "from torch": Case(lambda: from_torch(Laplaces()), real(3)),
    "from freia": Case(lambda: from_freia(freia()), real(4)),
    "context for the preprocessing alone": Case(
        lambda: Flow([made(3, [8], context_features=2)()], models.maf(3, hidden=[8], blocks=2)), real(3), 2
    ),
    "context for the preprocessing alone, with noise": Case(
        lambda: Flow([made(3, [8], context_features=2)()], Marginalising(models.maf(4, hidden=[8]), StandardNormal(1))),
        real(3),
        2,
    ),
    "from elsewhere": Case(lambda: Flow([Permutation(3)], Elsewhere()), real(3)),
    "from elsewhere, with context": Case(lambda: Conditional(Elsewhere(width=2), MLP(1, 2, [8]), 1), real(3), 1),
    "noise and labels, wrapped in each other": Case(
        lambda: Conditional(
            LabelMixture(Marginalising(models.maf(5, hidden=[8], context_features=3), conditional_normal(2, 3)), 3),
            MLP(2, 3, [8]),
            2,
        ),
        real(3),
        2,
    ),
    "noise around labels": Case(
        lambda: Marginalising(LabelMixture(models.maf(5, hidden=[8], context_features=3), 3), StandardNormal(2)),
        real(3),
        3,
        labels=True,
    ),
    "labels around noise": Case(
        lambda: LabelMixture(Marginalising(models.maf(5, hidden=[8], context_features=3), conditional_normal(2, 3)), 3),
        real(3),
        3,
        labels=True,
    ),
    "noise around noise": Case(
        lambda: Marginalising(
            Flow([Augment(conditional_normal(1, 5))], models.planar(6, blocks=3)), conditional_normal(2, 3)
        ),
        real(3),
    ),
    "from pixels by learned noise": Case(
        lambda: Flow(
            [
                Dequantise(5, image_model("realnvp_images", context_features=1, levels=1)),
                Logit(0.05),
                Flatten((1, 4, 4)),
            ],
            base=Marginalising(models.maf(17, hidden=[8], blocks=2), StandardNormal(1)),
        ),
        pixels(5, 1, 4, 4),
    ),
    "from pixels": Case(
        lambda: Flow(
            [Dequantise(17), Logit(0.05), Flatten((1, 2, 2))],
            base=Marginalising(models.maf(5, hidden=[8], blocks=2), StandardNormal(1)),
        ),
        pixels(17, 1, 2, 2),
    ),
}


def build_transform(name: str, seed: int = 0) -> Transform:
    torch.default_generator.manual_seed(seed)
    built = TRANSFORMS[name].build()
    assert isinstance(built, Transform)
    return built


def build_distribution(name: str, seed: int = 0) -> Distribution:
    torch.default_generator.manual_seed(seed)
    built = DISTRIBUTIONS[name].build()
    assert isinstance(built, Distribution)
    return built
