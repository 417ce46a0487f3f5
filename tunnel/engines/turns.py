"""Small writes of one turn of the event loop, joined by stream.

Handing bytes to the engine's thread costs a system call that wakes it, and the end of a stream that goes alone costs a
packet. A flow that begins or ends writes several times in one turn, and a hop often has something for many flows.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL_BYTES: Final = 4096
"""What a stream may have waiting for the end of the turn is below this. More is worth a call of its own."""


class Turns:
    """The turns of all connections of an engine. What they hold is passed on before the event loop waits again."""

    def __init__(self) -> None:
        self._begun: list[Turn] = []
        self._inside = False

    def begun(self, turn: Turn) -> None:
        """`turn` holds something."""
        if not self._begun and not self._inside:
            asyncio.get_running_loop().call_soon(self.end)
        self._begun.append(turn)

    def run(self, work: Callable[[], None]) -> None:
        """Do `work`, which writes to many connections, and pass on what it wrote. Does not nest."""
        self._inside = not self._begun
        try:
            work()
        finally:
            if self._inside:
                self._inside = False
                self.end()

    def end(self) -> None:
        """Pass everything on."""
        begun, self._begun = self._begun, []
        for turn in begun:
            turn.end()


class Turn:
    """What one connection has written in this turn.

    Args:
        turns: the engine's.
        pass_on: takes stream, bytes, and whether they are the last; does not raise.
    """

    def __init__(self, turns: Turns, pass_on: Callable[[int, bytes, bool], bool]) -> None:
        self._turns = turns
        self._pass_on = pass_on
        self._held: dict[int, tuple[bytes, bool]] = {}

    def write(self, stream: int, data: bytes, end: bool) -> bool:
        """Hold the bytes until the turn is over, or pass them on now if they are many; in order on each stream.

        What comes after the end of its stream is dropped.

        Returns:
            False when `pass_on` has said so.
        """
        held = self._held
        if (earlier := held.get(stream)) is not None:
            if earlier[1]:
                return True
            del held[stream]
            data = earlier[0] + data
        if len(data) >= SMALL_BYTES:
            return self._pass_on(stream, data, end)
        if not held:
            self._turns.begun(self)
        held[stream] = data, end
        return True

    def settle(self, stream: int) -> None:
        """Pass on what is held for a stream: it is about to be cut off, and QUIC must have heard of it to say so."""
        if (held := self._held.pop(stream, None)) is not None:
            self._pass_on(stream, *held)

    def end(self) -> None:
        """Pass on what is held, streams in the order in which they wrote last."""
        held, self._held = self._held, {}
        for stream, (data, end) in held.items():
            self._pass_on(stream, data, end)
