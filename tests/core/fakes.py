"""A flow that a test plays."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.errors import Reason
    from core.flow import Buffer, FlowListener


class FakeFlow:
    """Takes what it is told and remembers it. See `core.flow.Flow`.

    `room`: bytes that may be written before `write` says stop.
    """

    def __init__(self, room: int = 1 << 30) -> None:
        self.listener: FlowListener | None = None
        self.room = room
        self.written = bytearray()
        self.finished = 0
        self.reset_with: list[Reason] = []
        self.returned = 0

    def attach(self, listener: FlowListener) -> None:
        assert self.listener is None
        self.listener = listener

    def write(self, data: Buffer) -> bool:
        self.written += data
        return len(self.written) <= self.room

    def finish(self) -> None:
        self.finished += 1

    def reset(self, reason: Reason) -> None:
        self.reset_with.append(reason)

    def consumed(self, count: int) -> None:
        self.returned += count

    @property
    def heard(self) -> FlowListener:
        """The listener, for a test to tell something."""
        assert self.listener is not None
        return self.listener
