"""Drawings show what they are given, and change nothing of it."""

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb

from helpers.datasets.dataset import Dataset
from helpers.datasets.spirals import spirals
from helpers.figures.drawings import (
    draw_digit,
    draw_eigenvalues,
    draw_line,
    draw_mapping,
    draw_matrix,
    draw_regions,
    draw_spirals,
)
from helpers.figures.picture import new_figure
from helpers.figures.styles import CLASS_COLOURS
from helpers.models.ensemble import Ensemble


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_differ_in_colour_and_marker(n_classes):
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    data = Dataset(x, torch.arange(30) % n_classes)
    _, (ax,) = new_figure(1, 1, width=3, height=3)
    draw_spirals(ax, data)
    assert len(ax.collections) == n_classes
    for label, drawn in enumerate(ax.collections):
        np.testing.assert_allclose(drawn.get_offsets(), data.x[data.y == label], rtol=1e-6)
        assert to_hex(drawn.get_facecolor()[0]).upper() == CLASS_COLOURS[label]
        assert drawn.get_label() == f"class {label}"
    assert len({drawn.get_paths()[0].vertices.tobytes() for drawn in ax.collections}) == n_classes


@pytest.mark.parametrize("numbers", [True, False])
def test_matrix_has_zero_in_the_middle_of_its_colours(numbers):
    weight = torch.tensor([[0.5, -2.0, 0.0], [1.0, 0.25, -0.125]])
    _, (ax,) = new_figure(1, 1, width=3, height=3)
    draw_matrix(ax, weight, numbers=numbers)
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), weight)
    assert image.get_clim() == (-2, 2)
    written = [text.get_text() for text in ax.texts]
    assert written == (["0.50", "-2.00", "0.00", "1.00", "0.25", "-0.12"] if numbers else [])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("from neuron", "to neuron")


@pytest.mark.parametrize(("n_outputs", "n_classes"), [(1, 2), (2, 2), (3, 3)])
def test_regions_have_the_colour_of_the_likeliest_class_by_how_far_it_leads(n_outputs, n_classes):
    data = spirals(4, n_per_class=30, seed=0)
    ensemble = Ensemble([2, 8, 8, n_outputs], ["tanh", "relu"], [1, 2])
    before = ensemble.flatten()
    _, (ax,) = new_figure(1, 1, width=3, height=3)
    box = (-3.0, 2.0, -1.0, 4.0)
    draw_regions(ax, ensemble, 1, data, box=box, n_pixels=21)
    (image,) = ax.images
    assert tuple(image.get_extent()) == (*ax.get_xlim(), *ax.get_ylim()) == box
    assert image.origin == "lower"
    for row, column in ((0, 0), (20, 3), (7, 15)):
        point = torch.tensor([[np.linspace(-3, 2, 21)[column], np.linspace(-1, 4, 21)[row]]], dtype=torch.float32)
        logits = ensemble.member(1)(point)[0].detach()
        probability = logits.softmax(0) if n_outputs > 1 else torch.cat([1 - logits.sigmoid(), logits.sigmoid()])
        lead = (n_classes * float(probability.max()) - 1) / (n_classes - 1)
        colour = np.array(to_rgb(CLASS_COLOURS[int(probability.argmax())]))
        np.testing.assert_allclose(image.get_array()[row, column], 1 - 0.45 * lead * (1 - colour), atol=1e-6)
    assert torch.equal(ensemble.flatten(), before)


def test_regions_hold_all_points_unless_told_otherwise():
    data = spirals(4, n_per_class=30, seed=0)
    _, (ax,) = new_figure(1, 1, width=3, height=3)
    draw_regions(ax, Ensemble([2, 4, 2], ["relu"], [0]), 0, data, n_pixels=5)
    left, right, bottom, top = ax.images[0].get_extent()
    assert left == bottom == -right == -top
    assert right > float(data.x.abs().max())


def test_regions_part_along_the_boundaries():
    ensemble = Ensemble([2, 4, 3], ["relu"], [0])
    with torch.no_grad():  # behind hidden values of u, −u, v and −v the logits are 0, u and v
        ensemble.weights[0][0] = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        ensemble.weights[1][0] = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]])
        for bias in ensemble.biases:
            bias.zero_()
    _, (ax,) = new_figure(1, 1, width=3, height=3)
    data = Dataset(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
    draw_regions(ax, ensemble, 0, data, box=(-1.0, 1.0, -1.0, 1.0), n_pixels=51)
    contours = [drawn for drawn in ax.collections if not isinstance(drawn, PathCollection)]
    u, v = np.concatenate([path.vertices for contour in contours for path in contour.get_paths()]).T
    near = 0.04
    rays = [(abs(u) < near) & (v < near), (abs(v) < near) & (u < near), (abs(u - v) < near) & (u > -near)]
    assert np.any(rays, axis=0).all()
    assert all(ray.sum() > 20 for ray in rays)


def test_regions_need_a_plane():
    _, (ax,) = new_figure(1, 1, width=3, height=3)
    with pytest.raises(ValueError, match="ensemble must have 2 inputs to be drawn in the plane, got 3"):
        draw_regions(ax, Ensemble([3, 4, 2], ["relu"], [0]), 0, spirals(4, n_per_class=5))


def test_a_line_lies_where_it_should():
    _, (ax,) = new_figure(1, 1, width=3, height=3)
    draw_line(ax, torch.tensor([3.0, 4.0]), -10.0, color="red")
    (line,) = ax.lines
    ends = np.array([line.get_xy1(), line.get_xy2()])
    np.testing.assert_allclose(ends @ [3, 4], 10)
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(1)


def test_a_digit_is_drawn_square():
    _, (ax,) = new_figure(1, 1, width=1, height=1)
    draw_digit(ax, torch.arange(16.0), "7", colour="red")
    np.testing.assert_array_equal(ax.images[0].get_array(), np.arange(16).reshape(4, 4))
    assert (ax.get_title(), ax.title.get_color()) == ("7", "red")


def test_eigenvalues_lie_where_they_are():
    drawn = torch.tensor([0.5 + 0.25j, 0.5 - 0.25j, -3 + 0j])
    _, axes = new_figure(1, 2, width=6, height=3)
    draw_eigenvalues(axes[0], drawn)
    draw_eigenvalues(axes[1], drawn, radius=2)
    (points,) = (c for c in axes[0].collections if isinstance(c, PathCollection))
    np.testing.assert_allclose(points.get_offsets(), [[0.5, 0.25], [0.5, -0.25], [-3, 0]])
    assert axes[0].get_xlim()[1] > 3
    assert axes[1].get_xlim() == axes[1].get_ylim() == (-2, 2)
    circle = axes[0].lines[0].get_xydata()
    np.testing.assert_allclose(np.hypot(*circle.T), 1)


def test_mapped_points_are_drawn_by_class_with_the_separating_line():
    points, y = torch.tensor([[0.0, 1.0], [2.0, 0.5], [-1.0, 0.0]]), torch.tensor([0, 1, 1])
    _, (first, second) = new_figure(1, 2, width=4, height=2)
    draw_mapping(first, points, y)
    zero, one = (c.get_offsets() for c in first.collections)
    np.testing.assert_allclose(zero, [[0, 1]])
    np.testing.assert_allclose(one, [[2, 0.5], [-1, 0]])
    assert first.get_xlim() == first.get_ylim() == pytest.approx((-2.2, 2.2))
    draw_mapping(second, points, y, separator=(torch.tensor([3.0, 4.0]), -10.0), limit=3)
    np.testing.assert_allclose(np.array(second.lines[0].get_xy1()) @ [3, 4], 10, atol=1e-6)
    assert second.get_xlim() == (-3, 3)
    draw_mapping(second, torch.zeros(3, 2), y)  # all in one point
