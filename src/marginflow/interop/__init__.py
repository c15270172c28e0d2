"""Flows of other libraries, turned into ours weight for weight or wrapped as they are, and ours as torch's."""

from marginflow.interop.foreign import Foreign
from marginflow.interop.freia import ForeignTransform, from_freia
from marginflow.interop.libraries import from_nflows, from_normflows, from_torch, from_zuko
from marginflow.interop.torch import to_torch
from marginflow.interop.weights import maf_from_nflows, maf_from_zuko

__all__ = [
    "Foreign", "ForeignTransform", "from_freia", "from_nflows", "from_normflows", "from_torch", "from_zuko",
    "maf_from_nflows", "maf_from_zuko", "to_torch",
]  # fmt: skip
