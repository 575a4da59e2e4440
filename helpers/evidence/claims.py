"""Claims as data, verdicts by code: what a study said, and the rule that decides it, older than the results.

The folder ``claims/`` has one file for each chapter. A claim holds if all its parts hold. A part computes one statistic
for each seed (`claim_statistics`) from one measure of the results, or from two, of which the second is subtracted, once
for each of its cases. ``select`` names what it looks at; where ``contrast`` names two labels of a dimension, the
statistic at the second is subtracted from that at the first, seed by seed; in place of a label it may name a list,
whose mean counts. All dimensions but the cases and the seed are averaged.

A case holds if the 95 % interval of the mean over seeds lies wholly where ``expect`` says: the bootstrap interval or,
where a seed yields just yes or no (the statistic is called share), the exact one of a share. Reproduced: every case
holds; not reproduced: none does; partly: some do. Parts with ``protocol: as coded`` follow the study's code where it
does something else than its text, and have a verdict of their own.

``why`` explains a verdict that differs from the study's; ``{0}``, ``{1}``, … stand for the intervals of the cases.
``quick_seeds``: a claim so clear that the preset quick gives the same verdict from this many seeds. A claim without
``results`` is decided by those that bear its chapter's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from importlib.resources import files
from typing import Any

import numpy as np
import xarray as xr

from helpers.evidence.claim_statistics import STATISTICS
from helpers.evidence.intervals import Interval, bootstrap_interval, effect_size, holm, one_sided_p, share_interval
from helpers.files import read_yaml

# The book's chapters, in its order: the names of their files in claims/, and of their notebooks behind the number.
CHAPTERS = ("weight_norms", "class_treatment", "robustness", "perturbation_constraints", "dirty_data")

REPRODUCED, PARTLY, NOT_REPRODUCED, CANNOT = "reproduced", "partly", "not reproduced", "cannot be tested"
# A study's text and its code may do different things; a part of a rule belongs to one of them.
AS_WRITTEN, AS_CODED = "as written", "as coded"
# One side of a 95 % interval.
ALPHA = 0.025


@dataclass(frozen=True)
class Part:
    """One statistic with the region in which its interval has to lie, as this module's head says."""

    label: str
    measure: str | Sequence[str]
    statistic: str
    cases: Sequence[str]
    expect: Mapping[str, float]
    select: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    contrast: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    protocol: str = AS_WRITTEN

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

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols that its parts belong to, in their order."""
        return tuple(dict.fromkeys(part.protocol for part in self.parts))


@dataclass(frozen=True)
class Case:
    """One decided case of a part.

    Attributes:
        part: the part.
        where: its place on the dimensions that the part makes cases of.
        interval: of the mean over seeds.
        effect: standardised distance of the mean from the nearest bound.
        p: probability of a mean at least as far inside the bounds if the truth lay on one of them.
        holds: whether the interval lies within the bounds.
    """

    part: Part
    where: Mapping[str, Any]
    interval: Interval
    effect: float
    p: float
    holds: bool


@dataclass(frozen=True)
class Verdict:
    """A claim's verdict under one protocol with the cases behind it; no cases where it cannot be tested."""

    claim: Claim
    protocol: str
    verdict: str
    reason: str
    cases: tuple[Case, ...]

    @property
    def n_corrected(self) -> int:
        """Cases that hold and would if all cases of the claim were one family, by Holm's correction."""
        adjusted = holm([case.p for case in self.cases])
        return sum(case.holds and p <= ALPHA for case, p in zip(self.cases, adjusted, strict=True))


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
    for part in values["parts"]:
        _check_keys(f"a part of {name}", Part, part)
    return Claim(**values | {"parts": tuple(Part(**part) for part in values["parts"])})


def _check_keys(name: str, kind: type[Claim | Part], entry: Mapping[str, Any]) -> None:
    known = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(kind)}
    for key in entry:
        if key not in known:
            raise ValueError(f"{name} must have no keys but {', '.join(known)}, got {key!r}.")
    for key, needed in known.items():
        if needed and key not in entry:
            raise ValueError(f"{name} must have the key {key!r}, got {', '.join(map(str, entry))}.")


def decide_all(name: str, results: xr.Dataset, *, quick: bool = False) -> list[Verdict]:
    """Decide every claim that these results decide, under every protocol it knows, in the order of the claims.

    Args:
        name: of the results.
        results: see `decide`.
        quick: see `decide`.
    """
    claims = load_claims(name).values()
    return [decide(claim, results, protocol, quick=quick) for claim in claims for protocol in claim.protocols]


def decide(claim: Claim, results: xr.Dataset, protocol: str = AS_WRITTEN, *, quick: bool = False) -> Verdict:
    """Decide a claim from results, by its own rule.

    Args:
        claim: the claim.
        results: labelled arrays with a dimension ``seed`` and those that the claim's parts name; of a
            dimension named ``epoch`` or ``…_epoch`` the last entry counts.
        protocol: which of the claim's parts count, those of the study as written or as coded.
        quick: be content with as many seeds as the claim asks of the preset quick.

    Returns:
        The verdict; ``cannot be tested`` if something the claim needs is missing from the results.

    Raises:
        ValueError: the claim has no part of this protocol.
    """
    if protocol not in claim.protocols:
        raise ValueError(f"protocol must be one that {claim.id} has, {list(claim.protocols)}, got {protocol!r}.")
    wanted = claim.quick_seeds if quick else claim.seeds
    if wanted is None:
        return Verdict(claim, protocol, CANNOT, "a quick run cannot tell", ())
    cases: list[Case] = []
    for part in (part for part in claim.parts if part.protocol == protocol):
        try:
            values = _per_seed(part, results)
        except KeyError as error:
            return Verdict(claim, protocol, CANNOT, f"the results lack what {part.label!r} needs: {error.args[0]}", ())
        if values.sizes["seed"] < wanted:
            few = f"{values.sizes['seed']} seeds, where the rule asks for {wanted}"
            return Verdict(claim, protocol, CANNOT, few, ())
        flat = values.stack(case=list(part.cases)) if part.cases else values.expand_dims("case", axis=1)
        for i in range(flat.sizes["case"]):
            column = flat.isel(case=i)
            where = {name: column[name].item() for name in part.cases}
            cases.append(_decide_case(part, where, column.to_numpy()))
    n_holding = sum(case.holds for case in cases)
    verdict = REPRODUCED if n_holding == len(cases) else PARTLY if n_holding else NOT_REPRODUCED
    return Verdict(claim, protocol, verdict, f"{n_holding} of {len(cases)} cases hold", tuple(cases))


def _decide_case(part: Part, where: Mapping[str, Any], values: np.ndarray[Any, Any]) -> Case:
    share = part.statistic == "share"
    interval = share_interval(values) if share else bootstrap_interval(values)
    above, below = part.expect.get("above", -np.inf), part.expect.get("below", np.inf)
    # The null value nearest to the claim; of an equivalence claim the distance from its middle is given.
    null = above if np.isinf(below) else below if np.isinf(above) else (above + below) / 2
    holds = bool(interval.low > above and interval.high < below)
    p = one_sided_p(values, above=above, below=below, share=share)
    return Case(part, where, interval, effect_size(values, null=null), p, holds)


def _per_seed(part: Part, results: xr.Dataset) -> xr.DataArray:
    """The statistic of a part for each seed and case, dimensions seed and cases."""
    results = results.isel({name: -1 for name in results.dims if str(name).endswith("epoch")})
    measures = [part.measure] if isinstance(part.measure, str) else list(part.measure)
    present = results[measures[0]].dims
    chosen = results.sel({name: list(labels) for name, labels in part.select.items() if name in present})
    statistic = STATISTICS[part.statistic]
    values = statistic(chosen, measures[0])
    for other in measures[1:]:
        values = values - statistic(chosen, other)
    for name, (first, second) in part.contrast.items():
        values = _at(values, name, first) - _at(values, name, second)
    values = values.mean([d for d in values.dims if d != "seed" and d not in part.cases], skipna=False)
    # Measures may come with different numbers of seeds; one that a measure was never taken at says nothing of it.
    return values.transpose("seed", ...).dropna("seed", how="all")


def _at(values: xr.DataArray, name: str, labels: Any) -> xr.DataArray:
    """The values at one label of a dimension, or their mean over a list of labels."""
    return values.sel({name: labels}).mean(name) if isinstance(labels, list) else values.sel({name: labels}, drop=True)
