"""Fixtures for the tunnel's tests."""

from __future__ import annotations

import pytest

from tunnel import credit, link, pulse, rescue, terminal, watch


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows whose path is gone are given up almost at once, at both ends."""
    monkeypatch.setattr(terminal, "ORPHAN_S", 0.2)
    monkeypatch.setattr(rescue, "ORPHAN_S", 0.2)


@pytest.fixture
def quick_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours and circuits are asked often, and found silent in tenths of a second."""
    monkeypatch.setattr(link, "PONGS_PER_S", 100)
    monkeypatch.setattr(watch, "WATCH_EVERY_S", 0.02)
    monkeypatch.setattr(watch, "NEIGHBOUR_S", 0.1)
    monkeypatch.setattr(watch, "LINK_SILENT_S", 0.3)
    monkeypatch.setattr(pulse, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(pulse, "UNEASY_S", 0.06)
    monkeypatch.setattr(pulse, "SUSPECT_S", 0.2)


@pytest.fixture
def first_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows begin with the same window however slow the machine makes the path look."""
    monkeypatch.setattr(credit, "GUESSED_RATE", 0)
