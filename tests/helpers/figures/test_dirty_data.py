"""The chapter's figures show the numbers they are given, and say them."""

import numpy as np
import pytest
import torch
import xarray as xr

from helpers.datasets.corruption import LabelNoise, Noise
from helpers.datasets.dataset import Dataset
from helpers.datasets.multivariate import multivariate, toy_table
from helpers.figures.dirty_data import draw_curves, draw_digits, plot_columns, plot_steps, plot_suspects
from helpers.figures.picture import CURVE_STYLES, STYLES, new_figure
from helpers.figures.plots import plot_dots, plot_lines
from helpers.models.activations import ACTIVATIONS


def values(**sizes):
    labels = {
        "activation": ["relu", "tanh", "elu"],
        "dirt": ["clean", "noise"],
        "epoch": [1, 2, 3, 4],
        "seed": range(5),
        "head": ["as coded", "as written"],
    }
    coords = {name: labels[name] for name in sizes or ("activation", "dirt", "epoch", "seed")}
    shape = [len(entries) for entries in coords.values()]
    return xr.DataArray(np.arange(np.prod(shape)).reshape(shape).astype(float), dims=tuple(coords), coords=coords)


def digits(n=40):
    generator = torch.Generator().manual_seed(0)
    return LabelNoise(0.3)(Dataset(torch.rand(n, 1, 8, 8, generator=generator), torch.arange(n) % 10))


def test_every_activation_has_a_style_of_its_own():
    assert set(STYLES) == set(ACTIVATIONS)
    assert len(set(STYLES.values())) == len(STYLES)
    assert len({marker for _, marker in STYLES.values()}) == len(STYLES)


def test_steps_show_every_number_of_the_toy():
    toy = toy_table()
    figure = plot_steps(toy)
    shown = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    tables = [toy.domain, toy.values, toy.shuffled]
    for texts, table in zip(shown, tables, strict=False):
        assert texts == [f"{value:.4g}" for value in table.flatten()]
    assert shown[4] == [f"{v:.4g}" for v in np.column_stack([toy.x, toy.y]).flatten()]
    assert [ax.get_title()[0] for ax in figure.axes] == list("12345")
    assert all(f"{y:.4g}" in figure.description for y in toy.y)


@pytest.mark.parametrize("n_columns", [2, 7])
def test_columns_show_clean_and_dirty_rows(n_columns):
    made = multivariate(60, n_columns)
    dirty = Noise(0.2)(made.data)
    figure = plot_columns(made, dirty, column_names=[str(j) for j in range(n_columns)])
    assert len(figure.axes) == n_columns
    for j, ax in enumerate(figure.axes):
        clean, moved = (collection.get_offsets() for collection in ax.collections)
        np.testing.assert_allclose(clean, np.stack([made.x[:, j], made.shuffled[:, j]], 1))
        assert len(moved) == 12
    assert "20%" in figure.description


def test_lines_are_the_means():
    data = values()
    figure = plot_lines(data, "epoch", panels="dirt", label="error")
    assert [ax.get_title() for ax in figure.axes] == ["clean", "noise"]
    for ax, dirt in zip(figure.axes, ("clean", "noise"), strict=True):
        for line, name in zip(ax.lines, data["activation"].values, strict=True):
            np.testing.assert_allclose(line.get_ydata(), data.sel(dirt=dirt, activation=name).mean("seed"))
            assert line.get_color() == STYLES[str(name)][0]
    last = float(data.sel(dirt="noise", activation="elu").mean("seed")[-1])
    assert f"elu {last:.3g}" in figure.description


def test_lines_without_panels_and_of_other_names():
    data = values().sel(activation="relu", drop=True)
    figure = plot_lines(data, "epoch", lines="dirt", label="error", axis="passes")
    (ax,) = figure.axes
    assert ax.get_xlabel() == "passes"
    assert len(ax.lines) == 2


def test_dots_are_the_means_with_lines_across():
    data = values(activation=3, dirt=2, seed=5)
    figure = plot_dots(data, dots="dirt", label="error", lines={"floor": 4.5})
    (ax,) = figure.axes
    for container, dirt in zip(ax.containers, ("clean", "noise"), strict=True):
        np.testing.assert_allclose(container.lines[0].get_ydata(orig=False), data.sel(dirt=dirt).mean("seed"))
    assert [text.get_text() for text in ax.texts] == ["floor"]
    assert "Across lies floor, 4.5." in figure.description
    assert "clean: relu 2, tanh 12, elu 22." in figure.description


def test_dots_in_panels():
    figure = plot_dots(values(activation=3, dirt=2, head=2, seed=5), dots="dirt", panels="head", label="error")
    assert [ax.get_title() for ax in figure.axes] == ["as coded", "as written"]


@pytest.mark.parametrize(
    "plot", [lambda v: plot_lines(v, "epoch", label=""), lambda v: plot_dots(v, dots="dirt", label="")]
)
def test_other_dimensions_are_refused(plot):
    with pytest.raises(ValueError, match="values must have dimensions"):
        plot(values(head=2, seed=5))


def test_digits_are_shown_with_given_and_true_labels():
    dirty = digits()
    rows = torch.tensor([int(dirty.rows.nonzero()[0]), int((~dirty.rows).nonzero()[0])])
    _, axes = new_figure(1, 2, width=2, height=1)
    words = draw_digits(axes, dirty, rows)
    wrong, right = (ax.get_title() for ax in axes)
    assert wrong == f"{dirty.data.y[rows[0]]}, truly {dirty.clean.y[rows[0]]}"
    assert right == f"{dirty.clean.y[rows[1]]}"
    assert words == "the labels of 1 of the 2 most suspicious digits are wrong"


def test_suspects_come_in_their_order():
    dirty = digits()
    figure = plot_suspects(dirty, torch.arange(40.0), n=13)
    shown = [ax.images[0].get_array() for ax in figure.axes]
    assert len(shown) == 13
    for k, picture in enumerate(shown):
        np.testing.assert_array_equal(picture, dirty.data.x[39 - k, 0])


def test_curves():
    _, (ax,) = new_figure(1, 1, width=2, height=2)
    draw_curves(ax, {name: torch.tensor([0.1, 0.5]) for name in CURVE_STYLES})
    assert [line.get_label() for line in ax.lines] == list(CURVE_STYLES)
    assert ax.lines[0].get_xdata().tolist() == [1, 2]
