"""Plots show the numbers they are given, under names and in styles that are the same everywhere, and say them."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from helpers.evidence.intervals import Interval, interval, interval_over, share_interval
from helpers.figures.plots import FEW_SEEDS, plot_dots, plot_lines
from helpers.figures.styles import style

COORDS = {
    "activation": ["tanh", "relu", "leaky_relu"],
    "layer": [1, 2, 4],
    "entanglement": [2, 4, 10],
    "attack": ["fgsm", "bim", "bim as coded", "pgd", "exact"],
    "head": ["relu", "abs2_neg"],
    "side": ["below", "above"],
    "percent": np.arange(0.0, 101.0),
}


def values(*dims, seeds=8):
    """Numbers of these dimensions and seed, from 0 to 1."""
    coords = {dim: COORDS[dim] for dim in dims} | {"seed": range(seeds)}
    numbers = np.random.default_rng(0).uniform(size=[len(entries) for entries in coords.values()])
    return xr.DataArray(numbers, coords, list(coords))


def drawn(ax):
    """The means that a panel shows, by label of the legend's order: lines wider than those of single seeds."""
    return [line for line in ax.lines if line.get_linewidth() > 1]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_lines_are_means_and_bands_intervals():
    data = values("entanglement", "layer", "activation")
    figure = plot_lines(data, "entanglement", lines="layer", panels="activation", label="norm")
    bands = interval_over(data)
    assert [ax.get_title() for ax in figure.axes] == ["tanh", "ReLU", "Leaky ReLU"]
    assert legend(figure) == ["L1", "L2", "L4"]
    for ax, name in zip(figure.axes, COORDS["activation"], strict=True):
        assert ax.get_xlabel() == "entanglement"
        assert len(ax.lines) == len(ax.collections) == 3
        for line, band, layer in zip(ax.lines, ax.collections, (1, 2, 4), strict=True):
            expected = bands.sel(activation=name, layer=layer)
            np.testing.assert_allclose(line.get_xydata(), np.stack([[2, 4, 10], expected["mean"]], axis=1))
            corners = band.get_paths()[0].vertices
            for side in ("low", "high"):
                for x, y in zip((2, 4, 10), expected[side].values, strict=True):
                    assert np.isclose(corners, [x, y]).all(axis=1).any()
        assert ax.get_ylim() == figure.axes[0].get_ylim()
    assert [ax.get_ylabel() for ax in figure.axes] == ["norm", "", ""]
    first, last = (float(bands["mean"].sel(activation="relu", layer=4, entanglement=end)) for end in (2, 10))
    assert figure.description.startswith("norm over entanglement at 2 and 10, means over seeds. tanh: L1 ")
    assert f"L4 {first:.3g} and {last:.3g}" in figure.description


@pytest.mark.parametrize(
    ("dims", "lines"), [(["activation"], "activation"), (["attack"], "attack"), (["head"], "head")]
)
def test_lines_look_as_their_names_do_everywhere(dims, lines):
    figure = plot_lines(values("entanglement", *dims), "entanglement", lines=lines, label="x")
    for line, name in zip(drawn(figure.axes[0]), COORDS[lines], strict=True):
        look = style(name)
        assert (line.get_color(), line.get_marker(), line.get_fillstyle()) == (look.colour, look.marker, look.fill)
        assert line.get_linestyle() == look.line


def test_numbers_go_from_dark_to_light_under_their_name():
    figure = plot_lines(values("percent", "entanglement"), "percent", lines="entanglement", label="x")
    assert legend(figure) == ["2", "4", "10"]
    assert figure.legends[0].get_title().get_text() == "entanglement"
    assert "entanglement 10 " in figure.description


def test_a_line_alone_looks_like_its_panel():
    figure = plot_lines(values("entanglement", "activation"), "entanglement", panels="activation", label="x")
    assert [ax.lines[0].get_color() for ax in figure.axes] == [style(name).colour for name in COORDS["activation"]]
    assert figure.legends == []


@pytest.mark.parametrize("seeds", [1, 2, FEW_SEEDS])
def test_of_few_seeds_each_is_drawn(seeds):
    data = values("entanglement", seeds=seeds)
    figure = plot_lines(data, "entanglement", label="x")
    (ax,) = figure.axes
    (mean,), each = drawn(ax), [line for line in ax.lines if line.get_linewidth() < 1]
    np.testing.assert_allclose(mean.get_ydata(), data.mean("seed"))
    assert len(ax.collections) == 0
    np.testing.assert_array_equal([line.get_ydata() for line in each], data.values.T if seeds > 1 else [])
    assert ("one seed" if seeds == 1 else "means over seeds") in figure.description


def test_values_need_no_seed():
    data = values("entanglement").isel(seed=0, drop=True)
    np.testing.assert_array_equal(plot_lines(data, "entanglement", label="x").axes[0].lines[0].get_ydata(), data)


def test_percent_holds_for_all_that_is_drawn():
    data, reported = values("entanglement"), {2: 0.25, 10: 0.5}
    figure = plot_lines(data, "entanglement", label="share", percent=True, reported=reported, marks={"half": 0.5})
    ours, study, half = (figure.axes[0].lines[k] for k in (1, 2, 0))
    np.testing.assert_allclose(ours.get_ydata(), 100 * data.mean("seed"))
    np.testing.assert_array_equal(study.get_xydata(), [[2, 25], [10, 50]])
    np.testing.assert_array_equal(half.get_ydata(), [50, 50])
    assert figure.axes[0].get_ylabel() == "share, %"
    assert legend(figure) == ["ours", "half", "study"]


def test_the_studys_numbers_stand_beside_ours():
    reported = {1: {2: 4.0, 4: 5.0, 10: 6.0}, 4: {2: 1.0, 10: 3.5}}
    figure = plot_lines(values("entanglement", "layer"), "entanglement", panels="layer", label="x", reported=reported)
    for ax, layer in zip(figure.axes, (1, 2, 4), strict=True):
        theirs = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert [dict(line.get_xydata()) for line in theirs] == ([reported[layer]] if layer in reported else [])
    assert "(study 1 and 3.5)." in figure.description
    assert figure.description.count("study") == 2


def test_places_may_be_means_of_their_own():
    accuracy = values("head", "side", "percent")
    amount = 100 - 100 * accuracy
    figure = plot_lines(
        accuracy, "percent", lines="side", panels="head", at=amount, label="x", axis="mass, %", span=(0, 100), tell=[50]
    )
    assert [ax.get_title() for ax in figure.axes] == ["ReLU", "Abs2-Neg"]
    for ax in figure.axes:
        assert ax.get_xlim() == (0, 100)
        assert ax.get_xlabel() == "mass, %"
        for line in drawn(ax):
            np.testing.assert_allclose(line.get_ydata(), 1 - line.get_xdata() / 100)
    assert "ReLU: from below 0.5, from above 0.5." in figure.description


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [("linear", [0, 10, 20, 40, 70, 100, 150, 200, 300]), ("symlog", [0, 1, 3, 10, 40, 100, 300])],
)
def test_ticks_stand_at_places_with_room(scale, ticks):
    data = values("percent").isel(percent=slice(0, 12))
    data = data.assign_coords(percent=[0, 1, 3, 5, 10, 20, 40, 70, 100, 150, 200, 300])
    (ax,) = plot_lines(data, "percent", label="x", scale=scale).axes
    assert ax.get_xscale() == scale
    assert set(ax.get_xticks()) <= set(data["percent"].values)
    assert {0, 300} <= set(ax.get_xticks())
    assert [f"{tick:g}" for tick in ax.get_xticks()] == [text.get_text() for text in ax.get_xticklabels()]


def test_entries_without_values_are_left_out():
    data = values("entanglement", "activation", "side")
    data.loc[{"activation": "relu"}] = np.nan
    data.loc[{"seed": [1, 2, 3, 4, 5]}] = np.nan
    figure = plot_lines(data, "entanglement", lines="activation", panels="side", label="x")
    assert legend(figure) == ["tanh", "Leaky ReLU"]
    assert len(figure.axes[0].collections) == 0, "three seeds are few"


@pytest.mark.parametrize(("n", "grid"), [(1, (1, 1)), (4, (1, 4)), (6, (2, 3)), (7, (2, 4)), (10, (2, 5))])
def test_panels_stand_at_most_five_side_by_side_on_a_page(n, grid):
    data = values("entanglement").expand_dims(panel=[f"panel {k}" for k in range(n)])
    figure = plot_lines(data, "entanglement", panels="panel", label="x")
    assert len(figure.axes) == n
    assert (figure.axes[0].get_gridspec().nrows, figure.axes[0].get_gridspec().ncols) == grid
    assert figure.get_figwidth() <= 8.8
    assert sum(bool(ax.get_xlabel()) for ax in figure.axes) == min(n, grid[1])


@pytest.mark.parametrize(
    ("plot", "words"),
    [
        (
            lambda v: plot_lines(v, "entanglement", lines="layer", label=""),
            "values must have dimensions layer, entanglement",
        ),
        (lambda v: plot_dots(v, "layer", label=""), "values must have dimensions layer and seed, got entanglement"),
        (
            lambda v: plot_lines(v.assign_coords(entanglement=["a", "b", "c"]), "entanglement", label=""),
            "over must be a dimension of numbers",
        ),
        (lambda v: plot_lines(v, "entanglement", label="", scale="sqrt"), "scale must be one of linear, log, symlog"),
    ],
)
def test_wrong_values_are_refused(plot, words):
    with pytest.raises(ValueError, match=words):
        plot(values("entanglement"))


def places(figure, panel=0):
    """Place, row and ends of every dot of a panel."""
    containers = figure.axes[panel].containers
    ends = [box.lines[2][0].get_segments()[0][:, 0] for box in containers]
    return [(*box.lines[0].get_xydata()[0], *end) for box, end in zip(containers, ends, strict=True)]


def test_dots_are_means_with_their_intervals_in_rows():
    data = values("activation")
    figure = plot_dots(data, "activation", label="error")
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["tanh", "ReLU", "Leaky ReLU"]
    assert ax.yaxis_inverted()
    for row, (name, place) in enumerate(zip(COORDS["activation"], places(figure), strict=True)):
        expected = interval(data.sel(activation=name))
        assert place == pytest.approx((expected.mean, row, expected.low, expected.high))
        assert to_hex(ax.containers[row].lines[0].get_color()).upper() == style(name).colour
        assert f"{expected:.3g}" in figure.description


def test_dots_stand_side_by_side_within_their_row():
    figure = plot_dots(values("head", "side", "layer"), "head", dots="side", panels="layer", label="x")
    assert [ax.get_title() for ax in figure.axes] == ["L1", "L2", "L4"]
    assert legend(figure) == ["from below", "from above"]
    for panel in range(3):
        rows = [place[1] for place in places(figure, panel)]
        assert rows == pytest.approx([-0.2, 0.2, 0.8, 1.2])
    assert [box.lines[0].get_marker() for box in figure.axes[0].containers[:2]] == ["v", "^"]


def test_shares_have_intervals_of_shares():
    flags = values("activation") > 0.5
    figure = plot_dots(flags, "activation", label="share", percent=True, marks={"half": 0.5})
    expected = share_interval(flags.sel(activation="tanh"))
    assert places(figure)[0] == pytest.approx((100 * expected.mean, 0, 100 * expected.low, 100 * expected.high))
    assert figure.axes[0].get_xlabel() == "share, %"
    assert [50, 50] in [list(line.get_xdata()) for line in figure.axes[0].lines]
    assert legend(figure) == ["half"]


def test_intervals_may_be_given_by_the_names_of_their_rows():
    rows = {"first": Interval(0.5, 0.25, 0.625, 9), "second": Interval(-1, -2, 1, 9)}
    figure = plot_dots(rows, label="share")
    assert places(figure) == [(0.5, 0, 0.25, 0.625), (-1, 1, -2, 1)]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["first", "second"]
    assert figure.description == ("share, means with 95 % intervals. first 0.5 [0.25, 0.625]; second −1 [−2, 1].")


def test_reported_numbers_stand_across_their_rows():
    reported = {"below": {"relu": 9, "abs2_neg": 35}, "above": {"relu": 1}}
    figure = plot_dots(values("head", "side"), "head", panels="side", label="x", reported=reported)
    for ax, numbers in zip(figure.axes, reported.values(), strict=True):
        bars = [line.get_xdata()[0] for line in ax.lines if line.get_linewidth() == 2 and len(line.get_xdata()) == 2]
        assert bars == list(numbers.values())
    assert figure.description.count("study 9") == figure.description.count("study 35") == 1
    assert legend(figure) == ["study"]


@pytest.mark.parametrize("seeds", [1, 3, 8])
def test_of_few_seeds_each_has_its_dot(seeds):
    data = values("activation", seeds=seeds)
    data.loc[{"activation": "relu"}] = np.nan
    figure = plot_dots(data, "activation", label="x")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["tanh", "Leaky ReLU"]
    each = [line for line in figure.axes[0].lines if line.get_marker() == "."]
    assert [len(line.get_xdata()) for line in each] == ([3, 3] if seeds == 3 else [])
