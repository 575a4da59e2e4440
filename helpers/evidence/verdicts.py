"""Verdicts: claims decided from results by their own rules, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import xarray as xr

from helpers.evidence.claim_statistics import STATISTICS
from helpers.evidence.claims import AS_CODED, AS_WRITTEN, Claim, Part, Reading, load_claims
from helpers.evidence.comparisons import effect_size, holm, one_sided_p
from helpers.evidence.intervals import Interval, bootstrap_interval, share_interval
from helpers.names import caption

Outcome = Literal["reproduced", "partly", "not reproduced", "cannot be tested"]
REPRODUCED: Final = "reproduced"
PARTLY: Final = "partly"
NOT_REPRODUCED: Final = "not reproduced"
CANNOT: Final = "cannot be tested"
# One side of a 95 % interval.
ALPHA = 0.025


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
    protocol: Reading
    verdict: Outcome
    reason: str
    cases: tuple[Case, ...]

    @property
    def n_corrected(self) -> int:
        """Cases that hold and would if all cases of the claim were one family, by Holm's correction."""
        adjusted = holm([case.p for case in self.cases])
        return sum(case.holds and p <= ALPHA for case, p in zip(self.cases, adjusted, strict=True))

    @property
    def row_id(self) -> str:
        """Name of its row in the table of its chapter, to link to."""
        return self.claim.id + ("-as-coded" if self.protocol == AS_CODED else "")

    def case(self, number: int, digits: int = 2, *, scale: float = 1.0) -> str:
        """Return the interval of one case as text, ``mean [low, high]``.

        Args:
            number: of the case, from 0, in the order of the claim's parts and cases.
            digits: after the point.
            scale: what to multiply by, e.g. 100 for percent.

        Raises:
            ValueError: there is no such case.
        """
        if not 0 <= number < len(self.cases):
            raise ValueError(f"number must be from 0 to {len(self.cases) - 1} for {self.claim.id}, got {number!r}.")
        return f"{self.cases[number].interval.scaled(scale):.{digits}f}"

    def __str__(self) -> str:
        return f"{self.claim.id}  {self.protocol}  {self.verdict:16s}  {self.reason}"


@dataclass(frozen=True, repr=False)
class Verdicts:
    """Verdicts to look up by the claim's id: a line of text each where printed, a table where a notebook shows them.

    Attributes:
        verdicts: in the order of the claims.
    """

    verdicts: tuple[Verdict, ...]

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self.verdicts)

    def __len__(self) -> int:
        return len(self.verdicts)

    def __getitem__(self, key: str | tuple[str, Reading]) -> Verdict:
        """Return the verdict on a claim of the study as written, or under the protocol named beside its id."""
        id, protocol = (key, AS_WRITTEN) if isinstance(key, str) else key
        for verdict in self.verdicts:
            if (verdict.claim.id, verdict.protocol) == (id, protocol):
                return verdict
        known = ", ".join(dict.fromkeys(verdict.claim.id for verdict in self.verdicts))
        raise KeyError(f"verdicts are on {known}, got {id!r} {protocol}.")

    def __repr__(self) -> str:
        return "\n".join(str(verdict) for verdict in self.verdicts)

    def _repr_html_(self) -> str:
        """Claim, reported, ours, verdict: each part with what was expected, each case marked ✓ where it holds, or ✗."""
        names = ("claim", "reported", "ours: mean [95 % interval]", "verdict")
        head = "".join(f"<th scope='col'>{name}</th>" for name in names)
        return (
            "<div class='verdicts' tabindex='0' role='region' aria-label='Verdicts'><table>"
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(map(_row, self.verdicts))}</tbody></table></div>"
        )


def judge_all(results: Mapping[str, xr.Dataset], *, quick: bool = False) -> Verdicts:
    """Judge every claim that these results decide, under every protocol it knows, in the order of the claims.

    Args:
        results: labelled arrays by name; those that decide no claim are passed over.
        quick: be content with as many seeds as the claims ask of the preset quick.

    Raises:
        ValueError: no claim belongs to any of the results.
    """
    claims = [claim for claim in load_claims().values() if claim.results in results]
    if not claims:
        raise ValueError(f"results must be named by a claim, got {list(results)}.")
    return Verdicts(
        tuple(
            judge(claim, results[claim.results], protocol, quick=quick)
            for claim in claims
            for protocol in claim.protocols
        )
    )


def judge(claim: Claim, results: xr.Dataset, protocol: Reading = AS_WRITTEN, *, quick: bool = False) -> Verdict:
    """Judge a claim from results, by its own rule.

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
            cases.append(_judge_case(part, where, column.to_numpy()))
    n_holding = sum(case.holds for case in cases)
    verdict: Outcome = REPRODUCED if n_holding == len(cases) else PARTLY if n_holding else NOT_REPRODUCED
    return Verdict(claim, protocol, verdict, f"{n_holding} of {len(cases)} cases hold", tuple(cases))


def _judge_case(part: Part, where: Mapping[str, Any], values: np.ndarray[Any, Any]) -> Case:
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


def _row(v: Verdict) -> str:
    parts = []
    for part in (part for part in v.claim.parts if part.protocol == v.protocol):
        cases = "".join(_case_item(case) for case in v.cases if case.part is part)
        wanted = " and ".join(f"{side} {bound:g}".replace("-", "−") for side, bound in part.expect.items())
        label = part.label[:1].upper() + part.label[1:]
        parts.append(f"<p>{label}; expected {wanted}</p><ul>{cases}</ul>")
    protocol = f" <em>{v.protocol}:</em>" if len(v.claim.protocols) > 1 else ""
    n_seeds = f"{v.cases[0].interval.n} seeds; " if v.cases else ""
    kind = v.verdict.replace(" ", "-")
    return (
        f"<tr id='{v.row_id}'><th scope='row'><span class='claim-id'>{v.claim.id}</span>{protocol} "
        f"{v.claim.statement}</th>"
        f"<td>{v.claim.reported['text']} <small>({v.claim.place})</small></td>"
        f"<td>{''.join(parts) if v.cases else v.reason}</td>"
        f"<td><strong class='verdict {kind}'>{v.verdict}</strong> <small>{n_seeds}{v.reason}</small></td></tr>"
    )


def _case_item(case: Case) -> str:
    where = ", ".join(caption(name, label) for name, label in case.where.items())
    mark = "<span class='holds' title='holds'>✓</span>" if case.holds else "<span class='fails' title='fails'>✗</span>"
    return f"<li>{mark} {where}{': ' if where else ''}{case.interval:.3g}</li>"
