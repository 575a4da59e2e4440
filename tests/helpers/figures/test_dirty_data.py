"""The chapter's figures show the numbers they are given, and say them."""

import numpy as np
import pytest
import torch

from helpers.datasets.corruption import LabelNoise, Noise
from helpers.datasets.dataset import Dataset
from helpers.datasets.multivariate import multivariate, toy_table
from helpers.figures.dirty_data import draw_curves, draw_digits, plot_columns, plot_steps, plot_suspects
from helpers.figures.picture import new_figure
from helpers.figures.styles import style


def digits(n=40):
    generator = torch.Generator().manual_seed(0)
    return LabelNoise(0.3)(Dataset(torch.rand(n, 1, 8, 8, generator=generator), torch.arange(n) % 10))


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
    figure = plot_columns(made, dirty)
    assert [ax.get_title() for ax in figure.axes] == [function.family for function in made.functions]
    for j, ax in enumerate(figure.axes):
        clean, moved = (collection.get_offsets() for collection in ax.collections)
        np.testing.assert_allclose(clean, np.stack([made.x[:, j], made.shuffled[:, j]], 1))
        assert len(moved) == 12
    assert "20%" in figure.description


def test_digits_are_shown_with_given_and_true_labels():
    dirty = digits()
    rows = torch.tensor([int(dirty.rows.nonzero()[0]), int((~dirty.rows).nonzero()[0])])
    _, axes = new_figure(1, 2, width=2, height=1)
    words = draw_digits(axes, dirty, rows)
    wrong, right = (ax.get_title() for ax in axes)
    assert wrong == f"{dirty.data.y[rows[0]]}, truly {dirty.clean.y[rows[0]]}"
    assert right == f"{dirty.clean.y[rows[1]]}"
    assert words == "the labels of 1 of 2 digits are wrong"


def test_suspects_come_in_their_order():
    dirty = digits()
    figure = plot_suspects(dirty, torch.arange(40.0), n=13)
    shown = [ax.images[0].get_array() for ax in figure.axes]
    assert len(shown) == 13
    for k, picture in enumerate(shown):
        np.testing.assert_array_equal(picture, dirty.data.x[39 - k, 0])


def test_curves():
    _, (ax,) = new_figure(1, 1, width=2, height=2)
    names = ["validation accuracy", "learned", "memorised"]
    draw_curves(ax, {name: torch.tensor([0.1, 0.5]) for name in names})
    assert [line.get_label() for line in ax.lines] == [
        "validation accuracy", "right labels learned", "wrong labels memorised",
    ]  # fmt: skip
    assert [line.get_color() for line in ax.lines] == [style(name).colour for name in names]
    assert ax.lines[0].get_xdata().tolist() == [1, 2]
