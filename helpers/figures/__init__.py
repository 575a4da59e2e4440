"""Figures, with a description for those who cannot see them.

`plots` draws labelled arrays, `drawings` one thing in one pair of axes; chapters' own drawings bear their names.
"""

from helpers.figures.dirty_data import draw_curves, draw_digits, plot_columns, plot_steps, plot_suspects
from helpers.figures.drawings import draw_eigenvalues, draw_mapping, draw_matrix, draw_regions, draw_spirals
from helpers.figures.perturbation_constraints import (
    draw_digit,
    draw_features,
    draw_values,
    head_styles,
    plot_affine,
    plot_against_amount,
    plot_drop_offs,
    plot_sensitivity,
)
from helpers.figures.picture import LINE_COLOURS, Picture, layer_colours, new_figure
from helpers.figures.plots import plot_against_reported, plot_dots, plot_intervals, plot_lines, plot_over

__all__ = [
    "LINE_COLOURS",
    "Picture",
    "draw_curves",
    "draw_digit",
    "draw_digits",
    "draw_eigenvalues",
    "draw_features",
    "draw_mapping",
    "draw_matrix",
    "draw_regions",
    "draw_spirals",
    "draw_values",
    "head_styles",
    "layer_colours",
    "new_figure",
    "plot_affine",
    "plot_against_amount",
    "plot_against_reported",
    "plot_columns",
    "plot_dots",
    "plot_drop_offs",
    "plot_intervals",
    "plot_lines",
    "plot_over",
    "plot_sensitivity",
    "plot_steps",
    "plot_suspects",
]
