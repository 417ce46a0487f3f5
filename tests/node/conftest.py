"""What the tests of several commands use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from node import system_proxy
from tests.harness.desk import Desk
from tests.node.commands import Started

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    return Started(monkeypatch)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The only place of the system's proxy settings in this session."""
    found = Desk(tmp_path)
    monkeypatch.setattr(system_proxy, "default_home", lambda: tmp_path)
    monkeypatch.setattr(system_proxy, "places_here", lambda: ("gnome",))
    monkeypatch.setattr(system_proxy, "PLACES", {"gnome": lambda: found})
    return found
