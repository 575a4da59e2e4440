"""The figures of the chapter on class treatment: where two neurons send the classes, and how far they move them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from helpers.checks import Integer
from helpers.figures.drawings import draw_mapping
from helpers.figures.panels import name_axes
from helpers.figures.picture import PAGE_WIDTH, Picture, new_figure
from helpers.figures.styles import style
from helpers.metrics.mappings import displacement
from helpers.names import display


def plot_mappings(images: Mapping[str, Tensor], y: Tensor, *, n_columns: int = 4) -> Picture:
    """Show several images of the same points side by side, each class with its colour and marker.

    Args:
        images: by the title of the panel, each ``[n_points, 2]``.
        y: the classes of the points, ``[n_points]``.
        n_columns: panels in a row, at least 1; fewer if there are no more.
    """
    n_columns = min(Integer(at_least=1)("n_columns", n_columns), len(images))
    n_rows = -(-len(images) // n_columns)
    figure, axes = new_figure(n_rows, n_columns, width=PAGE_WIDTH, height=n_rows * (PAGE_WIDTH / n_columns + 0.3))
    titles = [display(title) for title in images]
    for ax, title, points in zip(axes, titles, images.values(), strict=False):
        draw_mapping(ax, points, y)
        ax.set_title(title, fontsize=10)
    for ax in axes[len(images) :]:
        ax.remove()
    figure.description = f"The points of the classes as seen in {len(images)} panels: {'; '.join(titles)}."
    return figure


def plot_displacements(x: Tensor, images: Mapping[str, Tensor], networks: Sequence[str]) -> Picture:
    """Plot how far points are moved over their distance from the centre, beside a grey line of slope one.

    Args:
        x: points, ``[n_points, d]``.
        images: by what is taken for the image of a point, a column of the figure each: a shape that broadcasts
            against ``[n_networks, n_points, d]``.
        networks: their names, a row of the figure each.

    Returns:
        The figure; titles and description give the share of the variance that a line explains.
    """
    n_rows, n_columns, parts = len(networks), len(images), []
    figure, axes = new_figure(n_rows, n_columns, width=PAGE_WIDTH, height=2.1 * n_rows + 0.4)
    for k, ax in enumerate(axes):
        ax.tick_params(labelleft=k % n_columns == 0, labelbottom=k >= len(axes) - n_columns)
        if k:
            ax.sharex(axes[0])
            ax.sharey(axes[0])
    radius = x.norm(dim=-1)
    for column, (pairing, mapped) in enumerate(images.items()):
        explained = displacement(x, mapped)["r_squared"].expand(n_rows)
        distances = (x - mapped).norm(dim=-1).expand(n_rows, -1)
        for ax, name, moved, share in zip(axes[column::n_columns], networks, distances, explained, strict=True):
            ax.axline((0, 0), slope=1, color="0.7", linewidth=1, zorder=1)
            ax.scatter(radius, moved, s=2, c=style(name).colour, linewidths=0)
            parts.append(f"{display(name)}, {pairing}: R² {float(share):.2f}")
            ax.set_title(parts[-1], fontsize=10)
    name_axes(axes, "distance from the centre", "distance moved")
    figure.description = f"Distance moved over distance from the centre, with a line's share R². {'; '.join(parts)}."
    return figure
