"""What waits on the control streams of all links: how often it is counted, and which links go."""

from __future__ import annotations

import pytest

from tunnel import unread
from tunnel.unread import Unread

STEP = 100
MOST = 1000


class Waiting:
    """A link on which so much waits."""

    def __init__(self, links: list[Waiting], size: int) -> None:
        self._links = links
        self._size = size
        self.counted = 0
        links.append(self)

    @property
    def unread_bytes(self) -> int:
        self.counted += 1
        return self._size

    def fail(self, why: str) -> None:
        assert why == "control queues"
        self._links.remove(self)


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> list[Waiting]:
    monkeypatch.setattr(unread, "QUEUE_STEP", STEP)
    monkeypatch.setattr(unread, "UNREAD_BYTES", MOST)
    return []


def test_nothing_goes_within_the_bound(links: list[Waiting]) -> None:
    for size in (0, 400, 600):
        Waiting(links, size)
    Unread(links).wrote(STEP)
    assert len(links) == 3


def test_those_on_which_most_waits_go_and_no_more_than_must(links: list[Waiting]) -> None:
    few, most, much, less = (Waiting(links, size) for size in (10, 900, 700, 600))
    Unread(links).wrote(STEP)
    assert links == [few, less]
    assert most not in links
    assert much not in links


def test_links_are_walked_over_once_for_each_step(links: list[Waiting]) -> None:
    one, bounded = Waiting(links, 1), Unread(links)
    for _ in range(10 * STEP):
        bounded.wrote(1)
    assert one.counted == 10
