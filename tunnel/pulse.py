"""A circuit's pings, answered by the exit's event loop, and the moment at which its silence is too long.

A circuit that carries flows is pinged often, an idle one seldom. Whatever comes from the exit ends the silence; the
answer to a ping is only what must come when nothing else does.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Protocol

from core.errors import DecodeError
from tunnel.limits import DOUBTED_S, PING_EVERY_S, PING_IDLE_S, SUSPECT_S, UNEASY_S
from tunnel.silence import Silence

if TYPE_CHECKING:
    from collections.abc import Callable


class PulseOwner(Protocol):
    """The circuit, as its pulse sees it. Calls come from the event loop."""

    def carries_flows(self) -> bool: ...

    def held_up(self) -> bool:
        """Whether this node itself holds back what it would send there, since it has not paid."""

    def uneasy(self) -> None:
        """It has been silent for a while. May come more than once."""

    def fell_silent(self) -> None:
        """It has been silent for too long."""

    def proved(self, asked_at: float) -> None:
        """A ping was answered that was sent at this loop time."""


class Pulse:
    """The pings of one circuit.

    Args:
        send: sends a ping with a token of 64 bits.
        owner: whom to tell.

    Attributes:
        silence: tell it `heard_at` whenever something comes from the exit.
        rtt_s: how long the last answer took; None before the first.
    """

    def __init__(self, send: Callable[[int], None], owner: PulseOwner) -> None:
        self._loop = asyncio.get_running_loop()
        self._send = send
        self._owner = owner
        self._token = 0
        self._pinged_at = -PING_IDLE_S
        self._answered_at = -PING_IDLE_S
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._stopped = False
        self._proofs: list[asyncio.Future[None]] = []
        self.rtt_s: float | None = None
        self.silence = Silence(self._loop.time(), PING_EVERY_S)

    @property
    def uneasy(self) -> bool:
        """Whether the exit has been silent for a while."""
        return self.silence.lasted(self._loop.time()) >= UNEASY_S

    @property
    def doubted(self) -> bool:
        """Whether the exit has been silent for so long that new flows had better go another way."""
        return self.silence.lasted(self._loop.time()) >= DOUBTED_S

    def answered_since(self, moment: float) -> bool:
        """Whether the exit has answered a ping at or after a loop time."""
        return self._answered_at >= moment

    def attend(self) -> None:
        """Something begins on the circuit: do not wait for the next ping of an idle one."""
        self._plan()

    def ping(self) -> None:
        """Ask the exit for a sign of life, unless it is asked already, or would not hear the question."""
        if self._stopped or self.silence.asked_at is not None:
            return
        self._pinged_at = self._loop.time()
        if self._owner.held_up():
            self._plan()
            return
        self._token = secrets.randbits(64)
        self.silence.asked(self._pinged_at)
        self._send(self._token)
        self._plan()

    def proof(self) -> asyncio.Future[None]:
        """Ask for a sign of life; done when the exit answers, cancelled when the circuit ends."""
        proof: asyncio.Future[None] = self._loop.create_future()
        if self._stopped:
            proof.cancel()
            return proof
        self._proofs.append(proof)
        self.ping()
        return proof

    def pong(self, token: int) -> float:
        """An answer came.

        Returns:
            The round trip, in seconds.

        Raises:
            DecodeError: nothing was asked, or something else.
        """
        asked_at = self.silence.asked_at
        if asked_at is None or token != self._token:
            raise DecodeError("PONG", "answers nothing")
        now = self._answered_at = self._loop.time()
        self.rtt_s = rtt_s = now - self._pinged_at
        self.silence.answered(now)
        proofs, self._proofs = self._proofs, []
        for proof in proofs:
            if not proof.done():
                proof.set_result(None)
        self._owner.proved(asked_at)
        self._plan()
        return rtt_s

    def stop(self) -> None:
        """The circuit is over."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        for proof in self._proofs:
            proof.cancel()

    # -- the timer

    def _plan(self) -> None:
        if self._stopped:
            return
        due = self._due()
        if self._timer is not None:
            if self._timer_at <= due:
                return  # it comes sooner, looks, and plans again
            self._timer.cancel()
        # The time is kept here: a loop may return a handle without one for what is due already.
        self._timer, self._timer_at = self._loop.call_at(due, self._look, due), due

    def _due(self) -> float:
        since = self.silence.since
        if since is not None:
            uneasy_at = since + UNEASY_S
            return uneasy_at if self._loop.time() < uneasy_at else since + SUSPECT_S
        return self._next_ping_at()

    def _next_ping_at(self) -> float:
        return self._pinged_at + (PING_EVERY_S if self._owner.carries_flows() else PING_IDLE_S)

    def _look(self, planned: float) -> None:
        self._timer = None
        now = self._loop.time()
        if self._owner.held_up():
            self.silence.forgive(now)
        self.silence.overslept(planned, now)
        lasted = self.silence.lasted(now)
        if self.silence.since is None:
            if self._next_ping_at() <= now:
                self.ping()
        elif lasted >= SUSPECT_S:
            self._owner.fell_silent()
        elif lasted >= UNEASY_S:
            self._owner.uneasy()
        self._plan()
