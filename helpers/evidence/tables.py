"""Verdicts and results as tables to read."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import xarray as xr

from helpers.evidence.claims import AS_CODED, Case, Claim, Verdict
from helpers.evidence.intervals import bootstrap_interval


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


def verdict_lines(verdicts: Sequence[Verdict]) -> str:
    """Return one line of text for each verdict: claim, protocol, verdict, and how many of its cases hold."""
    return "\n".join(f"{v.claim.id}  {v.protocol}  {v.verdict:16s}  {v.reason}" for v in verdicts)


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


def row_id(verdict: Verdict) -> str:
    """Name of a verdict's row in the table of its chapter, to link to."""
    return verdict.claim.id + ("-as-coded" if verdict.protocol == AS_CODED else "")


def _verdict_row(v: Verdict) -> str:
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
        f"<tr id='{row_id(v)}'><th scope='row'><span class='claim-id'>{v.claim.id}</span>{protocol} "
        f"{v.claim.statement}</th>"
        f"<td>{v.claim.reported['text']} <small>({v.claim.place})</small></td>"
        f"<td>{''.join(parts) if v.cases else v.reason}</td>"
        f"<td><strong class='verdict {kind}'>{v.verdict}</strong> <small>{n_seeds}{v.reason}</small></td></tr>"
    )


def _case_item(case: Case) -> str:
    named = [str(value) if name == "activation" else f"{name} {value}" for name, value in case.where.items()]
    where = f"{', '.join(named)}: " if named else ""
    mark = "<span class='holds' title='holds'>✓</span>" if case.holds else "<span class='fails' title='fails'>✗</span>"
    return f"<li>{mark} {where}{case.interval:.3g}</li>"
