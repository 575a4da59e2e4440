"""The build is a pair of scripts, not a package: let tests import them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "book"))
