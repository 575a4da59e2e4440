"""The chapters' experiments: train over axes, measure, return labelled arrays.

One module a chapter, under the chapter's name, and `sweeps` for what they share. ``*_sweep`` trains a network for every
combination of its axes and returns a `Sweep`, ``*_sweeps`` a list of them; ``*_results`` measures a sweep and returns
labelled arrays; `merged` puts those of several sweeps into one.
"""

from helpers.experiments.class_treatment import (
    batch_size_results,
    batch_size_sweeps,
    gradient_results,
    mapping_results,
    shape_distances,
    width_results,
)
from helpers.experiments.dirty_data import (
    TREATMENTS,
    Treatment,
    collect,
    multivariate_results,
    multivariate_sweep,
    saturation_gap,
    share_seen,
)
from helpers.experiments.dirty_labels import (
    LAST_LAYER,
    REGULARISATIONS,
    label_gains,
    label_results,
    label_sweep,
    suspect_results,
    suspect_sweep,
    suspects,
)
from helpers.experiments.perturbation_constraints import (
    PROTOCOL_NAME,
    PROTOCOLS,
    HeadProtocol,
    TooLong,
    clamp_results,
    feature_results,
    head_results,
    head_sweeps,
    unit_harm,
)
from helpers.experiments.robustness import (
    DEFINITIONS,
    attack_results,
    boundary_results,
    definition_results,
    digit_results,
    digit_sweep,
    evaluation_checks,
    noise_results,
    objectives,
    robustness_results,
    tanh_ahead,
)
from helpers.experiments.sweeps import Sweep, merged, pick, prefixed, spiral_sweep, spiral_sweeps, training_results
from helpers.experiments.weight_norms import density_cost, volume_results, weight_results

__all__ = [
    "DEFINITIONS",
    "LAST_LAYER",
    "PROTOCOLS",
    "PROTOCOL_NAME",
    "REGULARISATIONS",
    "TREATMENTS",
    "HeadProtocol",
    "Sweep",
    "TooLong",
    "Treatment",
    "attack_results",
    "batch_size_results",
    "batch_size_sweeps",
    "boundary_results",
    "clamp_results",
    "collect",
    "definition_results",
    "density_cost",
    "digit_results",
    "digit_sweep",
    "evaluation_checks",
    "feature_results",
    "gradient_results",
    "head_results",
    "head_sweeps",
    "label_gains",
    "label_results",
    "label_sweep",
    "mapping_results",
    "merged",
    "multivariate_results",
    "multivariate_sweep",
    "noise_results",
    "objectives",
    "pick",
    "prefixed",
    "robustness_results",
    "saturation_gap",
    "shape_distances",
    "share_seen",
    "spiral_sweep",
    "spiral_sweeps",
    "suspect_results",
    "suspect_sweep",
    "suspects",
    "tanh_ahead",
    "training_results",
    "unit_harm",
    "volume_results",
    "weight_results",
    "width_results",
]
