"""Claims as data, verdicts by code: what a study said, and the rule that decides it from results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import yaml
from scipy import stats

from helpers.statistics import Interval, bootstrap_interval, effect_size

REPRODUCED, PARTLY, NOT_REPRODUCED, CANNOT = "reproduced", "partly", "not reproduced", "cannot be tested"

OUTLIER = 1.5


@dataclass(frozen=True)
class Part:
    """One statistic with the region in which its interval has to lie; see the head of claims.yaml."""

    label: str
    measure: str | Sequence[str]
    statistic: str
    cases: Sequence[str]
    expect: Mapping[str, float]
    select: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    contrast: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
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
        results: name of the results that decide it.
        seeds: smallest number of seeds that may decide it.
        statement: the claim in our words.
        reported: the study's own figures; ``text`` in words.
        parts: what has to hold.
    """

    id: str
    study: str
    place: str
    results: str
    seeds: int
    statement: str
    reported: Mapping[str, Any]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Case:
    """One decided case of a part: its interval over seeds, effect size, and whether it holds."""

    part: Part
    where: Mapping[str, Any]
    interval: Interval
    effect: float
    holds: bool


@dataclass(frozen=True)
class Verdict:
    """A claim's verdict with the cases behind it; no cases where it cannot be tested."""

    claim: Claim
    verdict: str
    reason: str
    cases: tuple[Case, ...]


def load_claims(results: str | None = None) -> dict[str, Claim]:
    """Return all claims by id, or those that one set of results decides.

    Raises:
        ValueError: two claims share an id, or no claim belongs to these results.
    """
    entries = yaml.safe_load((files("helpers") / "claims.yaml").read_text(encoding="utf-8"))
    claims: dict[str, Claim] = {}
    for entry in entries:
        if entry["id"] in claims:
            raise ValueError(f"id must be unique among the claims, got {entry['id']!r} twice.")
        parts = tuple(Part(**part) for part in entry.pop("parts"))
        if results in (None, entry["results"]):
            claims[entry["id"]] = Claim(**entry, parts=parts)
    if not claims:
        raise ValueError(f"results must be named by a claim, got {results!r}.")
    return claims


def decide(claim: Claim, results: xr.Dataset) -> Verdict:
    """Decide a claim from results, by its own rule.

    Args:
        claim: the claim.
        results: labelled arrays with a dimension ``seed`` and those that the claim's parts name; of an
            ``epoch`` dimension the last entry counts.

    Returns:
        The verdict; ``cannot be tested`` if something the claim needs is missing from the results.
    """
    cases: list[Case] = []
    for part in claim.parts:
        try:
            values = _per_seed(part, results)
        except KeyError as error:
            return Verdict(claim, CANNOT, f"the results lack what {part.label!r} needs: {error.args[0]}", ())
        if values.sizes["seed"] < claim.seeds:
            few = f"{values.sizes['seed']} seeds, where the rule asks for {claim.seeds}"
            return Verdict(claim, CANNOT, few, ())
        flat = values.stack(case=list(part.cases)) if part.cases else values.expand_dims("case", axis=1)
        for i in range(flat.sizes["case"]):
            column = flat.isel(case=i)
            where = {name: column[name].item() for name in part.cases}
            cases.append(_decide_case(part, where, column.to_numpy()))
    n_holding = sum(case.holds for case in cases)
    verdict = REPRODUCED if n_holding == len(cases) else PARTLY if n_holding else NOT_REPRODUCED
    return Verdict(claim, verdict, f"{n_holding} of {len(cases)} cases hold", tuple(cases))


def _decide_case(part: Part, where: Mapping[str, Any], values: np.ndarray[Any, Any]) -> Case:
    interval = bootstrap_interval(values)
    above, below = part.expect.get("above", -np.inf), part.expect.get("below", np.inf)
    # The null value nearest to the claim; of an equivalence claim the distance from its middle is given.
    null = above if np.isinf(below) else below if np.isinf(above) else (above + below) / 2
    holds = bool(interval.low > above and interval.high < below)
    return Case(part, where, interval, effect_size(values, null=null), holds)


def _per_seed(part: Part, results: xr.Dataset) -> xr.DataArray:
    """The statistic of a part for each seed and case, dimensions seed and cases."""
    if "epoch" in results.dims:
        results = results.isel(epoch=-1)
    measures = [part.measure] if isinstance(part.measure, str) else list(part.measure)
    present = results[measures[0]].dims
    chosen = results.sel({name: list(labels) for name, labels in part.select.items() if name in present})
    statistic = STATISTICS[part.statistic]
    values = statistic(chosen, measures[0])
    for other in measures[1:]:
        values = values - statistic(chosen, other)
    for name, (first, second) in part.contrast.items():
        values = values.sel({name: first}, drop=True) - values.sel({name: second}, drop=True)
    return values.mean([d for d in values.dims if d != "seed" and d not in part.cases]).transpose("seed", ...)


# The statistics. Each takes results and the name of a measure and returns one number for each seed and each
# of the remaining dimensions.


def _line(values: xr.DataArray) -> xr.DataArray:
    """Least-squares line over entanglement, evaluated everywhere: coefficients by degree."""
    return values.polyfit("entanglement", 1)["polyfit_coefficients"]


def slope(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Least-squares slope over entanglement, units of the measure per radian."""
    return _line(results[measure]).sel(degree=1, drop=True)


def departure(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Distance of the value at the highest entanglement from the line through the others."""
    values = results[measure].sortby("entanglement")
    line = _line(values.isel(entanglement=slice(None, -1)))
    last = values.isel(entanglement=-1)
    expected = line.sel(degree=0, drop=True) + line.sel(degree=1, drop=True) * last["entanglement"]
    return abs(last - expected).drop_vars("entanglement")


def roughness(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Root mean square distance from the least-squares line over entanglement."""
    values = results[measure]
    line = _line(values)
    expected = line.sel(degree=0, drop=True) + line.sel(degree=1, drop=True) * values["entanglement"]
    return ((values - expected) ** 2).mean("entanglement") ** 0.5


def rise(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Value at the highest entanglement less the one at the lowest."""
    values = results[measure].sortby("entanglement")
    return values.isel(entanglement=-1, drop=True) - values.isel(entanglement=0, drop=True)


def relative_rise(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Rise from the lowest to the highest entanglement as a share of the value at the lowest."""
    lowest = results[measure].sortby("entanglement").isel(entanglement=0, drop=True)
    return rise(results, measure) / lowest


def rank_trend(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Spearman's rank correlation of the measure with entanglement."""
    values = results[measure].transpose(..., "entanglement")
    ranks = stats.rankdata(values, axis=-1)
    grid = stats.rankdata(values["entanglement"])
    ranks, grid = ranks - ranks.mean(axis=-1, keepdims=True), grid - grid.mean()
    spread = np.sqrt((ranks**2).sum(axis=-1) * (grid**2).sum())
    correlation = (ranks * grid).sum(axis=-1) / np.where(spread > 0, spread, 1.0)
    return values.isel(entanglement=0, drop=True).copy(data=correlation)


def lead_of_last(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Value of the last layer less the largest of the layers before it."""
    values = results[measure]
    before = values.isel(layer=slice(None, -1)).max("layer")
    return values.isel(layer=-1, drop=True) - before


def last_is_largest(results: xr.Dataset, measure: str) -> xr.DataArray:
    """1 where the last layer has the largest value, else 0."""
    return (lead_of_last(results, measure) > 0).astype(float)


def share_outlying(results: xr.Dataset, measure: str) -> xr.DataArray:
    """1 where the value is at least `OUTLIER`, else 0."""
    return (results[measure] >= OUTLIER).astype(float)


def share_due_to_smallest(results: xr.Dataset, measure: str) -> xr.DataArray:
    """Share of the variance of log(|λmax|/|λmin|) due to |λmin|, over layers and entanglements.

    With c = log |λmax| − log |λmin|, var(c) = cov(log |λmax|, c) + cov(−log |λmin|, c); this is the second
    term as a share of the whole.
    """
    dims = ["layer", "entanglement"]
    condition: xr.DataArray = xr.apply_ufunc(np.log, results[measure])
    smallest: xr.DataArray = -xr.apply_ufunc(np.log, results["eigenvalue_min"])
    covariance = ((condition - condition.mean(dims)) * (smallest - smallest.mean(dims))).mean(dims)
    return covariance / condition.var(dims)


def mean(results: xr.Dataset, measure: str) -> xr.DataArray:
    """The measure itself."""
    return results[measure]


STATISTICS: Mapping[str, Callable[[xr.Dataset, str], xr.DataArray]] = {
    function.__name__: function
    for function in (
        slope,
        departure,
        roughness,
        rise,
        relative_rise,
        rank_trend,
        lead_of_last,
        last_is_largest,
        share_outlying,
        share_due_to_smallest,
        mean,
    )
}


def beside_reported(claim: Claim, values: xr.DataArray) -> pd.DataFrame:
    """Return our means with their 95 % intervals beside the study's numbers, for a claim that has a table.

    Args:
        claim: a claim whose ``reported`` has entanglements and a row of numbers for each layer.
        values: dimensions entanglement, layer and seed.

    Returns:
        One row for each layer and source, one column for each entanglement.
    """
    rows: dict[tuple[str, str], list[str]] = {}
    entanglements = claim.reported["entanglement"]
    for layer, numbers in claim.reported["layer"].items():
        rows[f"L{layer}", "study"] = [f"{number:.2f}" for number in numbers]
        rows[f"L{layer}", "ours"] = [
            f"{bootstrap_interval(values.sel(layer=layer, entanglement=entanglement)):.2f}"
            for entanglement in entanglements
        ]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=entanglements)
    table.index = pd.MultiIndex.from_tuples(list(rows), names=["layer", "source"])
    return table.rename_axis(columns="entanglement")


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as an HTML table for a notebook: claim, reported, ours, verdict.

    ``ours`` lists each part with what was expected, and each of its cases with mean and 95 % interval, marked ✓ where
    it holds and ✗ where it does not.
    """
    head = "".join(
        f"<th scope='col'>{name}</th>" for name in ("claim", "reported", "ours: mean [95 % interval]", "verdict")
    )
    rows = "".join(_verdict_row(verdict) for verdict in verdicts)
    return (
        "<div class='verdicts' tabindex='0' role='region' aria-label='Verdicts'><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _verdict_row(v: Verdict) -> str:
    parts = []
    for part in v.claim.parts:
        cases = "".join(_case_item(case) for case in v.cases if case.part is part)
        wanted = " and ".join(f"{side} {bound:g}".replace("-", "−") for side, bound in part.expect.items())
        label = part.label[:1].upper() + part.label[1:]
        parts.append(f"<p>{label}; expected {wanted}</p><ul>{cases}</ul>")
    n_seeds = f"{v.cases[0].interval.n} seeds; " if v.cases else ""
    kind = v.verdict.replace(" ", "-")
    return (
        f"<tr><th scope='row'><span class='claim-id'>{v.claim.id}</span> {v.claim.statement}</th>"
        f"<td>{v.claim.reported['text']} <small>({v.claim.place})</small></td>"
        f"<td>{''.join(parts) if v.cases else v.reason}</td>"
        f"<td><strong class='verdict {kind}'>{v.verdict}</strong> <small>{n_seeds}{v.reason}</small></td></tr>"
    )


def _case_item(case: Case) -> str:
    named = [str(value) if name == "activation" else f"{name} {value}" for name, value in case.where.items()]
    where = f"{', '.join(named)}: " if named else ""
    mark = "<span class='holds' title='holds'>✓</span>" if case.holds else "<span class='fails' title='fails'>✗</span>"
    return f"<li>{mark} {where}{case.interval:.3g}</li>"
