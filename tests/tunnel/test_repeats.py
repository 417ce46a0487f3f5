from __future__ import annotations

from tunnel.repeats import Repeats


def test_what_came_before_is_not_new() -> None:
    seen = Repeats(3)
    assert [seen.is_new(mark) for mark in (b"1", b"2", b"1", b"2", b"3")] == [True, True, False, False, True]


def test_the_oldest_makes_room() -> None:
    seen = Repeats(2)
    assert all(seen.is_new(mark) for mark in (b"1", b"2", b"3"))
    assert [seen.is_new(mark) for mark in (b"2", b"3", b"1", b"3", b"2")] == [False, False, True, False, True]
