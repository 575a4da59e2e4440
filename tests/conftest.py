"""What several tests need."""

import pytest
from references import look_for_a_compiler

from helpers.models import kernel


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty folder of built kernels, and no memory of the one in use."""
    monkeypatch.setattr(kernel, "user_cache_path", lambda *_, **__: tmp_path)
    kernel.library.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    kernel.library.cache_clear()
    look_for_a_compiler()
