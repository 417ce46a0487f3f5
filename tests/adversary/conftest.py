"""Fixtures for the tests of hostile parties."""

from __future__ import annotations

import pytest

from tunnel import pulse, relay, toll, watch


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is taken for silent because the machine is busy: what is tried here must fail for another reason."""
    monkeypatch.setattr(watch, "NEIGHBOUR_S", 40.0)
    monkeypatch.setattr(watch, "LINK_SILENT_S", 50.0)
    monkeypatch.setattr(pulse, "SUSPECT_S", 50.0)
    monkeypatch.setattr(relay, "CREATION_S", 40.0)
    monkeypatch.setattr(toll, "PAYING_S", 40.0)
