"""Figures, with a description for those who cannot see them.

`plot_lines` and `plot_dots` show labelled results, `draw_…` one thing in one pair of axes, and chapters' own drawings
bear their names. Each name has one `style` in all of them.
"""

from helpers.figures.class_treatment import plot_displacements, plot_mappings
from helpers.figures.dirty_data import draw_curves, draw_digits, plot_columns, plot_labels, plot_steps, plot_suspects
from helpers.figures.drawings import (
    draw_digit,
    draw_eigenvalues,
    draw_line,
    draw_mapping,
    draw_matrix,
    draw_regions,
    draw_spirals,
)
from helpers.figures.perturbation_constraints import plot_clamps, plot_digits, plot_features
from helpers.figures.picture import Picture, new_figure
from helpers.figures.plots import plot_dots, plot_lines
from helpers.figures.robustness import plot_lost, plot_moved_digits
from helpers.figures.styles import Style, class_colours, ordered_colours, style, styles

__all__ = [
    "Picture",
    "Style",
    "class_colours",
    "draw_curves",
    "draw_digit",
    "draw_digits",
    "draw_eigenvalues",
    "draw_line",
    "draw_mapping",
    "draw_matrix",
    "draw_regions",
    "draw_spirals",
    "new_figure",
    "ordered_colours",
    "plot_clamps",
    "plot_columns",
    "plot_digits",
    "plot_displacements",
    "plot_dots",
    "plot_features",
    "plot_labels",
    "plot_lines",
    "plot_lost",
    "plot_mappings",
    "plot_moved_digits",
    "plot_steps",
    "plot_suspects",
    "style",
    "styles",
]
