"""The replication report says what the claims' rules make of the results, in every form."""

import json
import re
from dataclasses import replace
from pathlib import Path

import grids
import numpy as np
import pytest
import xarray as xr

from helpers.__main__ import main
from helpers.datasets.spirals import spirals
from helpers.evidence import report, results
from helpers.evidence.claims import Claim, Part, load_claims
from helpers.evidence.report import Report, decisive, explained, load_report
from helpers.evidence.verdicts import CANNOT, NOT_REPRODUCED, PARTLY, REPRODUCED, judge
from helpers.experiments.class_treatment import mapping_results
from helpers.experiments.sweeps import spiral_sweep
from helpers.experiments.weight_norms import weight_results
from helpers.training.protocol import Training

ROOT = Path(__file__).parents[3]


def values(*levels):
    """A result with one label of `size` for each level, 20 seeds around it."""
    noise = np.sin(np.arange(20.0)) / 10
    noise -= noise.mean()
    array = xr.DataArray([noise + level for level in levels], dims=("size", "seed"))
    return xr.Dataset({"m": array.assign_coords(size=range(len(levels)), seed=range(20))})


def claim(why="", **expect):
    part = Part("level", "m", "mean", expect or {"above": 0}, ["size"])
    return Claim("X01", "slusarz2021", "§1", "sizes", "levels", 3, "It is <high>.", {"text": "5 & more"}, (part,), why)


def made(*verdicts):
    by = {"wall_seconds": 90.0, "machine": {"cores": 2, "processor": "x"}, "versions": {"torch": "2"}}
    return Report(verdicts, {"levels": by | {"finished": "2026-01-02T00:00", "commit": "0123456789abc"}})


def test_a_verdict_hangs_on_the_case_with_the_least_room():
    assert decisive(judge(claim(), values(3, 0.2, 5))).where == {"size": 1}
    assert decisive(judge(claim(), values(3, -0.2, -5))).where == {"size": 2}
    assert decisive(judge(claim(above=-1, below=1), values(0.5, -0.9, 0.8))).where == {"size": 1}
    assert decisive(judge(replace(claim(), seeds=99), values(1))) is None


def test_reasons_are_filled_with_intervals_and_given_only_where_needed():
    why = "It was {1:.1f}, not {0:.1f}."
    found = judge(claim(why), values(-2, 3))
    assert found.verdict == PARTLY
    assert re.fullmatch(r"It was 3\.0 \[\d\.\d, \d\.\d\], not −2\.0 \[−\d\.\d, −\d\.\d\]\.", explained(found))
    assert explained(judge(claim(why), values(2, 3))) == ""
    assert explained(judge(replace(claim(why), seeds=99), values(1, 2))) == "20 seeds, where the rule asks for 99"
    with pytest.raises(ValueError, match="why must name cases from 0 to 0 for X01"):
        explained(judge(claim(why), values(-2)))


def test_rows_say_how_many_cases_hold_and_give_the_decisive_one():
    (row,) = report.rows(made(judge(claim("Why {0:.0f}."), values(3, -1))))
    assert (row["id"], row["protocol"], row["verdict"], row["n_seeds"]) == ("X01", "as written", PARTLY, 20)
    assert (row["cases"], row["hold"], row["hold_corrected"]) == (2, 1, 1)
    assert row["statistic"] == "level (size 1)"
    assert row["low"] < row["ours"] < row["high"] < 0
    assert row["effect"] < 0
    assert row["why"].startswith("Why 3 [")
    (row,) = report.rows(made(judge(replace(claim(), seeds=99), values(1))))
    assert (row["verdict"], row["ours"], row["n_seeds"], row["cases"]) == (CANNOT, None, None, 0)


def test_the_table_carries_what_the_script_sorts_and_filters_by():
    found = made(judge(claim(), values(-1)), judge(claim(), values(1)))
    html = report.as_html(found, {"sizes": "../notebooks/x.html"})
    assert html.count("<tr data-study='spirals'") == 2
    assert re.findall(r"data-rank='(\d)'", html) == ["2", "0"]
    assert html.count("<a href='../notebooks/x.html#X01'>X01</a>") == 2
    assert "It is &lt;high&gt;." in html
    assert "5 &amp; more" in html
    assert "<a " not in report.as_html(found, {})
    assert report.counts(found) == "2 verdicts on 1 claims: 1 reproduced, 1 not reproduced."


def test_paragraphs_stand_for_what_differs():
    found = made(judge(claim("So {0:.0f}."), values(-1)), judge(claim("So {0:.0f}."), values(1)))
    text = report.reasons(found, {"sizes": "x.html"})
    assert text.startswith("**<a href='x.html#X01'>X01</a>, not reproduced.** So −1 [")
    assert text.count("So ") == 1
    assert report.cost(found) == ["* `levels`: 1.5 minutes on 2 cores (x), 2026-01-02, PyTorch 2, commit `0123456789`"]


def test_missing_results_cannot_be_tested(tmp_path):
    results.save(results.load(ROOT / "results/weight_norms.nc"), tmp_path / "weight_norms.nc", {"seeds": 1})
    found = load_report(tmp_path)
    assert set(found.made_by) == {"weight_norms"}
    by_results = {verdict.claim.results: verdict.verdict for verdict in found.verdicts}
    assert by_results["weight_norms"] != CANNOT
    assert {verdict for name, verdict in by_results.items() if name != "weight_norms"} <= {CANNOT}
    (tmp_path / "weight_norms.nc").write_bytes(b"broken")
    with pytest.raises(ValueError, match="path must be a whole netCDF file"):
        load_report(tmp_path)


# -------------------------------------------------------------------------------- the committed results and claims


@pytest.fixture(scope="module")
def committed():
    return load_report(ROOT / "results")


# All claims of the three studies: on spirals (T), on clipping (P), on dirty data (D).
IDS = [f"{study}{number:02d}" for study, last in (("D", 9), ("P", 9), ("T", 24)) for number in range(1, last + 1)]


def test_no_claim_of_the_studies_is_missing_and_none_is_unknown():
    assert sorted(load_claims()) == IDS


def test_every_claim_has_a_decided_row_for_each_protocol(committed):
    rows = [(verdict.claim.id, verdict.protocol) for verdict in committed.verdicts]
    assert len(rows) == len(set(rows))
    assert rows == [(c.id, p) for c in sorted(load_claims().values(), key=lambda c: c.id) for p in c.protocols]
    undecided = [(v.claim.id, v.reason) for v in committed.verdicts if v.verdict == CANNOT]
    assert undecided == []


# Cases of each claim as the rules were written down: under the study's text and, behind the plus, its code.
CASES = """
    D01 7+7  D02 1+1  D03 2+2  D04 4  D05 4+4  D06 1+4  D07 7+7  D08 2+2  D09 2  P01 5+5  P02 6+6  P03 6+6
    P04 18+18  P05 3+3  P06 2+2  P07 3+3  P08 1+1  P09 7+7  T01 4  T02 5  T03 10  T04 10  T05 2  T06 5
    T07 4  T08 3  T09 4  T10 4  T11 9  T12 3  T13 12  T14 4+2  T15 4+4  T16 6+6  T17 3+3  T18 2+2  T19 1+1
    T20 12+12  T21 7  T22 8+8  T23 8  T24 1
"""


def test_every_rule_has_the_cases_that_it_was_written_with(committed):
    counts = {}
    for verdict in committed.verdicts:
        counts.setdefault(verdict.claim.id, []).append(str(len(verdict.cases)))
    assert [f"{id} {'+'.join(numbers)}" for id, numbers in counts.items()] == re.split(r"\s{2,}", CASES.strip())


def test_every_verdict_that_differs_has_its_reason(committed):
    differing = [v for v in committed.verdicts if v.verdict in (PARTLY, NOT_REPRODUCED)]
    assert differing
    assert [v.claim.id for v in differing if not explained(v)] == []
    assert report.reasons(committed, {}).count("\n\n") == len(differing) - 1


# "5 × 10", "L4" and "H3" are names and no numbers.
def test_reasons_contain_no_typed_number():
    for one in load_claims().values():
        text = re.sub(r"\{[^}]*\}|\d+ × \d+", "", one.why + one.why_as_coded)
        assert re.findall(r"(?<!\w)\d[\d.,]*", text) == [], f"{one.id}: compute it, as {{0}}"


def test_command_line_prints_the_same_in_both_forms(capsys, committed):
    main(["claims", "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    assert rows == json.loads(report.as_json(committed))
    wanted = {"id", "protocol", "reported", "ours", "low", "high", "n_seeds", "verdict"}
    assert all(wanted <= set(row) for row in rows)
    main(["claims"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["id", "protocol", "reported", "ours", "low", "high", "n_seeds", "verdict"]
    for row, line in zip(rows, lines[1:], strict=True):
        assert line.split()[0] == row["id"]
        assert line.endswith(row["verdict"])


def test_command_line_refuses_in_a_sentence(capsys, tmp_path):
    for arguments, words in (
        (["claims", "--results", str(tmp_path / "none")], "--results must be a folder"),
        (["claims", "--format", "xml"], "invalid choice: 'xml'"),
        ([], "required: command"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert words in capsys.readouterr().err
    (tmp_path / "weight_norms.nc").write_bytes(b"broken")
    with pytest.raises(SystemExit):
        main(["claims", "--results", str(tmp_path)])
    assert "path must be a whole netCDF file" in capsys.readouterr().err


def preset(notebook):
    return grids.defaults(grids.declared(ROOT, notebook))


def rerun_weight_norms():
    chosen = preset("01_weight_norms")
    seeds = range(chosen["n_networks"])
    training = Training(epochs=chosen["epochs"], batch_size=chosen["batch_size"])
    sweep = spiral_sweep(
        activations=["tanh", "relu"], entanglements=chosen["entanglements"], seeds=seeds, training=training
    )
    return weight_results(sweep)


def rerun_class_treatment():
    chosen = preset("02_class_treatment")
    sweep = spiral_sweep(
        activations=["tanh", "relu"],
        entanglements=[chosen["mapping_entanglement"]],
        seeds=range(chosen["n_mappings"]),
        hidden_layers=1,
        width=2,
        training=Training(epochs=chosen["mapping_epochs"], batch_size=chosen["batch_size"]),
    )
    return mapping_results(sweep, spirals(chosen["mapping_entanglement"]))


@pytest.mark.parametrize(
    ("rerun", "ids"), [(rerun_weight_norms, ("T02", "T03", "T05", "T09")), (rerun_class_treatment, ("T14",))]
)
def test_a_quick_run_gives_the_committed_verdicts(rerun, ids, committed):
    """Not the same numbers: fewer seeds, fewer epochs, another processor; the same words."""
    again, known = rerun(), load_claims()
    for verdict in committed.verdicts:
        if verdict.claim.id in ids:
            found = judge(known[verdict.claim.id], again, verdict.protocol, quick=True)
            assert (found.claim.id, found.verdict) == (verdict.claim.id, verdict.verdict), found.reason


def test_a_quick_run_decides_only_what_it_can():
    stored = values(3)
    assert judge(claim(), stored, quick=True).reason == "a quick run cannot tell"
    clear = replace(claim(), seeds=99, quick_seeds=20)
    assert judge(clear, stored).verdict == CANNOT
    assert judge(clear, stored, quick=True).verdict == REPRODUCED
    assert judge(replace(clear, quick_seeds=21), stored, quick=True).reason == "20 seeds, where the rule asks for 21"
