"""Sphinx extension: lets the docstrings of `helpers` stay plain text with `code` in single backticks.

Sphinx reads docstrings as reStructuredText, where |x| asks for a substitution and `x` is emphasis.
"""

import re
from typing import Any

from sphinx.application import Sphinx

CODE = re.compile(r"(?<![:`])`([^`]+)`(?!`)")


def process(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Rewrite the lines of one docstring in place."""
    parts = [re.split(r"(``[^`]+``)", CODE.sub(r"``\1``", line)) for line in lines]
    lines[:] = ["".join(p if p.startswith("``") else p.replace("|", r"\|") for p in line) for line in parts]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx, ahead of napoleon, which turns the sections into field lists."""
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"parallel_read_safe": True}
