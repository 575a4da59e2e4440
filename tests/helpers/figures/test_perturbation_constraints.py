"""Drawings of constrained networks show what they say."""

import pytest
import torch
from matplotlib.colors import to_hex

from helpers.datasets.dataset import Dataset
from helpers.figures import perturbation_constraints as drawings
from helpers.figures.picture import new_figure
from helpers.models.ensemble import Ensemble


@pytest.mark.parametrize(("side", "share"), [("below", 0.75), ("above", 0.25)])
def test_histogram_colours_what_the_clamp_changes(side, share):
    figure, (ax,) = new_figure(1, 1, width=3, height=3)
    values = torch.tensor([0.0, 1.0, 2.0, 7.0])
    assert drawings.draw_values(ax, values, 5.0, side, n_bins=7) == share
    heights = [bar.get_height() for bar in ax.patches]
    assert sum(heights) == pytest.approx(1)
    marked = [bar.get_x() + 0.5 for bar in ax.patches if to_hex(bar.get_facecolor()) == drawings.CUT_COLOUR.lower()]
    assert all((middle < 5) == (side == "below") for middle in marked)
    assert len(marked) == (5 if side == "below" else 2)
    figure.to_html()


def test_lines_of_the_strongest_units_stand_out():
    ensemble = Ensemble([2, 5, 2], ["relu"], [0])
    data = Dataset(torch.randn(20, 2, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2)
    figure, (ax,) = new_figure(1, 1, width=3, height=3)
    harm = torch.tensor([0.0, 0.5, 0.1, 0.2, 0.0])
    drawings.draw_features(ax, ensemble, 0, data, harm, n_strongest=2)
    wide = [k for k, line in enumerate(ax.lines) if line.get_linewidth() > 1]
    assert (len(ax.lines), wide) == (5, [1, 3])
    for line, w, b in zip(ax.lines, ensemble.weights[0][0], ensemble.biases[0][0], strict=True):
        ends = torch.tensor([line.get_xy1(), line.get_xy2()])
        torch.testing.assert_close(ends @ w.detach(), -b.detach().expand(2), rtol=1e-4, atol=1e-4)
    figure.to_html()


def test_one_place_is_clamped_from_both_sides():
    figure = drawings.plot_clamps(torch.tensor([1.0, 2.0, 3.0, 9.0]), 0.2)  # at 2.6
    titles = ["clamped from below: 50% of the values change", "clamped from above: 50% of the values change"]
    assert [ax.get_title() for ax in figure.axes] == titles
    assert [ax.lines[0].get_xdata()[0] for ax in figure.axes] == pytest.approx([2.6, 2.6])
    assert figure.description == f"Histogram of hidden values; at 20% of their range {', '.join(titles)}."


def test_each_network_has_its_panel_with_its_own_units():
    ensemble = Ensemble([2, 4, 2], ["relu", "tanh", "abs"], [0, 0, 0])
    sets = [
        Dataset(torch.randn(20, 2, generator=torch.Generator().manual_seed(k)), torch.arange(20) % 2) for k in (0, 1, 2)
    ]
    harm = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.25]])
    figure = drawings.plot_features(ensemble, [2, 0], sets, harm, n_strongest=2)
    assert [ax.get_title() for ax in figure.axes] == [
        "Abs: the 2 units it needs most",
        "ReLU: the 2 units it needs most",
    ]
    wide = [[k for k, line in enumerate(ax.lines) if line.get_linewidth() > 1] for ax in figure.axes]
    assert wide == [[0, 3], [2, 3]]
    assert figure.description.endswith("Abs: 50.0, 25.0. ReLU: 40.0, 30.0.")


def test_the_first_image_of_each_class_is_shown():
    figure = drawings.plot_digits(Dataset(torch.arange(20.0).view(5, 4), torch.tensor([1, 0, 1, 2, 0])))
    assert [ax.get_title() for ax in figure.axes] == ["0", "1", "2"]
    assert [ax.images[0].get_array().flatten().tolist()[0] for ax in figure.axes] == [4, 0, 12]
