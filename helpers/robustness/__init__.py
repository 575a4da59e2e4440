"""What can be proved: bounds on what networks say anywhere in a ball, the complete verifier, four definitions.

`certified` by linear bounds, `verify` by branch and bound, `decide` for a definition; `Augmented`, `Adversarial` and
`Certified` train for the property.
"""

from helpers.robustness.bounds import (
    Region,
    Relaxed,
    box,
    by_run,
    certified,
    differences,
    interval_bounds,
    linear_bounds,
    lines,
    margins,
    region,
    rounding_error,
)
from helpers.robustness.definitions import (
    ClassificationRobustness,
    Decided,
    Definition,
    LipschitzRobustness,
    StandardRobustness,
    StrongClassificationRobustness,
    decide,
    gradient_bounds,
)
from helpers.robustness.objectives import Adversarial, Augmented, Certified
from helpers.robustness.relaxations import Lines, derivative_image, image, relax
from helpers.robustness.verification import Bands, Radii, Search, bands, others, search, verify

__all__ = [
    "Adversarial",
    "Augmented",
    "Bands",
    "Certified",
    "ClassificationRobustness",
    "Decided",
    "Definition",
    "Lines",
    "LipschitzRobustness",
    "Radii",
    "Region",
    "Relaxed",
    "Search",
    "StandardRobustness",
    "StrongClassificationRobustness",
    "bands",
    "box",
    "by_run",
    "certified",
    "decide",
    "derivative_image",
    "differences",
    "gradient_bounds",
    "image",
    "interval_bounds",
    "linear_bounds",
    "lines",
    "margins",
    "others",
    "region",
    "relax",
    "rounding_error",
    "search",
    "verify",
]
