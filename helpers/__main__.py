"""The command line: ``python -m helpers claims --format json|table`` prints every claim with its verdict."""

from __future__ import annotations

import argparse
from pathlib import Path

from helpers.evidence import report

RESULTS = Path(__file__).parents[1] / "results"


def main(arguments: list[str] | None = None) -> None:
    """Do what the command line asks; what cannot be done is one sentence and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m helpers", description="What the book's results say.")
    commands = parser.add_subparsers(dest="command", required=True)
    claims = commands.add_parser("claims", help="print every claim of the studies with its verdict")
    claims.add_argument("--format", choices=["table", "json"], default="table")
    claims.add_argument("--results", type=Path, help="folder with the results (default: those of the checkout)")
    claims.add_argument("--quick", action="store_true", help="the results are of the preset quick: few seeds will do")
    chosen = parser.parse_args(arguments)
    folder = chosen.results or RESULTS
    if not folder.is_dir():
        parser.error(
            f"--results must be a folder, and there is none at {str(folder)!r}."
            if chosen.results
            else "--results must be given: the results lie in the book's repository, and this is the module alone."
        )
    try:
        decided = report.load_report(folder, quick=chosen.quick)
    except ValueError as error:
        parser.error(str(error))
    print(report.as_json(decided) if chosen.format == "json" else report.as_text(decided))


if __name__ == "__main__":
    main()
