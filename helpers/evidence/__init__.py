"""From labelled results to verdicts: intervals, comparisons, claims, tables, the report; how results are kept.

Knows nothing of networks: whatever has a dimension `seed` can be decided.
"""

from helpers.evidence.claims import Case, Claim, Part, Verdict, decide, decide_all, load_claims
from helpers.evidence.comparisons import comparisons, rank_correlation
from helpers.evidence.intervals import (
    Interval,
    bootstrap_interval,
    effect_size,
    holm,
    interquartile_mean,
    interval_over,
    one_sided_p,
    paired_interval,
    probability_of_improvement,
    share_interval,
)
from helpers.evidence.report import (
    Report,
    as_html,
    as_json,
    as_text,
    cost,
    counts,
    decisive,
    described,
    explained,
    load_report,
    reasons,
    rows,
)
from helpers.evidence.tables import beside_reported, row_id, verdict_lines, verdict_table

__all__ = [
    "Case",
    "Claim",
    "Interval",
    "Part",
    "Report",
    "Verdict",
    "as_html",
    "as_json",
    "as_text",
    "beside_reported",
    "bootstrap_interval",
    "comparisons",
    "cost",
    "counts",
    "decide",
    "decide_all",
    "decisive",
    "described",
    "effect_size",
    "explained",
    "holm",
    "interquartile_mean",
    "interval_over",
    "load_claims",
    "load_report",
    "one_sided_p",
    "paired_interval",
    "probability_of_improvement",
    "rank_correlation",
    "reasons",
    "row_id",
    "rows",
    "share_interval",
    "verdict_lines",
    "verdict_table",
]
