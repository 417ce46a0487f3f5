"""What a path does not hide because it is short, in words."""

from __future__ import annotations

from typing import Final

_SENTENCES: Final = {
    1: "one hop: the exit sees both who you are and where you go. It hides you from sites and from your provider only.",
    2: "two hops: guard and exit know each other. Who runs or watches both learns who you are and where you go.",
}


def not_hidden(hops: int) -> str:
    """Say what a path of so many hops does not hide that one of three would.

    Args:
        hops: 1 to 5.

    Returns:
        A phrase; empty from three hops on.
    """
    return _SENTENCES.get(hops, "")
