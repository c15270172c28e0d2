"""The thesis, item by item: which experiments stand for each of its figures and its table, and what it reports.

I. Lee, Masked Autoregressive Flows with a Marginalising Flow Framework, 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Drawing = Literal["epochs", "digits", "samples", "points", "against", "none"]


@dataclass(frozen=True)
class Trained:
    """A training that an item needs.

    experiment: its name. label: what tables call it. reported: its number in the thesis. overrides: of the experiment,
    such as "noise.features=4". at: where it stands on the axis of the item's figure.
    """

    experiment: str
    label: str
    reported: float | None = None
    overrides: tuple[str, ...] = ()
    at: float | None = None

    @property
    def run(self) -> str:
        """The name of its run."""
        changed = ["_".join(override.replace("=", "_").split(".")[1:]) for override in self.overrides]
        return "_".join([self.experiment, *changed])


@dataclass(frozen=True)
class Item:
    """A figure or table. drawing: how it is drawn. axis: what `at` of its trainings counts."""

    title: str
    caption: str
    trained: tuple[Trained, ...]
    drawing: Drawing
    axis: str = ""


def _pair(experiment: str, num_noise: int, reported: tuple[float | None, float | None] = (None, None)) -> list[Trained]:
    """An experiment without noise dimensions and its companion with them."""
    with_noise = Trained(f"{experiment}_marginal", f"{num_noise} noise dimensions", reported[1])
    return [Trained(experiment, "no noise", reported[0]), with_noise]


_MOONS = _pair("half_moons_planar", 2, (-0.88, -7.27))
_RANDOM = (
    Trained("cifar10_maf_1024x3_thesis", "MAF 3 x 1024, random masks", -1272.4),
    Trained("cifar10_maf_1024x3_thesis_marginal", "MAF 3 x 1024, random masks, 512 noise dimensions", -624.1),
)
_SEQUENTIAL = (
    Trained("cifar10_maf_3072_thesis", "MAF 3072, sequential", -3195.9),
    Trained("cifar10_maf_3584_thesis_marginal", "MAF 3584, sequential, 512 noise dimensions", -3229.6),
)
_SWEEP = tuple(
    Trained("half_moons_planar_marginal", f"{n} noise dimensions", None, (f"noise.features={n}",), n)
    for n in (1, 4, 8, 16)
)
_WIDE = (1, 2, 4, 8, 16)

ITEMS: dict[str, Item] = {
    "fig1": Item(
        "Figure 1: half moons, no noise",
        "1,000 half-moon points through planar x 8 as it trains. The thesis reports -0.88 nats; no normalised density "
        "averages below the entropy of the data, 0.287.",
        (_MOONS[0],),
        "epochs",
    ),
    "fig2": Item(
        "Figure 2: half moons, 2 noise dimensions",
        "The same points, with noise dimensions appended; the two dimensions of the data are shown. The thesis reports "
        "-7.27 nats.",
        (_MOONS[1],),
        "epochs",
    ),
    "two_to_one": Item(
        "III.B: x squared and its sign",
        "The square of x forgets the sign; a second dimension keeps it. Data in their two dimensions, what planar x 8 "
        "makes of them, and its samples.",
        (Trained("two_to_one_planar", "planar x 8"),),
        "points",
    ),
    "noise_sweep": Item(
        "Future work: how many noise dimensions?",
        "Planar x 8 on half moons with 0 to 16 noise dimensions, everything else equal: the bound and the estimate of "
        "the negative log-likelihood of x.",
        (
            Trained("half_moons_planar", "no noise", at=0),
            _SWEEP[0],
            Trained("half_moons_planar_marginal", "2 noise dimensions", at=2),
            *_SWEEP[1:],
        ),
        "against",
        "noise dimensions",
    ),
    "dimension": Item(
        "Future work: planar flows on data of growing dimension",
        "Planar x 8 on so many independent half moons side by side, in nats a half moon.",
        tuple(
            Trained("half_moons_planar", f"{2 * n} dimensions", None, (f"data.copies={n}",) if n > 1 else (), 2 * n)
            for n in _WIDE
        ),
        "against",
        "dimensions of the data",
    ),
    "fig3": Item(
        "Figure 3: 16 MNIST digits through a planar flow",
        "Digits, and what planar x 8 makes of them, drawn as images again. A layer moves all digits along one "
        "direction of 784: what they have in common, the dark background, is moved into the middle of the base, and "
        "what tells one digit from another is carried along as it was.",
        tuple(_pair("mnist_planar", 256)),
        "digits",
    ),
    "fig4": Item(
        "Figure 4: MNIST digits from a MAF",
        "Samples of MAF 2 x 1024, without and with 256 noise dimensions, beside test images.",
        tuple(_pair("mnist_maf_thesis", 256)),
        "samples",
    ),
    "fig5": Item("Figure 5: CIFAR-10, random masks", "Samples of MAF 3 x 1024, no noise.", _RANDOM[:1], "samples"),
    "fig6": Item(
        "Figure 6: CIFAR-10, random masks, 512 noise dimensions",
        "Samples of MAF 3 x 1024 with 512 noise dimensions.",
        _RANDOM[1:],
        "samples",
    ),
    "fig7": Item("Figure 7: CIFAR-10, sequential masks", "Samples of MAF 3072, no noise.", _SEQUENTIAL[:1], "samples"),
    "fig8": Item(
        "Figure 8: CIFAR-10, sequential masks, 512 noise dimensions",
        "Samples of MAF 3584 with 512 noise dimensions.",
        _SEQUENTIAL[1:],
        "samples",
    ),
    "table1": Item(
        "Table I: CIFAR-10",
        "The four models of the thesis under the accounting. Its column is a joint negative log-likelihood where there "
        "is noise.",
        (*_RANDOM, *_SEQUENTIAL),
        "none",
    ),
    "maf_conv": Item(
        "Future work: MAF and 1 x 1 convolutions",
        "Samples of a MAF with an invertible 1 x 1 convolution of the colours in front of each block.",
        (Trained("cifar10_maf_conv", "MAF 2 x 1024 and 1 x 1 convolutions"),),
        "samples",
    ),
    "maf_3072": Item(
        "Future work: as many noise dimensions as pixels",
        "Samples of MAF 3584 with 3072 noise dimensions.",
        (Trained("cifar10_maf_3584_thesis_marginal", "3072 noise dimensions", None, ("noise.features=3072",)),),
        "samples",
    ),
    "best": Item(
        "Beyond the thesis",
        "Masked networks on patches, each given the patches next to it: single Gaussians on MNIST and CIFAR-10, and a "
        "mixture of Gaussians on MNIST.",
        (
            Trained("mnist_best", "MNIST, single Gaussians"),
            Trained("mnist_best_mog", "MNIST, mixtures of Gaussians"),
            Trained("cifar10_best", "CIFAR-10, single Gaussians"),
        ),
        "samples",
    ),
}
