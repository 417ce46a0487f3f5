"""Whether a neighbour's event loop runs: it is asked by PING while somebody waits for it, and answers PONG.

QUIC's own keep-alives come from a thread that runs on when the event loop hangs, so they say nothing here.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from core.errors import LinkError, Reason
from tunnel.limits import LINK_SILENT_S, NEIGHBOUR_S, WATCH_EVERY_S
from tunnel.silence import Silence

if TYPE_CHECKING:
    from collections.abc import Callable


class Watch:
    """The watch over one neighbour.

    Args:
        send_ping: sends PING with a token of 64 bits.
        on_lost: called once, when the neighbour was silent for so long that the link is worth nothing.

    Attributes:
        silence: tell it `heard_at` whenever bytes come.
        rtt_s: how long the last answer took; None before the first.
    """

    def __init__(self, send_ping: Callable[[int], None], on_lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.silence = Silence(self._loop.time())
        self._send_ping = send_ping
        self._on_lost = on_lost
        self._token = 0
        self._pinged_at = -WATCH_EVERY_S
        self._waiting = 0
        self._fell_silent: asyncio.Future[None] = self._loop.create_future()
        self._verdict_at: float | None = None
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._closed = False
        self.rtt_s: float | None = None

    @property
    def silent(self) -> bool:
        """Whether the neighbour was found silent and has not been heard since."""
        return self._verdict_at is not None and self.silence.heard_at <= self._verdict_at

    def ask(self) -> None:
        """Ask the neighbour for a sign of life, unless it was asked a moment ago."""
        now = self._loop.time()
        if self.silence.asked_at is not None or now - self._pinged_at < WATCH_EVERY_S:
            return
        self._token = secrets.randbits(64)
        self._pinged_at = now
        self.silence.asked(now)
        self._send_ping(self._token)
        self._plan()

    def answered(self, token: int) -> bool:
        """PONG came; False when it answers nothing."""
        if self.silence.asked_at is None or token != self._token:
            return False
        now = self._loop.time()
        self.rtt_s = now - self._pinged_at
        self.silence.answered(now)
        self._plan()
        return True

    async def until[T](self, answer: asyncio.Future[T], limit_s: float) -> T:
        """Wait for the neighbour's answer to something, but no longer than it shows signs of life.

        Raises:
            LinkError: the neighbour is silent.
            TimeoutError: it lives and did not answer in time.
        """
        if self.silent:
            raise LinkError(Reason.NEXT_HOP)
        self._waiting += 1
        self.ask()
        self._plan()
        try:
            await asyncio.wait((answer, self._fell_silent), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting -= 1
        if answer.done():
            return answer.result()
        if self.silent or self._closed:
            raise LinkError(Reason.NEXT_HOP)
        raise TimeoutError

    def close(self) -> None:
        """The link is over."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._release()

    # -- the timer

    def _plan(self) -> None:
        if self._closed:
            return
        due = self._due()
        if self._timer is not None:
            if due is not None and self._timer_at <= due:
                return  # it comes sooner, looks, and plans again
            self._timer.cancel()
            self._timer = None
        if due is not None:
            # The time is kept here: a loop may return a handle without one for what is due already.
            self._timer, self._timer_at = self._loop.call_at(due, self._look, due), due

    def _due(self) -> float | None:
        since = self.silence.since
        if since is not None:
            return since + (LINK_SILENT_S if self.silent else NEIGHBOUR_S)
        return self._pinged_at + WATCH_EVERY_S if self._waiting else None

    def _look(self, planned: float) -> None:
        self._timer = None
        now = self._loop.time()
        self.silence.overslept(planned, now)
        lasted = self.silence.lasted(now)
        if self.silence.since is None:
            if self._waiting:
                self.ask()
        elif self.silent and lasted >= LINK_SILENT_S:
            self._on_lost()
        elif not self.silent and lasted >= NEIGHBOUR_S:
            self._verdict_at = now
            self._release()
        self._plan()

    def _release(self) -> None:
        """Wake all who wait."""
        fell_silent, self._fell_silent = self._fell_silent, self._loop.create_future()
        fell_silent.set_result(None)
