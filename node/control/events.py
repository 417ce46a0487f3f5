"""Server-sent events: the status whenever it has changed, and each second what the node's own flows did.

Source: HTML Living Standard, section 9.2 (server-sent events).
"""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from core.tasks import Tasks
from node.control.refused import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.control.access import Caller
    from node.control.controlled import Controlled

MAX_LISTENERS: Final = 16
MAX_WAITING: Final = 8
"""Events that wait for one listener. Who has not taken the one before them in four seconds is gone, or hostile."""
TICK_S: Final = 0.5
TICKS_OF_A_SECOND: Final = 2
SEND_BUFFER_BYTES: Final = 16 << 10
"""What the system holds for a listener who does not read; what this program holds comes on top (64 KiB in aiohttp)."""

_RESTLESS: Final = frozenset({"speed", "late_ms"})
"""Keys of the status that are not the same twice; a change of them alone is not worth an event."""
_END: Final = b""


@dataclass(eq=False, slots=True)
class _Listener:
    caller: Caller
    request: web.Request
    waiting: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(MAX_WAITING))

    def tell(self, event: bytes) -> None:
        """Pass an event on, or end the connection of one who does not keep up."""
        try:
            self.waiting.put_nowait(event)
        except asyncio.QueueFull:
            if self.request.transport is not None:
                self.request.transport.abort()


class Events:
    """Those who listen to one node.

    Args:
        node: which.
        knows: whether a caller's token still counts; who has lost it hears nothing more.
    """

    def __init__(self, node: Controlled, knows: Callable[[Caller], bool]) -> None:
        self._node = node
        self._knows = knows
        self._listeners: set[_Listener] = set()
        self._tasks = Tasks()
        self._status = b""

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def looking(self) -> bool:
        """Whether the node is looked at."""
        return bool(len(self._tasks))

    async def listen(self, request: web.Request, caller: Caller, headers: dict[str, str]) -> web.StreamResponse:
        """Answer one listener until it goes, is told to, or does not keep up.

        Raises:
            RefusedError: too many listen.
        """
        if len(self._listeners) >= MAX_LISTENERS:
            raise RefusedError(429, f"{MAX_LISTENERS} programs or pages listen already. Close one.")
        listener = _Listener(caller, request)
        self._listeners.add(listener)
        answer = web.StreamResponse(headers=headers | {"Content-Type": "text/event-stream"})
        try:
            _hold_little(request)
            await answer.prepare(request)
            status = self._node.status()
            listener.tell(_event("status", status))
            if not self.looking:
                self._status = _settled(status)
                self._tasks.spawn(self._tick(), "events")
            with suppress(ConnectionError):  # it is gone
                while (event := await listener.waiting.get()) != _END:
                    await answer.write(event)
        finally:
            self._listeners.discard(listener)
        return answer

    async def close(self) -> None:
        """Send everybody away."""
        await self._tasks.cancel()
        for listener in list(self._listeners):
            listener.tell(_END)

    async def _tick(self) -> None:
        """Look at the node for as long as anybody listens."""
        ticks = 0
        while self._listeners:
            await asyncio.sleep(TICK_S)
            ticks += 1
            self._look(second=ticks % TICKS_OF_A_SECOND == 0)

    def _look(self, *, second: bool) -> None:
        events = []
        status = self._node.status()
        if (settled := _settled(status)) != self._status:
            self._status = settled
            events.append(_event("status", status))
        if second:
            events.append(_event("second", self._node.second()))
        for listener in list(self._listeners):
            for event in events if self._knows(listener.caller) else [_END]:
                listener.tell(event)


def _event(name: str, value: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(value)}\n\n".encode()


def _settled(status: dict[str, Any]) -> bytes:
    return json.dumps({key: value for key, value in status.items() if key not in _RESTLESS}).encode()


def _hold_little(request: web.Request) -> None:
    sock = request.transport.get_extra_info("socket") if request.transport is not None else None
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
