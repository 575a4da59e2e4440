"""Explorers as a page has them, and as a notebook with a kernel behind it has them."""

import pytest


@pytest.fixture
def frames(monkeypatch):
    monkeypatch.setenv("EXPLORERS", "frames")


@pytest.fixture
def live(monkeypatch):
    monkeypatch.delenv("EXPLORERS", raising=False)
