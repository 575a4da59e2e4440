"""Figures draw what they are given, say it in words, and leave no trace in pyplot."""

import base64
import io
import re
from html import unescape

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from PIL import Image

from helpers.datasets.spirals import spirals
from helpers.evidence.intervals import Interval, interval_over
from helpers.figures.drawings import draw_eigenvalues, draw_mapping, draw_matrix, draw_regions, draw_spirals
from helpers.figures.picture import CLASS_COLOURS, CLASS_MARKERS, LINE_COLOURS, Picture, layer_colours, new_figure
from helpers.figures.plots import plot_against_reported, plot_intervals, plot_over
from helpers.models.ensemble import Ensemble


@pytest.fixture(autouse=True)
def no_trace():
    before = dict(mpl.rcParams)
    yield
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before


def values(activations=("tanh", "relu"), seeds=4):
    stream = np.random.default_rng(0)
    coords = {
        "seed": range(seeds), "layer": [1, 2, 4], "entanglement": [2, 4, 10], "activation": list(activations),
    }  # fmt: skip
    data = stream.normal(5, 1, [len(axis) for axis in coords.values()])
    return xr.DataArray(data, dims=tuple(coords), coords=coords)


def image_of(html):
    assert html.startswith("<img ")
    return Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])))


def test_picture_shows_itself_with_its_description():
    figure, (ax,) = new_figure(1, 1, width=3, height=2)
    ax.plot([0, 1])
    figure.description = 'A line, "rising" & <straight>.'
    html = figure._repr_html_()
    assert unescape(re.search(r'alt="([^"]*)"', html)[1]) == figure.description
    assert 'width="300"' in html
    assert image_of(html).size == (600, 400)
    assert image_of(figure.to_html()).size == (300, 200)
    assert image_of(html).mode == "P"
    colours = {to_hex(np.asarray(c) / 255) for _, c in image_of(html).convert("RGB").getcolors()}
    assert {"#ffffff", "#1f77b4"} & colours == {"#ffffff"} or "#1f77b4" in colours


def test_new_figure_has_its_axes_row_by_row():
    figure, axes = new_figure(2, 3, width=6, height=4)
    assert isinstance(figure, Picture)
    assert figure.description == ""
    assert list(figure.get_size_inches()) == [6, 4]
    assert axes == list(figure.axes)
    assert len(axes) == 6


def test_layer_colours_differ_from_dark_to_light():
    for n in (1, 2, 5):
        colours = layer_colours(n)
        assert len(set(colours)) == n
        lightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b, _ in colours]
        assert lightness == sorted(lightness)


def test_classes_differ_in_colour_and_marker():
    assert len(set(CLASS_COLOURS)) == len(set(CLASS_MARKERS)) == 2
    data = spirals(4, n_per_class=20, seed=1)
    _, (ax,) = new_figure(1, 1, width=3, height=3)
    draw_spirals(ax, data)
    for label, drawn in enumerate(ax.collections):
        np.testing.assert_allclose(drawn.get_offsets(), data.x[data.y == label], rtol=1e-6)
        assert to_hex(drawn.get_facecolor()[0]).upper() == CLASS_COLOURS[label]
        assert drawn.get_label() == f"class {label}"
    first, second = (drawn.get_paths()[0].vertices for drawn in ax.collections)
    assert first.shape != second.shape


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


def test_regions_are_the_networks_probabilities():
    data = spirals(4, n_per_class=30, seed=0)
    ensemble = Ensemble([2, 8, 8, 2], ["tanh", "relu"], [1, 2])
    before = ensemble.flatten()
    _, (ax,) = new_figure(1, 1, width=3, height=3)
    draw_regions(ax, ensemble, 1, data, n_pixels=21)
    (image,) = ax.images
    left, right, bottom, top = image.get_extent()
    assert left == bottom == -right == -top
    shown, line = image.get_array(), np.linspace(left, right, 21)
    assert image.origin == "lower"
    for row, column in ((0, 0), (20, 3), (7, 15)):
        point = torch.tensor([[line[column], line[row]]], dtype=torch.float32)
        expected = ensemble.member(1)(point).softmax(1)[0, 1].item()
        assert shown[row, column] == pytest.approx(expected, abs=1e-6)
    assert torch.equal(ensemble.flatten(), before)


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


@pytest.mark.parametrize("activations", [("tanh", "relu"), tuple("abcdefg")])
def test_lines_are_means_and_bands_intervals(activations):
    data = values(activations)
    figure = plot_over(data, "entanglement", label="the norm")
    bands = interval_over(data)
    assert [ax.get_title() for ax in figure.axes] == list(activations)
    for ax, name in zip(figure.axes, activations, strict=True):
        assert ax.get_xlabel() == "entanglement"
        assert len(ax.lines) == len(ax.collections) == 3
        assert len({to_hex(line.get_color()) for line in ax.lines}) == 3
        for line, band, layer in zip(ax.lines, ax.collections, (1, 2, 4), strict=True):
            expected = bands.sel(activation=name, layer=layer)
            assert line.get_label() == f"L{layer}"
            np.testing.assert_allclose(line.get_xydata(), np.stack([[2, 4, 10], expected["mean"]], axis=1))
            corners = band.get_paths()[0].vertices
            for side in ("low", "high"):
                for x, y in zip((2, 4, 10), expected[side].values, strict=True):
                    assert np.isclose(corners, [x, y]).all(axis=1).any()
        assert ax.get_ylim() == figure.axes[0].get_ylim()
        assert ax.get_ylim()[0] <= float(bands["low"].min())
        assert ax.get_ylim()[1] >= float(bands["high"].max())
    assert figure.axes[0].get_ylabel() == "the norm"
    first = float(bands["mean"].sel(activation=activations[0], layer=4, entanglement=2))
    assert figure.description.startswith("the norm over entanglement")
    assert f"L4 {first:.3g} and" in figure.description
    assert all(f"{name}: " in figure.description for name in activations)


def test_lines_want_their_dimensions():
    with pytest.raises(ValueError, match="values must have dimensions epoch, activation, layer and seed"):
        plot_over(values(), "epoch", label="x")


def test_the_studys_numbers_stand_beside_ours():
    data = values().sel(activation="relu")
    reported = {1: [4.0, 5.0, 6.0], 4: [1.0, 2.0, 3.5]}
    figure = plot_against_reported(data, reported, [2, 4, 10], label="norm")
    bands = interval_over(data)
    assert [ax.get_title() for ax in figure.axes] == ["L1", "L4"]
    for ax, (layer, numbers) in zip(figure.axes, reported.items(), strict=True):
        by_label = {line.get_label(): line for line in ax.lines}
        np.testing.assert_array_equal(by_label["study"].get_ydata(), numbers)
        (bars,) = ax.containers
        np.testing.assert_allclose(np.asarray(bars.lines[0].get_ydata(), dtype=float), bands["mean"].sel(layer=layer))
        ends = np.asarray([segment[:, 1] for segment in bars.lines[2][0].get_segments()], dtype=float)
        np.testing.assert_allclose(ends[:, 0], bands["low"].sel(layer=layer))
        np.testing.assert_allclose(ends[:, 1], bands["high"].sel(layer=layer))
    ours = float(bands["mean"].sel(layer=4, entanglement=10))
    assert f"L4: ours {ours:.3g}, the study's 3.5." in figure.description


def test_lines_may_be_of_another_dimension():
    data = values().sel(layer=[1, 4]).rename(activation="size", layer="activation")
    figure = plot_over(data, "entanglement", panels="size", lines="activation", label="share")
    for ax in figure.axes:
        assert [line.get_label() for line in ax.lines] == ["1", "4"]
        assert [to_hex(line.get_color()) for line in ax.lines] == [c.lower() for c in LINE_COLOURS[:2]]
    assert ", 4 " in figure.description


def test_intervals_stand_in_rows_with_a_mark():
    rows = {"first": Interval(0.5, 0.25, 0.625, 9), "second": Interval(-1, -2, 1, 9)}
    figure = plot_intervals(rows, label="share", mark=0.3)
    (ax,) = figure.axes
    (bars,) = ax.containers
    np.testing.assert_array_equal(bars.lines[0].get_xydata(), [[0.5, 0], [-1, 1]])
    ends = [segment[:, 0].tolist() for segment in bars.lines[2][0].get_segments()]
    assert ends == [[0.25, 0.625], [-2, 1]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]
    assert ax.yaxis_inverted()
    assert [0.3, 0.3] in [list(line.get_xdata()) for line in ax.lines]
    assert figure.description == (
        "share, means and 95 % intervals: first 0.50 [0.25, 0.62]; second −1.00 [−2.00, 1.00]."
    )


def test_mapped_points_are_drawn_by_class_with_the_separating_line():
    points, y = torch.tensor([[0.0, 1.0], [2.0, 0.5], [-1.0, 0.0]]), torch.tensor([0, 1, 1])
    _, (first, second) = new_figure(1, 2, width=4, height=2)
    draw_mapping(first, points, y)
    zero, one = (c.get_offsets() for c in first.collections)
    np.testing.assert_allclose(zero, [[0, 1]])
    np.testing.assert_allclose(one, [[2, 0.5], [-1, 0]])
    assert first.get_xlim() == first.get_ylim() == pytest.approx((-2.2, 2.2))
    draw_mapping(second, points, y, separator=(torch.tensor([3.0, 4.0]), -10.0), reach=3)
    ends = second.lines[0].get_xydata()
    np.testing.assert_allclose(ends @ [3, 4], 10, atol=1e-6)
    assert np.linalg.norm(ends[1] - ends[0]) >= 2 * 3 * np.sqrt(2)
    assert second.get_xlim() == (-3, 3)
    draw_mapping(second, torch.zeros(3, 2), y)  # all in one point
