"""The chapter's figures show where the points are sent, and how far they are moved."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from helpers.datasets.spirals import spirals
from helpers.figures.class_treatment import plot_displacements, plot_mappings
from helpers.figures.styles import style
from helpers.metrics.mappings import displacement
from helpers.names import display

DATA = spirals(5, n_per_class=30)


@pytest.mark.parametrize(("n_images", "n_columns", "last_row"), [(3, 4, 3), (5, 4, 1), (6, 3, 3)])
def test_mappings_have_a_panel_for_each_image(n_images, n_columns, last_row):
    images = {f"times {k}": k * DATA.x for k in range(1, n_images)} | {"relu": DATA.x.clamp(min=0)}
    figure = plot_mappings(images, DATA.y, n_columns=n_columns)
    assert [ax.get_title() for ax in figure.axes] == [f"times {k}" for k in range(1, n_images)] + ["ReLU"]
    for ax, points in zip(figure.axes, images.values(), strict=True):
        for label, drawn in enumerate(ax.collections):
            np.testing.assert_allclose(drawn.get_offsets(), points[DATA.y == label])
    lowest = [ax for ax in figure.axes if ax.get_subplotspec().is_last_row()]
    assert len(lowest) == last_row
    assert "times 1; " in figure.description
    assert figure.description.endswith("ReLU.")


def test_displacements_are_those_of_each_network_and_pairing():
    mapped = torch.stack([DATA.x.tanh(), DATA.x.clamp(min=0)])
    images = {"own image": mapped, "one for all": mapped.mean(dim=1, keepdim=True), "none": torch.zeros(1, 2)}
    figure = plot_displacements(DATA.x, images, ["tanh", "relu"])
    assert len({ax.get_xlim() + ax.get_ylim() for ax in figure.axes}) == 1
    panels = iter(figure.axes)
    for k, name in enumerate(["tanh", "relu"]):
        for pairing, points in images.items():
            ax, points = next(panels), points if points.dim() == 2 else points[k]
            (drawn,) = ax.collections
            moved = (DATA.x - points).norm(dim=1)
            np.testing.assert_allclose(drawn.get_offsets(), torch.stack([DATA.x.norm(dim=1), moved], 1), rtol=1e-5)
            assert ax.get_ylim()[0] < moved.min() < moved.max() < ax.get_ylim()[1]
            share = float(displacement(DATA.x, points)["r_squared"])
            text = f"{display(name)}, {pairing}: R² {share:.2f}"
            assert ax.get_title() == text
            assert text in figure.description
            assert ax.lines[0].get_slope() == 1
            assert to_hex(drawn.get_facecolor()[0]) == style(name).colour.lower()
