"""What the tests of several commands use."""

from __future__ import annotations

import pytest

from tests.node.commands import Started


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    return Started(monkeypatch)
