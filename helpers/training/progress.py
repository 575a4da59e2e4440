"""How far training is, for those who wait."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from typing import Any

from tqdm.auto import tqdm


def progress_bar(total: int, title: str, unit: str, shown: bool | None) -> AbstractContextManager[Any]:
    """Return a bar on the error stream; by default shown only to a person who waits, after two seconds."""
    if shown is None:
        # Jupyter's server names the notebook to the kernels it starts for people; papermill and nbval do not.
        shown = sys.stderr.isatty() or "JPY_SESSION_NAME" in os.environ
    bar: AbstractContextManager[Any] = tqdm(total=total, desc=title, unit=unit, delay=2, disable=not shown, leave=False)
    return bar
