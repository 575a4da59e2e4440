"""Files that are written whole or not at all, and YAML that says nothing twice."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml


@contextmanager
def replacing(name: str, path: str | Path) -> Iterator[Path]:
    """Give a temporary file beside ``path`` that takes its place once the block has ended well.

    Args:
        name: the argument that holds the path, for the error.
        path: the file to write; its folder must exist.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{name} must lie in an existing folder, got {str(path)!r}.")
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    try:
        yield Path(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, but for keys that occur twice: of these it would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} occurs twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path | Traversable) -> Any:
    """Return what a YAML file says.

    Raises:
        ValueError: the file is no YAML, or a key occurs twice in one mapping.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} must be YAML, but cannot be read: {' '.join(str(error).split())}.") from None
