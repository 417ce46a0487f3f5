"""What is said of short paths."""

from __future__ import annotations

from node.exposure import not_hidden


def test_only_short_paths_need_words() -> None:
    assert "the exit sees both who you are and where you go" in not_hidden(1)
    assert "guard and exit know each other" in not_hidden(2)
    assert [not_hidden(hops) for hops in (0, 3, 4, 5)] == [""] * 4
