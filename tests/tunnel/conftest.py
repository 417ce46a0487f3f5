"""Fixtures for the tunnel's tests."""

from __future__ import annotations

import pytest

from tunnel import pool, terminal


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows whose path is gone are given up almost at once, at both ends."""
    monkeypatch.setattr(terminal, "ORPHAN_S", 0.2)
    monkeypatch.setattr(pool, "ORPHAN_S", 0.2)
    monkeypatch.setattr(pool, "MOVE_TRIES", 1)
