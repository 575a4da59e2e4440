"""A table holds every value at its labels, as an interval over seeds or as it stands, and nothing else."""

import numpy as np
import pytest
import xarray as xr

from helpers.evidence.intervals import bootstrap_interval, interval, share_interval
from helpers.evidence.tables import quoted, table

ACTIVATIONS, LAYERS, N_SEEDS = ["tanh", "relu"], [3, 1], 6


def labelled(dims, seed=0):
    """Random values over some dimensions."""
    coords = {"activation": ACTIVATIONS, "layer": LAYERS, "epsilon": [0.5, 1.0, 2.0], "seed": range(N_SEEDS)}
    shape = [len(coords[dim]) for dim in dims]
    values = np.random.default_rng(seed).standard_normal(shape)
    return xr.DataArray(values, dims=dims, coords={dim: list(coords[dim]) for dim in dims})


def test_cells_are_the_intervals_at_their_labels():
    values = labelled(["seed", "layer", "activation"])
    shown = table(values, rows="activation", columns="layer")
    assert list(shown.index) == ["tanh", "ReLU"]
    assert list(shown.columns) == ["L3", "L1"]
    assert (shown.index.name, shown.columns.name) == ("activation", "layer")
    for name, head in (("tanh", "tanh"), ("relu", "ReLU")):
        for layer in LAYERS:
            cell = bootstrap_interval(values.sel(activation=name, layer=layer))
            assert shown.loc[head, f"L{layer}"] == f"{cell:.2f}"


def test_several_dimensions_go_down_and_across():
    values = labelled(["activation", "epsilon", "layer", "seed"])
    shown = table(values, rows=["layer", "activation"], columns="epsilon", digits=1, scale=100)
    assert shown.index.tolist() == [("L3", "tanh"), ("L3", "ReLU"), ("L1", "tanh"), ("L1", "ReLU")]
    assert list(shown.columns) == ["0.5", "1", "2"]
    assert (shown.index.names, shown.columns.name) == (["layer", "activation"], "ε")
    cell = interval(values.sel(activation="relu", layer=3, epsilon=2)).scaled(100)
    assert shown.loc[("L3", "ReLU"), "2"] == f"{cell:.1f}"
    turned = table(values, rows="epsilon", columns=["layer", "activation"], digits=1, scale=100)
    assert turned.T.equals(shown)


def test_one_column_says_what_it_holds():
    values = labelled(["activation", "seed"])
    assert list(table(values, rows="activation").columns) == ["mean [95 % interval]"]
    assert list(table(values.mean("seed"), rows="activation").columns) == ["value"]


def test_measures_are_a_dimension_and_may_lack_others():
    data = {"robust_accuracy": labelled(["activation", "epsilon", "seed"]), "gained": labelled(["activation", "seed"])}
    words = {"robust_accuracy": "%", "epsilon": "radius"}
    shown = table(data, rows="activation", columns=["measure", "epsilon"], words=words)
    assert shown.columns.tolist() == [("%", "0.5"), ("%", "1"), ("%", "2"), ("gained", "")]
    assert shown.columns.names == ["", "radius"]
    assert shown.loc["tanh", ("gained", "")] == f"{interval(data['gained'].sel(activation='tanh')):.2f}"
    assert table(data, rows="activation", columns="epsilon", words=words).equals(shown)
    down = table(xr.Dataset(data), rows=["measure", "activation"], columns="epsilon", words=words)
    assert down.loc[("%", "ReLU"), "1"] == shown.loc["ReLU", ("%", "1")]
    assert down.loc[("gained", "tanh"), "1"] == "–"
    assert down.loc[("gained", "tanh"), ""] == shown.loc["tanh", ("gained", "")]


def test_digits_and_scale_go_by_measure():
    data = xr.Dataset({"small": labelled(["activation", "seed"]), "share": labelled(["activation", "seed"], 1) > 0})
    shown = table(data, rows="activation", digits={"small": ".1e", "share": 0}, scale={"share": 100})
    assert shown.loc["tanh", "small"] == f"{interval(data['small'].sel(activation='tanh')):.1e}"
    flags = data["share"].sel(activation="tanh")
    assert shown.loc["tanh", "share"] == f"{share_interval(flags).scaled(100):.0f}"
    assert table(data, rows="activation", digits=".0%").loc["tanh", "share"] == f"{share_interval(flags):.0%}"
    assert table(data, rows="activation", digits={"small": 3}).loc["tanh", "share"] == f"{share_interval(flags):.2f}"


def test_numbers_without_seeds_stand_as_they_are():
    ours = labelled(["activation", "seed"])
    study = xr.DataArray([-1.25, 2.0], dims="activation", coords={"activation": ACTIVATIONS})
    counts = study.copy(data=[20, -1])
    shown = table({"study": study, "points": counts, "ours": ours}, rows="activation", digits=1)
    assert shown["study"].tolist() == ["−1.2", "2.0"]
    assert shown["points"].tolist() == ["20", "−1"]
    assert shown.loc["ReLU", "ours"] == f"{interval(ours.sel(activation='relu')):.1f}"
    facts = table({"rises by": 0.123456, "broken": 0, "how": "by hand"}, rows="measure", digits=".3g")
    assert facts["value"].to_dict() == {"rises by": "0.123", "broken": "0", "how": "by hand"}


def test_what_was_never_measured_is_left_out_or_a_dash():
    values = labelled(["activation", "epsilon", "seed"])
    values = values.where(values["epsilon"] < 2)
    values[0, 0] = np.nan
    shown = table(values, rows="activation", columns="epsilon")
    assert list(shown.columns) == ["0.5", "1"]
    assert shown.loc["tanh", "0.5"] == "–"
    assert table(values.isel(epsilon=[0]), rows="activation", columns="epsilon").index.tolist() == ["ReLU"]


def test_seeds_that_are_missing_are_not_hidden():
    values = labelled(["activation", "seed"])
    few = values.where(values["seed"] < 4)
    first = interval(values.sel(activation="tanh").isel(seed=slice(4)))
    assert table(few, rows="activation").iloc[0, 0] == f"{first:.2f}"  # the measure was never taken at the others
    gap = values.where((values["seed"] < 4) | (values["activation"] == "relu"))
    assert table(gap, rows="activation").iloc[0, 0] == f"{first:.2f} (n = 4)"


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ("activation", ()),
        ("activation", "epsilon"),
        (["activation", "layer"], "layer"),
        (["layer", "activation"], "seed"),
    ],
)
def test_every_dimension_has_one_place(rows, columns):
    words = "rows and columns must name each of activation, layer once, got "
    with pytest.raises(ValueError, match=words):
        table(labelled(["activation", "layer", "seed"]), rows=rows, columns=columns)


def test_a_sentence_quotes_what_the_table_holds():
    values = labelled(["activation", "epsilon", "seed"])
    shown = table(values, rows="activation", columns="epsilon", digits=1, scale=100)
    assert quoted(values, 1, scale=100, activation="relu", epsilon=1) == shown.loc["ReLU", "1"]
    share = share_interval(values.sel(activation="tanh", epsilon=2) > 0)
    assert quoted(values > 0, ".0%", activation="tanh", epsilon=2) == f"{share:.0%}"
    both = [quoted(values, 1, activation=name, epsilon=1) for name in ("tanh", "relu")]
    assert quoted(values, 1, activation=["tanh", "relu"], epsilon=1) == f"tanh {both[0]} and ReLU {both[1]}"
    assert quoted(values, 1, activation=["relu"], epsilon=1) == f"ReLU {both[1]}"
    with pytest.raises(ValueError, match="values must have the dimension seed and no other"):
        quoted(values, activation="relu")
    with pytest.raises(KeyError):
        quoted(values, activation="gelu", epsilon=2)
