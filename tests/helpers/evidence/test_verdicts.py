"""The statistics are what they say, every rule can go either way, and verdicts follow from results alone."""

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

from helpers.evidence import intervals as statistics
from helpers.evidence import results
from helpers.evidence.claims import Claim, Part, load_claims
from helpers.evidence.verdicts import CANNOT, NOT_REPRODUCED, PARTLY, REPRODUCED, Verdicts, judge, judge_all

ROOT = Path(__file__).parents[3]
ENTANGLEMENTS = [6, 2, 10, 4]  # in no order
N_SEEDS = 20
CLAIMS = load_claims()


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
            found.setdefault(judge(alone, synthetic(claim, part, recipes), part.protocol).verdict, recipes)
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
    verdict = judge(one_claim(), data)
    assert (verdict.verdict, verdict.reason) == (PARTLY, "1 of 2 cases hold")
    assert [(case.where["activation"], case.holds) for case in verdict.cases] == [("relu", False), ("tanh", True)]
    assert verdict.cases[1].interval.mean == pytest.approx(1.1)
    assert verdict.cases[1].interval.n == 3
    assert verdict.cases[1].effect > 0


def test_interval_must_lie_wholly_inside():
    data = xr.Dataset({"m": array(lambda a, k, e, s: e * (s - 0.5))})  # slopes −0.5, 0.5 and 1.5
    assert judge(one_claim(), data).verdict == NOT_REPRODUCED
    assert judge(one_claim(expect={"above": -1}), data).verdict == REPRODUCED
    assert judge(one_claim(expect={"above": -1, "below": 1}), data).verdict == NOT_REPRODUCED
    assert judge(one_claim(expect={"above": -1, "below": 2}), data).verdict == REPRODUCED


def test_contrast_subtracts_seed_by_seed_and_measures_are_subtracted():
    data = xr.Dataset(
        {
            "m": array(lambda a, k, e, s: e * (10 * s + (a == "tanh"))),
            "n": array(lambda a, k, e, s: e * 10 * s),
        }
    )
    contrast = one_claim(contrast={"activation": ["tanh", "relu"]}, cases=[])
    (case,) = judge(contrast, data).cases
    assert (case.interval.low, case.interval.high) == pytest.approx((1, 1))
    difference = one_claim(measure=["m", "n"])
    relu, tanh = judge(difference, data).cases
    assert (relu.interval.mean, tanh.interval.mean) == pytest.approx((0, 1))


def test_contrast_of_lists_is_that_of_their_means():
    names = ("relu", "elu", "tanh", "sigmoid")
    heights = dict(zip(names, (1, 3, 7, 20), strict=True))
    data = xr.Dataset({"m": array(lambda a, k, e, s: heights[a] * e + 10 * s, activations=names)})
    claim = one_claim(contrast={"activation": [["relu", "elu"], "tanh"]}, cases=[], expect={"below": 0})
    (case,) = judge(claim, data).cases
    assert case.interval.mean == pytest.approx(2 - 7)
    both = one_claim(contrast={"activation": [["relu", "elu"], ["tanh", "sigmoid"]]}, cases=[])
    assert judge(both, data).cases[0].interval.mean == pytest.approx(2 - 13.5)


def test_seeds_that_a_measure_was_never_taken_at_do_not_count():
    data = xr.Dataset({"m": array(lambda a, k, e, s: e * (1 + s)), "n": array(rough, seeds=7)})
    assert np.isnan(data["m"].sel(seed=5)).all()
    verdict = judge(one_claim(), data)
    assert (verdict.verdict, verdict.cases[0].interval.n) == (REPRODUCED, 3)
    few = judge(replace(one_claim(), seeds=4), data)
    assert few.reason == "3 seeds, where the rule asks for 4"


@pytest.mark.parametrize("name", ["epoch", "digits_epoch"])
def test_the_last_epoch_of_every_kind_counts(name):
    rising = array(lambda a, k, e, s: e + 0.1 * s)
    data = xr.Dataset({"m": xr.concat([-rising, rising], xr.Variable(name, [0, 9]))})
    assert judge(one_claim(), data).verdict == REPRODUCED


def test_the_last_epoch_counts():
    rising = array(lambda a, k, e, s: e + 0.1 * s)
    data = xr.Dataset({"m": xr.concat([-rising, rising], xr.Variable("epoch", [0, 9]))})
    assert judge(one_claim(), data).verdict == REPRODUCED
    assert judge(one_claim(), data.isel(epoch=[0])).verdict == NOT_REPRODUCED


def test_what_is_missing_cannot_be_decided():
    data = xr.Dataset({"m": array(rough)})
    assert judge(one_claim(measure="other"), data).verdict == CANNOT
    lacking = judge(one_claim(select={"layer": [1, 9]}), data)
    assert lacking.verdict == CANNOT
    assert "slope" in lacking.reason
    few = judge(replace(one_claim(), seeds=4), data)
    assert (few.verdict, few.reason) == (CANNOT, "3 seeds, where the rule asks for 4")
    assert few.cases == ()


def test_text_and_code_of_a_study_have_a_verdict_each():
    data = xr.Dataset({"m": array(lambda a, k, e, s: (e if a == "tanh" else -e) * (1 + 0.1 * s))})
    (part,) = one_claim().parts
    coded = replace(part, label="as they did it", protocol="as coded", select={"activation": ["tanh"], "layer": [1]})
    claim = replace(one_claim(), parts=(part, coded))
    assert claim.protocols == ("as written", "as coded")
    assert (judge(claim, data).verdict, judge(claim, data).protocol) == (PARTLY, "as written")
    assert judge(claim, data, "as coded").verdict == REPRODUCED
    assert str(judge(claim, data, "as coded")) == "X01  as coded  reproduced        1 of 1 cases hold"
    with pytest.raises(ValueError, match=r"protocol must be one that X01 has, \['as written'\], got 'as coded'"):
        judge(one_claim(), data, "as coded")
    verdicts = Verdicts((judge(claim, data), judge(claim, data, "as coded")))
    assert [verdicts["X01"].verdict, verdicts["X01", "as coded"].verdict] == [PARTLY, REPRODUCED]
    table = verdicts._repr_html_()
    assert table.index("id='X01'") < table.index("id='X01-as-coded'")
    assert table.count("As they did it") == table.count("Slope;") == 1


def test_only_a_share_has_the_interval_of_a_share():
    data = xr.Dataset({"m": array(lambda a, k, e, s: 0.0, seeds=20)})
    never = one_claim(statistic="share", cases=[], select={"activation": ["relu"], "layer": [1]}, expect={"below": 0.2})
    data = data.isel(entanglement=[0])
    (case,) = judge(never, data).cases
    assert (case.interval.low, case.holds) == (0, True)
    assert case.interval.high == pytest.approx(0.168, abs=1e-3)  # twenty times no does not mean never
    (part,) = never.parts
    (case,) = judge(replace(never, parts=(replace(part, statistic="mean"),)), data).cases
    assert (case.interval.low, case.interval.high) == (0, 0)  # of a measure that is zero everywhere it does


def test_cases_of_a_claim_are_corrected_as_a_family():
    noise = np.random.default_rng(0).normal(size=20)
    values = [noise - noise.mean() + shift for shift in (0.5, 0.5, 0.5, 9.0)]
    data = xr.Dataset({"m": array(lambda a, k, e, s: values[k - 1][s], seeds=20)})
    claim = one_claim(statistic="mean", cases=["layer"], select={"activation": ["relu"], "layer": [1, 2, 3, 4]})
    verdict = judge(claim, data)
    one = verdict.cases[0]
    assert one.holds
    assert verdict.verdict == REPRODUCED
    assert one.p == pytest.approx(stats.ttest_1samp(values[0], 0, alternative="greater").pvalue)
    assert 0.025 / 3 < one.p < 0.025  # alone it holds, among three like it it does not
    assert verdict.n_corrected == 1


@pytest.mark.parametrize("name", sorted({claim.results for claim in CLAIMS.values()}))
def test_committed_results_decide_every_claim_as_the_notebook_prints_it(name):
    stored = results.load(ROOT / f"results/{name}.nc")
    verdicts = judge_all({name: stored})
    assert CANNOT not in {verdict.verdict for verdict in verdicts}
    (chapter,) = {verdict.claim.chapter for verdict in verdicts}
    (path,) = (ROOT / "notebooks").glob(f"*_{chapter}.ipynb")
    notebook = nbformat.read(path, 4)
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert set(str(verdicts).splitlines()) <= set(printed.splitlines())


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
    shown = Verdicts((judge(one_claim(), data), judge(replace(one_claim(), id="X02", seeds=9), data)))
    tags = Tags()
    tags.feed(shown._repr_html_())
    assert tags.open == []
    for word in ("X01", "X02", "It rises.", "partly", "cannot be tested", "3 seeds; 1 of 2 cases hold", "tanh: 1.1 ["):
        assert word in tags.text
    assert "ReLU: −1.1 [−1.2, −1]" in tags.text
    assert {"verdicts", "partly", "cannot-be-tested", "holds", "fails"} <= tags.classes


def test_verdicts_are_printed_a_line_each_and_found_by_id():
    data = xr.Dataset({"m": array(lambda a, k, e, s: (e if a == "tanh" else -e) * (1 + 0.1 * s))})
    verdicts = Verdicts((judge(one_claim(), data), judge(replace(one_claim(), id="X02", seeds=9), data)))
    lines = [
        "X01  as written  partly            1 of 2 cases hold",
        "X02  as written  cannot be tested  3 seeds, where the rule asks for 9",
    ]
    assert str(verdicts) == repr(verdicts) == "\n".join(lines)
    assert len(verdicts) == 2
    assert [verdict.claim.id for verdict in verdicts] == ["X01", "X02"]
    with pytest.raises(KeyError, match="verdicts are on X01, X02, got 'X03' as written"):
        verdicts["X03"]


def test_a_case_is_told_with_its_interval():
    data = xr.Dataset({"m": array(lambda a, k, e, s: (e if a == "tanh" else -e) * (1 + 0.1 * s))})
    verdict = judge(one_claim(), data)
    assert verdict.case(0) == "−1.10 [−1.20, −1.00]"
    assert verdict.case(1, 0, scale=100) == f"{verdict.cases[1].interval.scaled(100):.0f}"
    assert verdict.case(0, 1, scale=-1) == "1.1 [1.0, 1.2]"
    for number in (2, -1):
        with pytest.raises(ValueError, match=f"number must be from 0 to 1 for X01, got {number}"):
            verdict.case(number)


def test_results_that_decide_no_claim_are_passed_over_but_one_must():
    verdicts = judge_all({"width": committed("width"), "others": xr.Dataset()})
    assert {verdict.claim.results for verdict in verdicts} == {"width"}
    with pytest.raises(ValueError, match=r"results must be named by a claim, got \['others'\]"):
        judge_all({"others": xr.Dataset()})
