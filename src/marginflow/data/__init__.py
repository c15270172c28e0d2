"""Rows: data sets by name, a user's own tables, files read and written."""

from marginflow.data.dataset import Batch, DataSet, DataSpec, Rows, Split
from marginflow.data.download import Source, data_root
from marginflow.data.energies import ENERGIES
from marginflow.data.grid import Grid
from marginflow.data.images.datasets import cifar10, digits, mnist
from marginflow.data.load import DATA_SETS, SOURCES, load, source
from marginflow.data.maf_tables import bsds300, gas, hepmass, miniboone, power
from marginflow.data.schema import Column, Schema
from marginflow.data.tables.table import table
from marginflow.data.toy import checkerboard, eight_gaussians, half_moons, pinwheel, spirals, two_to_one
from marginflow.data.warp import Warp

__all__ = [
    "DATA_SETS",
    "ENERGIES",
    "SOURCES",
    "Batch",
    "Column",
    "DataSet",
    "DataSpec",
    "Grid",
    "Rows",
    "Schema",
    "Source",
    "Split",
    "Warp",
    "bsds300",
    "checkerboard",
    "cifar10",
    "data_root",
    "digits",
    "eight_gaussians",
    "gas",
    "half_moons",
    "hepmass",
    "load",
    "miniboone",
    "mnist",
    "pinwheel",
    "power",
    "source",
    "spirals",
    "table",
    "two_to_one",
]  # fmt: skip
