"""The replication report: one row for each claim and protocol, as text, as JSON, and as a table to sort and filter."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.evidence import results
from helpers.evidence.claims import AS_CODED, load_claims
from helpers.evidence.intervals import Interval
from helpers.evidence.verdicts import CANNOT, NOT_REPRODUCED, PARTLY, REPRODUCED, Case, Verdict, judge_all

STUDIES = {"slusarz2021": "spirals", "oursland2024": "clipping", "harrison2023": "dirty data"}


@dataclass(frozen=True)
class Report:
    """All verdicts with what made the results behind them.

    Attributes:
        verdicts: in the order of the claims' ids.
        made_by: provenance of each set of results, by name.
    """

    verdicts: tuple[Verdict, ...]
    made_by: Mapping[str, Mapping[str, Any]]

    def count(self, verdict: str) -> int:
        """Number of rows with this verdict."""
        return sum(row.verdict == verdict for row in self.verdicts)


def load_report(folder: str | Path, *, quick: bool = False) -> Report:
    """Judge every claim by the results in a folder; claims whose results are not there cannot be tested.

    Args:
        folder: with one netCDF file for each set of results.
        quick: whether the results are of the preset quick, of which fewer seeds will do.

    Raises:
        ValueError: a file is not whole.
    """
    verdicts: list[Verdict] = []
    made_by: dict[str, Mapping[str, Any]] = {}
    for name in dict.fromkeys(claim.results for claim in load_claims().values()):
        path = Path(folder) / f"{name}.nc"
        if path.is_file():
            stored = results.load(path)
            made_by[name] = results.made_by(stored)
            verdicts += judge_all({name: stored}, quick=quick)
        else:
            reason = f"there are no results {path.name}"
            verdicts += [
                Verdict(claim, protocol, CANNOT, reason, ())
                for claim in load_claims(name).values()
                for protocol in claim.protocols
            ]
    verdicts.sort(key=lambda verdict: verdict.claim.id)
    return Report(tuple(verdicts), made_by)


def decisive(verdict: Verdict) -> Case | None:
    """The case on which a verdict hangs: the one with the least room between its interval and its bounds.

    Room is measured in half widths of the interval, and negative where the case does not hold; None without cases.
    """
    return min(verdict.cases, key=_room, default=None)


def _room(case: Case) -> float:
    expect, interval = case.part.expect, case.interval
    room = min(interval.low - expect.get("above", -np.inf), expect.get("below", np.inf) - interval.high)
    half = (interval.high - interval.low) / 2
    if half > 0:
        return room / half
    return float(np.inf if case.holds else -np.inf)


def rows(report: Report) -> list[dict[str, Any]]:
    """Return the report as plain data.

    Returns:
        For each verdict id, study, protocol, statement, reported; of the decisive case statistic (in words), ours, low
        and high (its mean and 95 % interval), effect and n_seeds; how many cases there are, hold, and hold after
        correction; verdict and why.
    """
    return [_row(verdict) for verdict in report.verdicts]


def _row(verdict: Verdict) -> dict[str, Any]:
    claim, case = verdict.claim, decisive(verdict)
    return {
        "id": claim.id,
        "study": claim.study,
        "protocol": verdict.protocol,
        "statement": claim.statement,
        "reported": claim.reported["text"],
        "statistic": described(case) if case else "",
        "ours": case.interval.mean if case else None,
        "low": case.interval.low if case else None,
        "high": case.interval.high if case else None,
        "effect": case.effect if case and np.isfinite(case.effect) else None,
        "n_seeds": case.interval.n if case else None,
        "cases": len(verdict.cases),
        "hold": sum(case.holds for case in verdict.cases),
        "hold_corrected": verdict.n_corrected,
        "verdict": verdict.verdict,
        "why": explained(verdict),
    }


def described(case: Case) -> str:
    """A case in words: its part and its place."""
    where = ", ".join(f"{name} {value}" for name, value in case.where.items())
    return f"{case.part.label} ({where})" if where else case.part.label


def explained(verdict: Verdict) -> str:
    """The claim's reason for a verdict that differs from the study's, with our numbers filled in.

    Raises:
        ValueError: the reason names a case that there is not.
    """
    if verdict.verdict == CANNOT:
        return verdict.reason
    if verdict.verdict == REPRODUCED:
        return ""
    why = verdict.claim.why_as_coded if verdict.protocol == AS_CODED else verdict.claim.why
    intervals: list[Interval] = [case.interval for case in verdict.cases]
    try:
        return why.format(*intervals)
    except IndexError:
        raise ValueError(
            f"why must name cases from 0 to {len(intervals) - 1} for {verdict.claim.id}, got {why!r}."
        ) from None


def as_json(report: Report) -> str:
    """The rows as a JSON array; numbers as they are."""
    return json.dumps(rows(report), indent=2, ensure_ascii=False)


def as_text(report: Report) -> str:
    """The rows as a table for a terminal."""
    frame = pd.DataFrame(rows(report))
    for column in ("ours", "low", "high"):
        frame[column] = [f"{value:.3g}" if value is not None and not np.isnan(value) else "" for value in frame[column]]
    frame["n_seeds"] = [f"{n:.0f}" if n is not None and not np.isnan(n) else "" for n in frame["n_seeds"]]
    frame["reported"] = [text if len(text) <= 40 else text[:39] + "…" for text in frame["reported"]]
    shown = ["id", "protocol", "reported", "ours", "low", "high", "n_seeds", "verdict"]
    return str(frame[shown].to_string(index=False))


def as_html(report: Report, pages: Mapping[str, str]) -> str:
    """The rows as an HTML table, to be sorted and filtered by the script of the page.

    Args:
        report: the verdicts.
        pages: for each chapter its address, relative to the report's page.
    """
    heads = (("claim", "id"), ("reported", ""), ("ours", ""), ("effect", "number"), ("verdict", "rank"))
    cells = "".join(
        f"<th scope='col'><button type='button' data-sort='{kind}'>{name}</button></th>" if kind else f"<th>{name}</th>"
        for name, kind in heads
    )
    body = "".join(_html_row(verdict, pages) for verdict in report.verdicts)
    return (
        "<div class='verdicts report' tabindex='0' role='region' aria-label='All verdicts'><table>"
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


RANKS = {REPRODUCED: 0, PARTLY: 1, NOT_REPRODUCED: 2, CANNOT: 3}


def _html_row(verdict: Verdict, pages: Mapping[str, str]) -> str:
    claim, case, row = verdict.claim, decisive(verdict), _row(verdict)
    page = pages.get(claim.chapter)
    number = f"<a href='{page}#{verdict.row_id}'>{claim.id}</a>" if page else claim.id
    protocol = f" <em>{verdict.protocol}</em>" if len(claim.protocols) > 1 else ""
    ours, effect = "", ""
    if case:
        mark = "✓" if case.holds else "✗"
        ours = f"{mark} {case.interval:.3g} <small>{escape(row['statistic'])}; {case.interval.n} seeds</small>"
        effect = f"{case.effect:.2f}".replace("-", "−") if np.isfinite(case.effect) else "∞"
    counts = f"{row['hold']} of {row['cases']} cases hold, {row['hold_corrected']} after correction"
    kind = verdict.verdict.replace(" ", "-")
    return (
        f"<tr data-study='{STUDIES.get(claim.study, claim.study)}' data-verdict='{verdict.verdict}' "
        f"data-rank='{RANKS[verdict.verdict]}' data-number='{row['effect'] if row['effect'] is not None else ''}'>"
        f"<th scope='row'><span class='claim-id'>{number}</span>{protocol} {escape(claim.statement)} "
        f"<small>{STUDIES.get(claim.study, claim.study)}, {escape(claim.place)}</small></th>"
        f"<td>{escape(claim.reported['text'])}</td><td>{ours}</td><td class='effect'>{effect}</td>"
        f"<td><strong class='verdict {kind}'>{verdict.verdict}</strong> "
        f"<small>{counts if case else verdict.reason}</small></td></tr>"
    )


def counts(report: Report) -> str:
    """How many verdicts there are of each kind, and on how many claims, in one sentence of Markdown."""
    n_claims = len({verdict.claim.id for verdict in report.verdicts})
    kinds = [f"{report.count(kind)} {kind}" for kind in RANKS if report.count(kind)]
    return f"{len(report.verdicts)} verdicts on {n_claims} claims: {', '.join(kinds)}."


def reasons(report: Report, pages: Mapping[str, str]) -> str:
    """One paragraph of Markdown for each verdict that differs from the study's, with a link to where it is computed.

    Args:
        report: the verdicts.
        pages: for each chapter its address, relative to the report's page.
    """
    paragraphs = []
    for verdict in report.verdicts:
        text = explained(verdict)
        if text:
            page = pages.get(verdict.claim.chapter)
            link = f"<a href='{page}#{verdict.row_id}'>{verdict.claim.id}</a>" if page else verdict.claim.id
            protocol = f" {verdict.protocol}" if len(verdict.claim.protocols) > 1 else ""
            paragraphs.append(f"**{link}{protocol}, {verdict.verdict}.** {text}")
    return "\n\n".join(paragraphs)


def cost(report: Report) -> Sequence[str]:
    """One line of Markdown for each set of results: when, where and how long it was computed, and from what."""
    lines = []
    for name, made in report.made_by.items():
        minutes, machine = made["wall_seconds"] / 60, made["machine"]
        lines.append(
            f"* `{name}`: {minutes:.1f} minutes on {machine['cores']} cores ({machine['processor']}), "
            f"{made['finished'][:10]}, PyTorch {made['versions']['torch']}, "
            f"commit `{(made['commit'] or 'unknown')[:10]}`"
        )
    return lines
