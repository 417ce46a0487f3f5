"""What takes minutes of real time begins before the first test and is asked after the last."""

from __future__ import annotations

import pytest

from tests.interop.aged import Aged
from tests.interop.namespace import why_not

_AGED = pytest.StashKey[Aged]()


def _is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slow tests last."""
    items.sort(key=_is_slow)


def pytest_runtestloop(session: pytest.Session) -> None:
    """Start what they need at once, if one of them is going to run."""
    wanted = any("aged" in getattr(item, "fixturenames", ()) for item in session.items)
    if wanted and not session.config.option.collectonly and not why_not():
        session.config.stash[_AGED] = aged = Aged()
        session.config.add_cleanup(aged.stop)


@pytest.fixture
def aged(pytestconfig: pytest.Config) -> Aged:
    """The process in which a session gets old."""
    if reason := why_not():
        pytest.skip(reason)
    return pytestconfig.stash[_AGED]
