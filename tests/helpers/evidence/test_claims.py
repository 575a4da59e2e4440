"""The statistics are what they say, every rule can go either way, and verdicts follow from results alone."""

import re
from dataclasses import replace
from functools import cache, reduce
from html.parser import HTMLParser
from operator import mul
from pathlib import Path

import nbformat
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from helpers.evidence import claims, results
from helpers.evidence import intervals as statistics
from helpers.evidence.claims import (
    CANNOT,
    CHAPTERS,
    NOT_REPRODUCED,
    PARTLY,
    REPRODUCED,
    Claim,
    Part,
    decide,
    decide_all,
    load_claims,
)
from helpers.evidence.intervals import bootstrap_interval
from helpers.evidence.tables import beside_reported, verdict_lines, verdict_table

ROOT = Path(__file__).parents[3]
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


# Values that make a part of a rule hold or fail: a level, a rise along a dimension of numbers, a lead of the first
# label of a contrast, its turn along the widths, its unrest, its bend at the last entanglement. A search over these
# shows that each part can go either way.
LEVELS = (-500, -5, -0.5, 0.0001, 0.004, 0.03, 0.15, 0.3, 0.7, 0.97, 5, 500)
SIZES = (-9, -1, -0.3, -0.06, -0.01, 0, 0.01, 0.06, 0.3, 1, 9)


def measures(part):
    named = [part.measure] if isinstance(part.measure, str) else part.measure
    return [*named, *(["eigenvalue_min"] if part.statistic == "share_due_to_smallest" else [])]


@cache
def committed(name):
    return results.load(ROOT / f"results/{name}.nc")


def first_of(part, dim, values):
    """1 at the first label, or labels, that a part contrasts along a dimension, else 0."""
    return values[dim].isin(np.atleast_1d(part.contrast[dim][0])).astype(float)


def synthetic(claim, part, recipes):
    """Results with the structure of the committed ones, whose values follow a recipe for each measure."""
    real, data = committed(claim.results), {}
    for name, (kind, dim, level, size) in recipes.items():
        values = xr.zeros_like(real[name].isel(seed=slice(claim.seeds)), dtype=float)
        noise = np.sin(7.3 * np.arange(values.size)).reshape(values.shape)
        if kind == "rise":
            values = values + size * xr.DataArray(np.arange(values.sizes[dim]), dims=dim)
        elif kind == "lead":
            values = values + size * first_of(part, dim, values)
        elif kind == "corner":
            values = values + size * reduce(mul, [first_of(part, d, values) for d in part.contrast])
        elif kind == "bend":
            last = values["entanglement"] == values["entanglement"].max()
            values = values + size * last * first_of(part, dim, values)
        elif kind == "turn":
            along = xr.DataArray(np.arange(values.sizes["width"]), dims="width")
            values = values + size * along * first_of(part, dim, values)
        elif kind == "unrest":
            noise = noise * (1 + size * first_of(part, dim, values).broadcast_like(values).values)
        elif kind == "noise":
            noise = noise * size * 100
        data[name] = level + values + noise * 0.001 * max(abs(level), abs(size))
        if part.statistic == "share_due_to_smallest":
            data[name] = abs(data[name])  # it takes logarithms
        elif part.statistic == "share":
            data[name] = (data[name] > 0).astype(float)
    return xr.Dataset(data)


def recipes_for(claim, part):
    """Recipes that concern the dimensions this part looks at."""
    dims = committed(claim.results)[measures(part)[0]].dims
    # Levels on either side of the part's own bounds, and between them.
    bounds = list(part.expect.values())
    own = [bounds[0] + sign * max(1.0, abs(bounds[0])) for sign in (-1, 1)] + [sum(bounds) / len(bounds)]
    yield from (("level", None, level, 0) for level in (*own, *LEVELS))
    for level in (0.5, 5, 50):
        yield from (
            ("rise", d, level, s) for d in ("entanglement", "layer", "width", "percent") if d in dims for s in SIZES
        )
        yield from (("lead", d, level, s) for d in part.contrast for s in (*SIZES, *own))
        yield from (("unrest", d, level, s) for d in part.contrast for s in (1, 1000))
        yield from (("corner", None, level, s) for s in SIZES if len(part.contrast) > 1)
        if "entanglement" in dims:
            yield from (("bend", d, level, s) for d in part.contrast for s in SIZES)
        if "width" in dims:
            yield from (("turn", d, level, s) for d in part.contrast for s in SIZES)
        yield ("noise", None, level, 1)


def verdicts_of(claim, part):
    """The verdicts on a claim of this part alone that recipes for its measures lead to."""
    alone, names, found = replace(claim, parts=(part,)), measures(part), {}
    for first in recipes_for(claim, part):
        for second in recipes_for(claim, part) if len(names) > 1 else [first]:
            recipes = {name: first if i == 0 else second for i, name in enumerate(names)}
            found.setdefault(decide(alone, synthetic(claim, part, recipes), part.protocol).verdict, recipes)
            if {REPRODUCED, NOT_REPRODUCED} <= set(found):
                return found
    return found


@pytest.mark.parametrize(
    ("claim", "part"),
    [(claim, part) for claim in CLAIMS.values() for part in claim.parts],
    ids=lambda v: getattr(v, "id", ""),
)
def test_every_rule_can_go_either_way(claim, part, monkeypatch):
    monkeypatch.setattr(statistics, "N_RESAMPLES", 99)  # the recipes are far from every bound
    assert {REPRODUCED, NOT_REPRODUCED} <= set(verdicts_of(claim, part)), "no data could ever decide it both ways"


def one_claim(**part):
    defaults = {
        "label": "slope", "measure": "m", "statistic": "slope", "cases": ["activation"], "expect": {"above": 0},
        "select": {"layer": [1]},
    }  # fmt: skip
    return Claim("X01", "study", "§1", "chapter", "some", 3, "It rises.", {"text": "so"}, (Part(**defaults | part),))


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


def test_contrast_of_lists_is_that_of_their_means():
    names = ("relu", "elu", "tanh", "sigmoid")
    heights = dict(zip(names, (1, 3, 7, 20), strict=True))
    data = xr.Dataset({"m": array(lambda a, k, e, s: heights[a] * e + 10 * s, activations=names)})
    claim = one_claim(contrast={"activation": [["relu", "elu"], "tanh"]}, cases=[], expect={"below": 0})
    (case,) = decide(claim, data).cases
    assert case.interval.mean == pytest.approx(2 - 7)
    both = one_claim(contrast={"activation": [["relu", "elu"], ["tanh", "sigmoid"]]}, cases=[])
    assert decide(both, data).cases[0].interval.mean == pytest.approx(2 - 13.5)


def test_seeds_that_a_measure_was_never_taken_at_do_not_count():
    data = xr.Dataset({"m": array(lambda a, k, e, s: e * (1 + s)), "n": array(rough, seeds=7)})
    assert np.isnan(data["m"].sel(seed=5)).all()
    verdict = decide(one_claim(), data)
    assert (verdict.verdict, verdict.cases[0].interval.n) == (REPRODUCED, 3)
    few = decide(replace(one_claim(), seeds=4), data)
    assert few.reason == "3 seeds, where the rule asks for 4"


@pytest.mark.parametrize("name", ["epoch", "digits_epoch"])
def test_the_last_epoch_of_every_kind_counts(name):
    rising = array(lambda a, k, e, s: e + 0.1 * s)
    data = xr.Dataset({"m": xr.concat([-rising, rising], xr.Variable(name, [0, 9]))})
    assert decide(one_claim(), data).verdict == REPRODUCED


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


def test_text_and_code_of_a_study_have_a_verdict_each():
    data = xr.Dataset({"m": array(lambda a, k, e, s: (e if a == "tanh" else -e) * (1 + 0.1 * s))})
    (part,) = one_claim().parts
    coded = replace(part, label="as they did it", protocol="as coded", select={"activation": ["tanh"], "layer": [1]})
    claim = replace(one_claim(), parts=(part, coded))
    assert claim.protocols == ("as written", "as coded")
    assert (decide(claim, data).verdict, decide(claim, data).protocol) == (PARTLY, "as written")
    assert decide(claim, data, "as coded").verdict == REPRODUCED
    assert verdict_lines([decide(claim, data, "as coded")]) == "X01  as coded  reproduced        1 of 1 cases hold"
    with pytest.raises(ValueError, match=r"protocol must be one that X01 has, \['as written'\], got 'as coded'"):
        decide(one_claim(), data, "as coded")
    table = verdict_table([decide(claim, data), decide(claim, data, "as coded")])
    assert table.index("id='X01'") < table.index("id='X01-as-coded'")
    assert table.count("As they did it") == table.count("Slope;") == 1


def test_only_a_share_has_the_interval_of_a_share():
    data = xr.Dataset({"m": array(lambda a, k, e, s: 0.0, seeds=20)})
    never = one_claim(statistic="share", cases=[], select={"activation": ["relu"], "layer": [1]}, expect={"below": 0.2})
    data = data.isel(entanglement=[0])
    (case,) = decide(never, data).cases
    assert (case.interval.low, case.holds) == (0, True)
    assert case.interval.high == pytest.approx(0.168, abs=1e-3)  # twenty times no does not mean never
    (part,) = never.parts
    (case,) = decide(replace(never, parts=(replace(part, statistic="mean"),)), data).cases
    assert (case.interval.low, case.interval.high) == (0, 0)  # of a measure that is zero everywhere it does


def test_cases_of_a_claim_are_corrected_as_a_family():
    noise = np.random.default_rng(0).normal(size=20)
    values = [noise - noise.mean() + shift for shift in (0.5, 0.5, 0.5, 9.0)]
    data = xr.Dataset({"m": array(lambda a, k, e, s: values[k - 1][s], seeds=20)})
    claim = one_claim(statistic="mean", cases=["layer"], select={"activation": ["relu"], "layer": [1, 2, 3, 4]})
    verdict = decide(claim, data)
    one = verdict.cases[0]
    assert one.holds
    assert verdict.verdict == REPRODUCED
    assert one.p == pytest.approx(stats.ttest_1samp(values[0], 0, alternative="greater").pvalue)
    assert 0.025 / 3 < one.p < 0.025  # alone it holds, among three like it it does not
    assert verdict.n_corrected == 1


@EVERY
def test_claims_are_complete(claim):
    assert re.fullmatch(r"[A-Z]\d\d", claim.id)
    assert claim.seeds >= (5 if claim.results == "dirty_data" else 10)  # networks for pictures are slow to train
    assert claim.statement.endswith(".")
    assert claim.reported["text"]
    assert re.search(rf"^@\w+{{{claim.study},", (ROOT / "book/references.bib").read_text(), flags=re.M)
    assert (ROOT / "results" / f"{claim.results}.nc").is_file()


@pytest.mark.parametrize("name", sorted({claim.results for claim in CLAIMS.values()}))
def test_committed_results_decide_every_claim_as_the_notebook_prints_it(name):
    stored = results.load(ROOT / f"results/{name}.nc")
    found = decide_all(name, stored)
    assert CANNOT not in {verdict.verdict for verdict in found}
    (chapter,) = {verdict.claim.chapter for verdict in found}
    (path,) = (ROOT / "notebooks").glob(f"*_{chapter}.ipynb")
    notebook = nbformat.read(path, 4)
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    for verdict in found:
        assert verdict_lines([verdict]) in printed.splitlines()


def test_claims_are_loaded_by_results():
    chosen = load_claims("weight_norms")
    assert chosen
    assert {claim.results for claim in chosen.values()} == {"weight_norms"}
    with pytest.raises(ValueError, match="results must be named by a claim, got 'nothing'"):
        load_claims("nothing")


def test_every_chapter_has_its_claims_and_every_file_its_chapter():
    assert {file.stem for file in (ROOT / "helpers/evidence/claims").glob("*")} == set(CHAPTERS)
    assert tuple(dict.fromkeys(claim.chapter for claim in CLAIMS.values())) == CHAPTERS
    notebooks = sorted(file.stem.partition("_") for file in (ROOT / "notebooks").glob("*.ipynb"))
    assert tuple(chapter for _, _, chapter in notebooks) == CHAPTERS


ENTRY = """
- id: X01
  study: slusarz2021
  place: §1
  seeds: 3
  statement: It rises.
  reported: {text: so}
  parts:
    - {label: slope, measure: m, statistic: slope, cases: [], expect: {above: 0}}
"""


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    """The file of a single chapter, whose claims are those that there are."""
    (tmp_path / "claims").mkdir()
    monkeypatch.setattr(claims, "files", lambda _: tmp_path)
    monkeypatch.setattr(claims, "CHAPTERS", ("some",))
    return tmp_path / "claims/some.yaml"


def test_a_claim_belongs_to_the_chapter_of_its_file_and_is_decided_by_its_results(ledger):
    ledger.write_text(ENTRY + ENTRY.replace("X01", "X02") + "  results: others\n")
    assert [(c.id, c.chapter, c.results) for c in load_claims().values()] == [
        ("X01", "some", "some"),
        ("X02", "some", "others"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ENTRY + ENTRY, "id must be unique among the claims, got 'X01' twice"),
        (ENTRY + "  quick: 5\n", "^X01 must have no keys but id, .*, quick_seeds, got 'quick'"),
        (ENTRY.replace("cases:", "case:"), "^a part of X01 must have no keys but label, .*, protocol, got 'case'"),
        (ENTRY.replace("  seeds: 3\n", ""), "^X01 must have the key 'seeds', got "),
        (ENTRY.replace("statistic: slope, ", ""), "^a part of X01 must have the key 'statistic', got "),
        (ENTRY.replace("- id: X01\n ", "-"), "^a claim of some must have the key 'id', got "),
        (ENTRY.replace("expect: {above: 0}", "expect: {above: 0}, expect: {below: 0}"), "expect occurs twice"),
        (ENTRY + "  seeds: 4\n", "some.yaml .*seeds occurs twice"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_of_claims_is_named(ledger, text, words):
    ledger.write_text(text)
    with pytest.raises(ValueError, match=words):
        load_claims()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"statistic": "median"}, "statistic must be one of slope, .*got 'median'"),
        ({"expect": {}}, "expect must have above, below or both"),
        ({"expect": {"over": 1}}, "expect must have above, below or both"),
        ({"protocol": "as told"}, "protocol must be 'as written' or 'as coded', got 'as told'"),
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
