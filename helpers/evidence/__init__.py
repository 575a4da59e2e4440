"""From labelled results to verdicts: intervals, comparisons, claims, tables, the report; how results are kept.

Knows nothing of networks: whatever has a dimension `seed` can be judged. `claims` are data, with a file for each
chapter; `verdicts` judges them; `tables` and `report` are there to be read; `results` keeps what was computed.
"""

from helpers.evidence import claims, results
from helpers.evidence.claims import Claim, load_claims
from helpers.evidence.comparisons import (
    comparisons,
    effect_size,
    holm,
    one_sided_p,
    probability_of_improvement,
    rank_correlation,
)
from helpers.evidence.intervals import (
    Interval,
    bootstrap_interval,
    interquartile_mean,
    interval,
    interval_over,
    paired_interval,
    share_interval,
)
from helpers.evidence.report import Report, load_report
from helpers.evidence.tables import quoted, table
from helpers.evidence.verdicts import Verdict, Verdicts, judge, judge_all

__all__ = [
    "Claim",
    "Interval",
    "Report",
    "Verdict",
    "Verdicts",
    "bootstrap_interval",
    "claims",
    "comparisons",
    "effect_size",
    "holm",
    "interquartile_mean",
    "interval",
    "interval_over",
    "judge",
    "judge_all",
    "load_claims",
    "load_report",
    "one_sided_p",
    "paired_interval",
    "probability_of_improvement",
    "quoted",
    "rank_correlation",
    "results",
    "share_interval",
    "table",
]
