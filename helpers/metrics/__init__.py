"""What can be measured of networks: weights, mappings, regions, boundaries, sensitivity to constraints.

Everything takes an ensemble, and answers for all its members at once.
"""

from helpers.metrics.accuracy import accuracy
from helpers.metrics.boundaries import (
    BOUNDARY_MEASURES,
    boundary_measures,
    boundary_points,
    exact_measures,
    grid_measures,
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
    without_outliers,
)
from helpers.metrics.regions import LinearRegions, linear_regions, true_radii
from helpers.metrics.sensitivity import (
    Sensitivity,
    at_fraction,
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
    dead_units,
    zero_gradient_share,
)
from helpers.metrics.volumes import log_area_change, log_volume_change
from helpers.metrics.weights import eigenvalues, singular_values, weight_measures

__all__ = [
    "BOUNDARY_MEASURES",
    "LinearRegions",
    "Sensitivity",
    "accuracy",
    "area",
    "asymmetry",
    "at_fraction",
    "boundary_measures",
    "boundary_points",
    "chance_of_dead_unit",
    "chance_of_zero_gradient",
    "collapsed_class",
    "constrained_accuracy",
    "dead_unit_share",
    "dead_units",
    "displacement",
    "drop_off",
    "effective_rank",
    "eigenvalues",
    "exact_measures",
    "grid_measures",
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
    "without_outliers",
    "zero_gradient_share",
]
