"""The chapters' experiments: train over axes, measure, return labelled arrays.

One module a chapter, under the chapter's name.
"""

from helpers.experiments.class_treatment import (
    batch_size_results,
    batch_size_sweeps,
    gradient_results,
    mapping_results,
    shape_distances,
    width_results,
)
from helpers.experiments.dirty_data import TREATMENTS, Treatment, collect, multivariate_sweep, share_seen
from helpers.experiments.dirty_labels import HEADS, suspects, watch
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
from helpers.experiments.sweeps import Sweep, merged, pick, spiral_sweep, spiral_sweeps, training_results
from helpers.experiments.weight_norms import density_cost, volume_results, weight_results

__all__ = [
    "DEFINITIONS",
    "HEADS",
    "PROTOCOLS",
    "PROTOCOL_NAME",
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
    "mapping_results",
    "merged",
    "multivariate_sweep",
    "noise_results",
    "objectives",
    "pick",
    "robustness_results",
    "shape_distances",
    "share_seen",
    "spiral_sweep",
    "spiral_sweeps",
    "suspects",
    "tanh_ahead",
    "training_results",
    "unit_harm",
    "volume_results",
    "watch",
    "weight_results",
    "width_results",
]
