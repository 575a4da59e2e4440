"""What can be measured of networks: accuracy, weights, volumes, mappings, regions, boundaries, sensitivity.

Most measures take an ensemble with points and classes, each member's own or shared by all, and answer for all members
at once; those of `mappings` take mapped points, as `Ensemble.hidden` returns them, and those of `weights` matrices.
"""

from helpers.metrics.accuracy import accuracy
from helpers.metrics.boundaries import (
    BOUNDARY_MEASURES,
    boundary_measures,
    boundary_points,
    line_distances,
)
from helpers.metrics.label_errors import share_found, suspicion
from helpers.metrics.mappings import (
    area,
    asymmetry,
    collapsed_class,
    displacement,
    effective_rank,
    margin,
    principal_spreads,
    shape_distance,
    spread,
)
from helpers.metrics.regions import LinearRegions, linear_regions, true_radii
from helpers.metrics.sensitivity import (
    Sensitivity,
    constrained_accuracy,
    drop_off,
    loss_at_mass,
    sensitivity,
    unit_accuracy,
)
from helpers.metrics.vanishing import (
    chance_of_dead_unit,
    chance_of_zero_gradient,
    dead_unit_share,
    zero_gradient_share,
)
from helpers.metrics.volumes import log_area_change, log_volume_change
from helpers.metrics.weights import WEIGHT_MEASURES, eigenvalues, singular_values, weight_measures

__all__ = [
    "BOUNDARY_MEASURES",
    "WEIGHT_MEASURES",
    "LinearRegions",
    "Sensitivity",
    "accuracy",
    "area",
    "asymmetry",
    "boundary_measures",
    "boundary_points",
    "chance_of_dead_unit",
    "chance_of_zero_gradient",
    "collapsed_class",
    "constrained_accuracy",
    "dead_unit_share",
    "displacement",
    "drop_off",
    "effective_rank",
    "eigenvalues",
    "line_distances",
    "linear_regions",
    "log_area_change",
    "log_volume_change",
    "loss_at_mass",
    "margin",
    "principal_spreads",
    "sensitivity",
    "shape_distance",
    "share_found",
    "singular_values",
    "spread",
    "suspicion",
    "true_radii",
    "unit_accuracy",
    "weight_measures",
    "zero_gradient_share",
]
