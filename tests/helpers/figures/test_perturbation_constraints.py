"""Figures and the explorer of constrained networks show what they say."""

import re

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.colors import to_hex

from helpers.datasets.dataset import Dataset
from helpers.explorers.perturbation_constraints import constraint_explorer
from helpers.figures import perturbation_constraints as drawings
from helpers.figures.picture import new_figure
from helpers.models.constraints import value_span
from helpers.models.ensemble import Ensemble
from helpers.models.heads import HEADS

PERCENTS = np.arange(0.0, 101.0, 10.0)


def curves(heads=HEADS, scale=1.0):
    """Accuracy that falls from below and rises from above, the same for all seeds but for a little."""
    down = 100 - PERCENTS
    values = np.stack([down, PERCENTS])[None, :, :, None] + np.linspace(-1, 1, 3)
    values = scale * np.repeat(values, len(heads), axis=0)
    coords = {"head": list(heads), "side": ["below", "above"], "percent": PERCENTS, "seed": [0, 1, 2]}
    return xr.DataArray(values, dims=list(coords), coords=coords)


def test_sensitivity_has_a_line_for_each_head_and_side():
    figure = drawings.plot_sensitivity(curves())
    assert len(figure.axes) == 2
    for ax in figure.axes:
        assert len(ax.lines) == 6
        assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 6
    assert "From below: relu 90 and 50" in figure.description
    assert "From above: relu 10 and 50" in figure.description


def test_styles_keep_to_the_activation():
    styles = drawings.head_styles(["relu", "gelu2", "relu2_neg", "gelu"])
    assert styles["relu"][0] == styles["relu2_neg"][0]
    assert styles["gelu"][0] == styles["gelu2"][0] != styles["relu"][0]
    assert (styles["relu"][1], styles["gelu2"][1], styles["relu2_neg"][1]) == ("-", "--", ":")


def test_amounts_are_the_horizontal_axis():
    accuracy = curves(["relu", "abs"])
    amount = xr.zeros_like(accuracy)
    amount[:] = (100 - accuracy).values
    figure = drawings.plot_against_amount(accuracy, amount, amount_label="mass moved, %")
    assert len(figure.axes) == 2
    for ax in figure.axes:
        for line in ax.lines:
            np.testing.assert_allclose(line.get_ydata(), 100 - line.get_xdata())
    assert figure.axes[0].get_xlabel() == "mass moved, %"
    assert "relu: 50 and 50." in figure.description


def test_affine_panels():
    accuracy = curves().rename(side="kind", percent="amount").assign_coords(kind=["scale", "offset"])
    figure = drawings.plot_affine(accuracy)
    assert [ax.get_title() for ax in figure.axes] == ["scale", "offset"]
    assert "offset: relu 50" in figure.description


def test_drop_offs_stand_beside_the_studys():
    drop_off = curves().mean("percent").expand_dims(training=["as written", "adam"])
    figure = drawings.plot_drop_offs(drop_off, {"below": {"abs": 35, "relu": 9}, "above": {"relu": 1}})
    assert [len(ax.get_yticks()) for ax in figure.axes] == [2, 1]
    assert "From below: abs 50 and 35, relu 50 and 9." in figure.description
    assert "From above: relu 50 and 1." in figure.description


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
        ends = torch.tensor(np.stack([line.get_xdata(), line.get_ydata()], axis=1), dtype=torch.float32)
        torch.testing.assert_close(ends @ w.detach(), -b.detach().expand(2), rtol=1e-4, atol=1e-4)
    figure.to_html()


def texts(box):
    """The descriptions of an explorer's prepared frames, in order."""
    found = []
    for child in getattr(box, "children", ()):
        found += texts(child)
    value = getattr(box, "value", "")
    return found + re.findall(r'alt="([^"]+)"', value if isinstance(value, str) else "")


@pytest.fixture
def networks():
    return {name: Ensemble([16, 8, 3], [name] * 2, [0, 1]) for name in ("relu", "abs")}


@pytest.fixture
def data():
    x = torch.rand(40, 16, generator=torch.Generator().manual_seed(1))
    return Dataset(x, torch.arange(40) % 3)


def test_explorer_tells_what_the_clamp_does(networks, data, monkeypatch):
    monkeypatch.setenv("EXPLORERS", "frames")
    box = constraint_explorer(networks, data, percents=[0, 40, 100], member=1)
    told = texts(box)
    assert len(told) == 6
    network = networks["relu"].select([1])
    hidden = network.hidden(data.x, 0)
    with torch.no_grad():
        logits = network(hidden.clamp(min=float(value_span(network, hidden).at(0.4))), first=1)
    share = float((logits[0].argmax(dim=1) == data.y).double().mean())
    assert f"relu clamped from below at 40 percent of its range: {share:.1%} of the digits right" in told[1]
    assert "0% of the hidden values changed, 0 digits no longer right" in told[0]
    assert "0% of the hidden values changed, 0 digits no longer right" in told[5]


def test_explorer_of_one_head_and_in_a_kernel(networks, data, monkeypatch):
    monkeypatch.delenv("EXPLORERS", raising=False)
    box = constraint_explorer({"abs": networks["abs"]}, data, percents=[0, 40, 100])
    assert "abs clamped from below at 40 percent" in texts(box)[0]
    both = constraint_explorer(networks, data, percents=[0, 40, 100])
    slider = next(child for child in both.children if getattr(child, "description", "") == "head")
    slider.value = "abs"
    assert "abs clamped from below" in texts(both)[0]
