"""The claims of the studies are complete, each in the file of its chapter, and what is wrong in a file is named."""

import re
from pathlib import Path

import pytest

from helpers.evidence import claims
from helpers.evidence.claims import CHAPTERS, Part, load_claims

ROOT = Path(__file__).parents[3]
CLAIMS = load_claims()
EVERY = pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)


@EVERY
def test_claims_are_complete(claim):
    assert re.fullmatch(r"[A-Z]\d\d", claim.id)
    assert claim.seeds >= (5 if claim.results == "dirty_data" else 10)  # networks for pictures are slow to train
    assert claim.statement.endswith(".")
    assert claim.reported["text"]
    assert re.search(rf"^@\w+{{{claim.study},", (ROOT / "book/references.bib").read_text(), flags=re.M)
    assert (ROOT / "results" / f"{claim.results}.nc").is_file()


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


SHORT = """
- id: X01
  study: slusarz2021
  place: §1
  seeds: 3
  statement: It rises.
  reported: {text: so, size: {head: {abs: 0.3, relu: -4}}}
  parts:
    - label: size of {head}, {reported} reported
      measure: m
      select: {side: [below], training: [as written]}
      statistic: mean
      cases: [head]
      within: {abs: 0.1, relu: 2}
      of: size
      expect: {below: 0}
      protocol: both
      as_coded: {measure: n, select: {training: [as coded]}}
    - {label: slope, measure: m, statistic: slope, expect: {above: 0}, protocol: as coded}
"""


def test_short_forms_are_written_out(ledger):
    ledger.write_text(SHORT)
    parts = load_claims()["X01"].parts

    def part(head, number, above, below, **protocol):
        coded = bool(protocol)
        select = {"side": ["below"], "training": ["as coded" if coded else "as written"], "head": [head]}
        words = f"size of {head}, {number} reported"
        return Part(words, "n" if coded else "m", "mean", {"above": above, "below": below}, (), select, **protocol)

    coded = {"protocol": "as coded"}
    assert list(parts) == [
        part("abs", 0.3, 0.2, 0),  # as close as expect says
        part("relu", -4, -6, -2),
        part("abs", 0.3, 0.2, 0, **coded),
        part("relu", -4, -6, -2, **coded),
        Part("slope", "m", "slope", {"above": 0}, **coded),
    ]


def test_reported_numbers_have_labels(ledger):
    ledger.write_text(SHORT)
    claim = load_claims()["X01"]
    sizes = claim.numbers("size")
    assert sizes.dims == ("head",)
    assert [sizes.sel(head=name).item() for name in ("relu", "abs")] == [-4, 0.3]
    with pytest.raises(ValueError, match=r"measure must be one that X01 has numbers for, \['size'\], got 'text'"):
        claim.numbers("text")
    norms = CLAIMS["T02"].numbers("frobenius_norm")
    assert norms.dims == ("layer", "entanglement")
    assert norms.sel(layer=4, entanglement=8).item() == 6.65


@EVERY
def test_all_reported_numbers_have_labels(claim):
    for measure in set(claim.reported) - {"text"}:
        assert claim.numbers(measure).notnull().all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ENTRY + ENTRY, "id must be unique among the claims, got 'X01' twice"),
        (ENTRY + "  quick: 5\n", "^X01 must have no keys but id, .*, quick_seeds, got 'quick'"),
        (ENTRY.replace("cases:", "case:"), "^a part of X01 must have no keys but label, .*, as_coded, got 'case'"),
        (ENTRY.replace("  seeds: 3\n", ""), "^X01 must have the key 'seeds', got "),
        (ENTRY.replace("statistic: slope, ", ""), "^a part of X01 must have the key 'statistic', got "),
        (ENTRY.replace("- id: X01\n ", "-"), "^a claim of some must have the key 'id', got "),
        (ENTRY.replace("expect: {above: 0}", "expect: {above: 0}, expect: {below: 0}"), "expect occurs twice"),
        (ENTRY + "  seeds: 4\n", "some.yaml .*seeds occurs twice"),
        (SHORT.replace("protocol: both", "protocol: as written"), "a part of X01 must .*, got 'as_coded'"),
        (SHORT.replace("of: size", "of: text"), "of must name numbers that X01 reports along .*, got 'text'"),
        (SHORT.replace("      of: size\n", ""), "of must name numbers that X01 reports along .*, got None"),
        (SHORT.replace("cases: [head]", "cases: [side]"), "of must name numbers that X01 reports along"),
        (SHORT.replace("      cases: [head]\n", ""), "of must name numbers that X01 reports along"),
        (SHORT.replace("{measure: n,", "{measures: n,"), "^a part of X01 must have no keys but .*, got 'measures'"),
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
    right = {"label": "slope", "measure": "m", "statistic": "slope", "cases": [], "expect": {"above": 0}}
    assert Part(**right)
    with pytest.raises(ValueError, match=words):
        Part(**right | change)
