"""What can be proved: bounds on what networks say anywhere in a ball, the complete verifier, four definitions.

`certified` by linear bounds, `verify` by branch and bound, `decide` for a definition; `Augmented`, `Adversarial` and
`Certified` train for the property.
"""

from helpers.robustness.bounds import certified, interval_bounds, linear_bounds, margins
from helpers.robustness.boxes import Ball, Box, Region, region
from helpers.robustness.definitions import (
    ClassificationRobustness,
    Decided,
    Definition,
    LipschitzRobustness,
    StandardRobustness,
    StrongClassificationRobustness,
    decide,
)
from helpers.robustness.objectives import Adversarial, Augmented, Certified
from helpers.robustness.verification import Radii, verify

__all__ = [
    "Adversarial",
    "Augmented",
    "Ball",
    "Box",
    "Certified",
    "ClassificationRobustness",
    "Decided",
    "Definition",
    "LipschitzRobustness",
    "Radii",
    "Region",
    "StandardRobustness",
    "StrongClassificationRobustness",
    "certified",
    "decide",
    "interval_bounds",
    "linear_bounds",
    "margins",
    "region",
    "verify",
]
