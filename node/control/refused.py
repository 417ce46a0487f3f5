"""A refusal on its way to who asked."""

from __future__ import annotations

from core.errors import MacroVpnError


class RefusedError(MacroVpnError):
    """What was asked is not done.

    Args:
        status: of HTTP, 400 to 499.
        sentence: what happened, and what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
