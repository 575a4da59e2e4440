"""The statistics are what they say, every rule can go either way, and verdicts follow from results alone."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
import pytest
import xarray as xr
import yaml
from scipy import stats

from helpers import claims, results, statistics
from helpers.claims import (
    CANNOT,
    NOT_REPRODUCED,
    PARTLY,
    REPRODUCED,
    STATISTICS,
    Claim,
    Part,
    beside_reported,
    decide,
    load_claims,
    verdict_table,
)
from helpers.statistics import bootstrap_interval

ROOT = Path(__file__).parents[2]
ENTANGLEMENTS = [6, 2, 10, 4]  # in no order
N_SEEDS = 20
CLAIMS = load_claims()
EVERY = pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)


def array(function, *, seeds=3, layers=(1, 2, 3, 4), activations=("relu", "tanh"), names=ENTANGLEMENTS):
    """function(activation, layer, entanglement, seed) as a labelled array, dimensions in an unusual order."""
    values = [[[[function(a, k, e, s) for a in activations] for s in range(seeds)] for e in names] for k in layers]
    coords = {"layer": list(layers), "entanglement": list(names), "seed": range(seeds), "activation": list(activations)}
    return xr.DataArray(np.asarray(values, dtype=float), dims=tuple(coords), coords=coords)


def rough(a, k, e, s):
    return np.sin(7.0 * e + 3 * k + 11 * s) + (a == "tanh") * np.cos(e * k) + 5


def column(values, **where):
    """Values in the order of the sorted entanglement."""
    return values.sel(**where).sortby("entanglement").values


WHERE = [{"activation": a, "layer": k, "seed": s} for a in ("relu", "tanh") for k in (1, 4) for s in (0, 2)]
E = np.sort(np.asarray(ENTANGLEMENTS, dtype=float))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("slope", lambda y: stats.linregress(E, y).slope),
        ("rise", lambda y: y[-1] - y[0]),
        ("relative_rise", lambda y: (y[-1] - y[0]) / y[0]),
        ("rank_trend", lambda y: stats.spearmanr(E, y).statistic),
        ("departure", lambda y: abs(y[-1] - np.polyval(np.polyfit(E[:-1], y[:-1], 1), E[-1]))),
        ("roughness", lambda y: np.sqrt(np.mean((y - np.polyval(np.polyfit(E, y, 1), E)) ** 2))),
    ],
)
def test_statistics_over_entanglement(name, expected):
    values = array(rough)
    found = STATISTICS[name](xr.Dataset({"m": values}), "m")
    assert "entanglement" not in found.dims
    for where in WHERE:
        np.testing.assert_allclose(float(found.sel(where)), expected(column(values, **where)), rtol=1e-9, atol=1e-12)


def test_rank_trend_averages_ties_and_knows_none_without_change():
    tied = xr.Dataset({"m": array(lambda a, k, e, s: (e > 4) * 1.0)})
    expected = stats.spearmanr(E, E > 4).statistic
    np.testing.assert_allclose(claims.rank_trend(tied, "m"), expected)
    flat = xr.Dataset({"m": array(lambda a, k, e, s: 3.0)})
    assert float(abs(claims.rank_trend(flat, "m")).max()) == 0


def test_statistics_over_layers():
    data = xr.Dataset({"m": array(rough)})
    lead, largest = claims.lead_of_last(data, "m"), claims.last_is_largest(data, "m")
    for where in ({"activation": "tanh", "seed": 1, "entanglement": e} for e in ENTANGLEMENTS):
        y = data["m"].sel(where).values
        np.testing.assert_allclose(float(lead.sel(where)), y[-1] - y[:-1].max())
        assert float(largest.sel(where)) == (np.argmax(y) == 3)
    assert set(np.unique(largest)) == {0.0, 1.0}


def test_outliers_and_means():
    data = xr.Dataset({"m": array(lambda a, k, e, s: claims.OUTLIER + (k - 2) / 10)})
    np.testing.assert_array_equal(
        claims.share_outlying(data, "m").isel(seed=0, activation=0, entanglement=0), [0, 1, 1, 1]
    )
    assert claims.mean(data, "m").identical(data["m"])


def test_share_of_the_smallest_is_a_share_of_variance():
    smallest = array(lambda a, k, e, s: np.exp(-abs(rough(a, k, e, s))))
    largest = array(lambda a, k, e, s: 2 + 0.1 * np.cos(e + k + s))
    data = xr.Dataset({"eigenvalue_min": smallest, "eigenvalue_condition": largest / smallest})
    found = claims.share_due_to_smallest(data, "eigenvalue_condition")
    for a in ("relu", "tanh"):
        for s in range(3):
            small, large = (v.sel(activation=a, seed=s).values.ravel() for v in (smallest, largest))
            condition = np.log(large / small)
            expected = np.cov(-np.log(small), condition, ddof=0)[0, 1] / condition.var()
            np.testing.assert_allclose(float(found.sel(activation=a, seed=s)), expected)


# Values of each measure that make a rule hold, and others that make it fail. Every part names a statistic and a side;
# a search over these recipes shows that each can go either way.
RECIPES = {
    "rising": lambda a, k, e, s: 5 + e * (1 + 0.1 * k) + 0.01 * rough(a, k, e, s),
    "falling": lambda a, k, e, s: 50 - e * (1 + 0.1 * k) + 0.01 * rough(a, k, e, s),
    "last layer high": lambda a, k, e, s: 5 + k + 0.01 * rough(a, k, e, s),
    "last layer low": lambda a, k, e, s: 9 - k + 0.01 * rough(a, k, e, s),
    "tanh bent": lambda a, k, e, s: 5 + (a == "tanh") * (e == 10) * 3 + 0.01 * rough(a, k, e, s),
    "relu bent": lambda a, k, e, s: 5 + (a == "relu") * (e == 10) * 3 + 0.01 * rough(a, k, e, s),
    "rising, tanh bent": lambda a, k, e, s: 5 + e + k + (a == "tanh") * (e == 10) * 30 + 0.01 * rough(a, k, e, s),
    "rising, relu bent": lambda a, k, e, s: 99 - e + k + (a == "relu") * (e == 10) * 30 + 0.01 * rough(a, k, e, s),
    "noise": lambda a, k, e, s: 5 + np.random.default_rng([k, int(e), s, len(a) % 2]).normal(),
    "huge": lambda a, k, e, s: 500 + 0.01 * rough(a, k, e, s),
    "tiny": lambda a, k, e, s: 0.01 + 0.0001 * rough(a, k, e, s),
    "tanh high": lambda a, k, e, s: 5 + (a == "tanh") * 9 + 0.01 * rough(a, k, e, s),
    "rising by little": lambda a, k, e, s: 50 + 0.01 * e + 0.0001 * rough(a, k, e, s),
}


def measures(claim):
    named = [m for part in claim.parts for m in ([part.measure] if isinstance(part.measure, str) else part.measure)]
    extra = ["eigenvalue_min"] if any(part.statistic == "share_due_to_smallest" for part in claim.parts) else []
    return list(dict.fromkeys([*named, *extra]))


def synthetic(claim, recipe_of):
    real = results.load(ROOT / "results/weight_norms.nc")
    data = {}
    for name in measures(claim):
        values = array(RECIPES[recipe_of[name]], seeds=N_SEEDS)
        absent = [d for d in values.dims if d not in real[name].dims and d != "seed"]
        data[name] = values.isel(dict.fromkeys(absent, 0), drop=True)
    return xr.Dataset(data)


def verdicts_of(claim):
    """The verdicts that recipes for its measures lead to."""
    names, found = measures(claim), {}
    for first in RECIPES:
        for second in RECIPES if len(names) > 1 else [first]:
            recipe_of = {name: first if i == 0 else second for i, name in enumerate(names)}
            found.setdefault(decide(claim, synthetic(claim, recipe_of)).verdict, recipe_of)
        if {REPRODUCED, NOT_REPRODUCED} <= set(found):
            break
    return found


@EVERY
def test_every_rule_can_go_either_way(claim, monkeypatch):
    monkeypatch.setattr(statistics, "N_RESAMPLES", 99)  # the recipes are far from every bound
    assert {REPRODUCED, NOT_REPRODUCED} <= set(verdicts_of(claim)), "no data could ever decide this claim both ways"


def one_claim(**part):
    defaults = {
        "label": "slope", "measure": "m", "statistic": "slope", "cases": ["activation"], "expect": {"above": 0},
        "select": {"layer": [1]},
    }  # fmt: skip
    return Claim("X01", "study", "§1", "some", 3, "It rises.", {"text": "so"}, (Part(**defaults | part),))


def test_some_cases_hold():
    data = xr.Dataset({"m": array(lambda a, k, e, s: (e if a == "tanh" else -e) * (1 + 0.1 * s))})
    verdict = decide(one_claim(), data)
    assert (verdict.verdict, verdict.reason) == (PARTLY, "1 of 2 cases hold")
    assert [(case.where["activation"], case.holds) for case in verdict.cases] == [("relu", False), ("tanh", True)]
    assert verdict.cases[1].interval.mean == pytest.approx(1.1)
    assert verdict.cases[1].interval.n == 3
    assert verdict.cases[1].effect > 0


def test_interval_must_lie_wholly_inside():
    data = xr.Dataset({"m": array(lambda a, k, e, s: e * (s - 0.5))})  # slopes −0.5, 0.5 and 1.5
    assert decide(one_claim(), data).verdict == NOT_REPRODUCED
    assert decide(one_claim(expect={"above": -1}), data).verdict == REPRODUCED
    assert decide(one_claim(expect={"above": -1, "below": 1}), data).verdict == NOT_REPRODUCED
    assert decide(one_claim(expect={"above": -1, "below": 2}), data).verdict == REPRODUCED


def test_contrast_subtracts_seed_by_seed_and_measures_are_subtracted():
    data = xr.Dataset(
        {
            "m": array(lambda a, k, e, s: e * (10 * s + (a == "tanh"))),
            "n": array(lambda a, k, e, s: e * 10 * s),
        }
    )
    contrast = one_claim(contrast={"activation": ["tanh", "relu"]}, cases=[])
    (case,) = decide(contrast, data).cases
    assert (case.interval.low, case.interval.high) == pytest.approx((1, 1))
    difference = one_claim(measure=["m", "n"])
    relu, tanh = decide(difference, data).cases
    assert (relu.interval.mean, tanh.interval.mean) == pytest.approx((0, 1))


def test_the_last_epoch_counts():
    rising = array(lambda a, k, e, s: e + 0.1 * s)
    data = xr.Dataset({"m": xr.concat([-rising, rising], xr.Variable("epoch", [0, 9]))})
    assert decide(one_claim(), data).verdict == REPRODUCED
    assert decide(one_claim(), data.isel(epoch=[0])).verdict == NOT_REPRODUCED


def test_what_is_missing_cannot_be_decided():
    data = xr.Dataset({"m": array(rough)})
    assert decide(one_claim(measure="other"), data).verdict == CANNOT
    lacking = decide(one_claim(select={"layer": [1, 9]}), data)
    assert lacking.verdict == CANNOT
    assert "slope" in lacking.reason
    few = decide(replace(one_claim(), seeds=4), data)
    assert (few.verdict, few.reason) == (CANNOT, "3 seeds, where the rule asks for 4")
    assert few.cases == ()


@EVERY
def test_claims_are_complete(claim):
    assert re.fullmatch(r"[A-Z]\d\d", claim.id)
    assert claim.seeds >= 10
    assert claim.statement.endswith(".")
    assert claim.reported["text"]
    assert re.search(rf"^@\w+{{{claim.study},", (ROOT / "book/references.bib").read_text(), flags=re.M)
    assert (ROOT / "results" / f"{claim.results}.nc").is_file()


@pytest.mark.parametrize("name", sorted({claim.results for claim in CLAIMS.values()}))
def test_committed_results_decide_every_claim_as_the_notebook_prints_it(name):
    stored = results.load(ROOT / f"results/{name}.nc")
    found = {claim.id: decide(claim, stored) for claim in load_claims(name).values()}
    assert CANNOT not in {verdict.verdict for verdict in found.values()}
    (notebook,) = (ROOT / "notebooks").glob(f"*_{name}.ipynb")
    printed = "".join(
        output.get("text", "") for cell in nbformat.read(notebook, 4).cells for output in cell.get("outputs", [])
    )
    for key, verdict in found.items():
        assert re.search(rf"^{key} +{verdict.verdict} +{verdict.reason}$", printed, flags=re.M)


def test_claims_are_loaded_by_results():
    chosen = load_claims("weight_norms")
    assert chosen
    assert {claim.results for claim in chosen.values()} == {"weight_norms"}
    with pytest.raises(ValueError, match="results must be named by a claim, got 'nothing'"):
        load_claims("nothing")


def test_an_id_is_used_once(monkeypatch):
    entries = yaml.safe_load((ROOT / "helpers/claims.yaml").read_text())
    monkeypatch.setattr(claims.yaml, "safe_load", lambda _: [*entries, dict(entries[0])])
    with pytest.raises(ValueError, match=f"id must be unique among the claims, got '{entries[0]['id']}' twice"):
        load_claims()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"statistic": "median"}, "statistic must be one of slope, .*got 'median'"),
        ({"expect": {}}, "expect must have above, below or both"),
        ({"expect": {"over": 1}}, "expect must have above, below or both"),
    ],
)
def test_wrong_parts(change, words):
    with pytest.raises(ValueError, match=words):
        one_claim(**change)


def test_table_beside_the_study():
    claim = replace(
        one_claim(), reported={"text": "", "entanglement": [2, 10], "layer": {1: [4.0, 4.5], 3: [5.25, 6.125]}}
    )
    values = array(rough, seeds=4).sel(activation="relu")
    table = beside_reported(claim, values)
    assert list(table.columns) == [2, 10]
    assert list(table.loc[("L3", "study")]) == ["5.25", f"{6.125:.2f}"]
    expected = bootstrap_interval(values.sel(layer=1, entanglement=10))
    assert table.loc[("L1", "ours"), 10] == f"{expected:.2f}"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.text, self.classes = [], "", set()

    def handle_starttag(self, tag, attributes):
        self.classes |= set(dict(attributes).get("class", "").split())
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_verdicts_as_a_table():
    data = xr.Dataset({"m": array(lambda a, k, e, s: (e if a == "tanh" else -e) * (1 + 0.1 * s))})
    shown = [decide(one_claim(), data), decide(replace(one_claim(), id="X02", seeds=9), data)]
    tags = Tags()
    tags.feed(verdict_table(shown))
    assert tags.open == []
    for word in ("X01", "X02", "It rises.", "partly", "cannot be tested", "3 seeds; 1 of 2 cases hold", "tanh: 1.1 ["):
        assert word in tags.text
    assert "relu: −1.1 [−1.2, −1]" in tags.text
    assert {"verdicts", "partly", "cannot-be-tested", "holds", "fails"} <= tags.classes
