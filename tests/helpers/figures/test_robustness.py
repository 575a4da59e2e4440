"""Drawings of attacked networks count and read as the networks do."""

import torch

from helpers.figures.robustness import plot_lost, plot_moved_digits
from helpers.models.ensemble import Ensemble
from helpers.robustness.verification import Radii


def test_crosses_stand_where_right_points_are_lost():
    ensemble = Ensemble([2, 4, 2], ["tanh", "relu"], [0, 0])
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]]).expand(2, -1, -1)
    y = torch.tensor([0, 1, 1]).expand(2, -1)
    # Of the first network one point is wrong and one lost; the second keeps all three.
    broken = torch.tensor([[0.0, 0.25, torch.inf], [torch.inf] * 3])
    nearest = torch.full((2, 3, 2), torch.nan)
    nearest[0, :2] = torch.tensor([[0.0, 1.0], [1.25, 0.0]])
    radii = Radii(broken.clamp(max=0.5), broken, nearest, torch.ones(2, 3), 0.5)
    figure = plot_lost(ensemble, x, y, radii)
    first, second = figure.axes
    assert first.get_title() == "tanh: 2 of 3 right, 1 of them lost within ε = 0.5"
    assert second.get_title() == "ReLU: 3 of 3 right, 0 of them lost within ε = 0.5"
    assert first.collections[-1].get_offsets().tolist() == [[1.25, 0.0]]
    assert len(second.collections[-1].get_offsets()) == 0
    assert all(ax.get_title() in figure.description for ax in figure.axes)
    figure.to_html()


def test_each_digit_is_titled_as_its_network_reads_it():
    ensemble = Ensemble([16, 5, 10], ["relu", "tanh"], [0, 1])
    x, moved = (torch.rand(3, 16, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    figure = plot_moved_digits(ensemble, 1, x, moved)
    read = ensemble(torch.cat([x, moved]))[1].argmax(dim=1).tolist()
    assert [ax.get_title() for ax in figure.axes] == [f"read as {digit}" for digit in read]
    assert f"read as {read[0]}, {read[1]} and {read[2]};" in figure.description
    figure.to_html()
