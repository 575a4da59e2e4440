"""Claims as data: what a study said, and the rule that decides it from results (`verdicts`) and is older than they are.

The folder ``claims/`` has one file for each chapter. A claim holds if all its parts hold. A part computes one statistic
for each seed (`claim_statistics`) from one measure of the results, or from two, of which the second is subtracted, once
for each of its cases. ``select`` names what it looks at; where ``contrast`` names two labels of a dimension, the
statistic at the second is subtracted from that at the first, seed by seed; in place of a label it may name a list,
whose mean counts. All dimensions but the cases and the seed are averaged.

A case holds if the 95 % interval of the mean over seeds lies wholly where ``expect`` says: the bootstrap interval or,
where a seed yields just yes or no (the statistic is called share), the exact one of a share. Reproduced: every case
holds; not reproduced: none does; partly: some do. ``within: 5, of: drop_off`` expects each case within 5 of the number
that ``reported`` has for it under ``drop_off``; ``expect`` may draw the bounds closer. In the label of such a part the
name of the dimension, in braces, stands for the case, and ``{reported}`` for the number.

Parts with ``protocol: as coded`` follow the study's code where it does something else than its text, and have a verdict
of their own. ``protocol: both`` counts on both sides; ``as_coded`` says what is different for the code, in ``select``
only the dimensions that are.

``reported`` has the study's own figures: in words as ``text``, and by the name of a measure as numbers, each under its
label of a dimension; for two dimensions as lists, whose labels the second has. ``why`` explains a verdict that differs
from the study's; ``{0}``, ``{1}``, … stand for the intervals of the cases. ``quick_seeds``: a claim so clear that the
preset quick gives the same verdict from this many seeds. A claim without ``results`` is decided by those that bear its
chapter's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from importlib.resources import files
from typing import Any, Final, Literal

import numpy as np
import xarray as xr

from helpers.evidence.claim_statistics import STATISTICS
from helpers.files import read_yaml

# The book's chapters, in its order: the names of their files in claims/, and of their notebooks behind the number.
CHAPTERS = ("weight_norms", "class_treatment", "robustness", "perturbation_constraints", "dirty_data")

# A study's text and its code may do different things; a part of a rule belongs to one of them.
Reading = Literal["as written", "as coded"]
AS_WRITTEN: Final = "as written"
AS_CODED: Final = "as coded"


@dataclass(frozen=True)
class Part:
    """One statistic with the region in which its interval has to lie, as this module's head says."""

    label: str
    measure: str | Sequence[str]
    statistic: str
    expect: Mapping[str, float]
    cases: Sequence[str] = ()
    select: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    contrast: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    protocol: Reading = AS_WRITTEN

    def __post_init__(self) -> None:
        if self.protocol not in (AS_WRITTEN, AS_CODED):
            raise ValueError(f"protocol must be {AS_WRITTEN!r} or {AS_CODED!r}, got {self.protocol!r}.")
        if self.statistic not in STATISTICS:
            raise ValueError(f"statistic must be one of {', '.join(STATISTICS)}, got {self.statistic!r}.")
        if not self.expect or not set(self.expect) <= {"above", "below"}:
            raise ValueError(f"expect must have above, below or both, got {dict(self.expect)!r}.")


@dataclass(frozen=True)
class Claim:
    """One claim of a study.

    Attributes:
        id: its number in this book.
        study: key of the study in the bibliography.
        place: where in the study.
        chapter: the chapter that decides it.
        results: name of the results that decide it.
        seeds: smallest number of seeds that may decide it.
        statement: the claim in our words.
        reported: the study's own figures; ``text`` in words.
        parts: what has to hold.
        why: what explains a verdict that differs from the study's, with ``{0}``, ``{1}``, … in place of the intervals
            of the cases, in their order.
        why_as_coded: the same for the study as coded.
        quick_seeds: from how many seeds the preset quick, too, can tell; None where it can't.
    """

    id: str
    study: str
    place: str
    chapter: str
    results: str
    seeds: int
    statement: str
    reported: Mapping[str, Any]
    parts: tuple[Part, ...]
    why: str = ""
    why_as_coded: str = ""
    quick_seeds: int | None = None

    def numbers(self, measure: str) -> xr.DataArray:
        """Return the numbers that the study reports for a measure, by their labels.

        Raises:
            ValueError: the claim has none for this measure.
        """
        known = [name for name in self.reported if name != "text"]
        if measure not in known:
            raise ValueError(f"measure must be one that {self.id} has numbers for, {known}, got {measure!r}.")
        labels = self.reported[measure]
        first = next(iter(labels.values()))
        return xr.DataArray(list(first.values()), {dim: list(labels[dim]) for dim in labels}, tuple(labels))

    @property
    def protocols(self) -> tuple[Reading, ...]:
        """The protocols that its parts belong to, in their order."""
        return tuple(dict.fromkeys(part.protocol for part in self.parts))


def load_claims(results: str | None = None) -> dict[str, Claim]:
    """Return all claims by id, or those that one set of results decides.

    Raises:
        ValueError: two claims share an id, a claim has an unknown key, lacks one or has one twice, or no claim belongs
            to these results.
    """
    claims: dict[str, Claim] = {}
    for chapter in CHAPTERS:
        for entry in read_yaml(files("helpers.evidence") / "claims" / f"{chapter}.yaml"):
            claim = _claim(chapter, entry)
            if claim.id in claims:
                raise ValueError(f"id must be unique among the claims, got {claim.id!r} twice.")
            claims[claim.id] = claim
    chosen = {id: claim for id, claim in claims.items() if results in (None, claim.results)}
    if not chosen:
        raise ValueError(f"results must be named by a claim, got {results!r}.")
    return chosen


def _claim(chapter: str, entry: Mapping[str, Any]) -> Claim:
    """The claim that an entry of a chapter's file describes."""
    name = str(entry.get("id", f"a claim of {chapter}"))
    values = {"chapter": chapter, "results": chapter, **entry}
    _check_keys(name, Claim, values)
    parts = []
    for written in values["parts"]:
        for of_one_protocol in _by_protocol(written):
            for part in _by_number(name, of_one_protocol, values["reported"]):
                _check_keys(f"a part of {name}", Part, part)
                parts.append(Part(**part))
    return Claim(**values | {"parts": tuple(parts)})


def _by_protocol(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A part as written down; if it counts for text and code, one for each."""
    if part.get("protocol") != "both":
        return [dict(part)]
    shared = {key: value for key, value in part.items() if key not in ("protocol", "as_coded")}
    coded = {**shared, **part.get("as_coded", {}), "protocol": AS_CODED}
    if "select" in coded:
        coded["select"] = shared.get("select", {}) | coded["select"]
    return [shared, coded]


def _by_number(claim: str, part: Mapping[str, Any], reported: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A part as written down; if its bounds lie about reported numbers, one for each of them."""
    if "within" not in part:
        return [dict(part)]
    (dim, *others), numbers = part.get("cases") or [None], reported.get(part.get("of", ""), {})
    if others or list(numbers) != [dim]:
        raise ValueError(
            f"of must name numbers that {claim} reports along the one dimension of cases, got {part.get('of')!r}."
        )
    rest = {key: value for key, value in part.items() if key not in ("within", "of", "cases")}
    closest = {"above": -np.inf, "below": np.inf} | part.get("expect", {})
    parts = []
    for label, number in numbers[dim].items():
        width = part["within"][label] if isinstance(part["within"], Mapping) else part["within"]
        above, below = (round(number + sign * width, 9) for sign in (-1, 1))  # as one would write them
        bounds = {"above": max(above, closest["above"]), "below": min(below, closest["below"])}
        words = part["label"].format(reported=number, **{dim: label})
        select = part.get("select", {}) | {dim: [label]}
        parts.append(rest | {"label": words, "select": select, "expect": bounds})
    return parts


def _check_keys(name: str, kind: type[Claim | Part], entry: Mapping[str, Any]) -> None:
    known = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(kind)}
    short = ("within", "of", "as_coded") if kind is Part else ()  # they have been written out by now
    for key in entry:
        if key not in known:
            raise ValueError(f"{name} must have no keys but {', '.join((*known, *short))}, got {key!r}.")
    for key, needed in known.items():
        if needed and key not in entry:
            raise ValueError(f"{name} must have the key {key!r}, got {', '.join(map(str, entry))}.")
