"""Data sets, each a set of points with classes and the names of what made it.

Spirals in the plane (`spirals`), handwritten digits (`load_digits`), rows computed by functions (`multivariate`), and
the dirt that is thrown on them (`Noise`, `Outliers`, `LabelNoise`).
"""

from helpers.datasets.corruption import Corruption, Dirty, LabelNoise, Noise, Outliers
from helpers.datasets.dataset import Dataset
from helpers.datasets.digits import DIGITS, DIGITS_NAME, Digits, DigitTask, digest, load_digits, read_idx, standardise
from helpers.datasets.multivariate import (
    ColumnFunction,
    Construction,
    Family,
    construct,
    draw_functions,
    is_periodic,
    multivariate,
    toy_table,
)
from helpers.datasets.spirals import SpiralMeasures, measure_spirals, spiral_distance, spirals

__all__ = [
    "DIGITS",
    "DIGITS_NAME",
    "ColumnFunction",
    "Construction",
    "Corruption",
    "Dataset",
    "DigitTask",
    "Digits",
    "Dirty",
    "Family",
    "LabelNoise",
    "Noise",
    "Outliers",
    "SpiralMeasures",
    "construct",
    "digest",
    "draw_functions",
    "is_periodic",
    "load_digits",
    "measure_spirals",
    "multivariate",
    "read_idx",
    "spiral_distance",
    "spirals",
    "standardise",
    "toy_table",
]
