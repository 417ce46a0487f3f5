"""Watch which network this machine is on, and open or close the way past the tunnel."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from core.errors import MacroVpnError
from core.tasks import Tasks
from node.trust.reader import READ_S, look, system_reader
from pac.trusted import Standing, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from node.trust.reader import Reader
    from pac.trusted import Attachment, TrustedNetwork
    from proxy.trusted import TrustedWay

POLL_S: Final = 2.0
"""The network is looked at so often even if the system tells of no change. With `READ_S` and what is waited for else, a
change that nobody told of is obeyed within 5 s."""
SETTLE_S: Final = 0.1
"""After word of a change so long passes before the network is looked at: a change comes in many steps."""
DOUBT_S: Final = 1.0
"""While there is word of one change after the other, what goes direct is cut after so long."""
JUMP_S: Final = 3.0
"""The wall clock and the one that stops in sleep part by so much when the machine has slept."""


class Changes(Protocol):
    """What tells of changes, from when it is made until it is closed."""

    def close(self) -> None:
        """Tell nothing any more."""


NOWHERE: Final[dict[str, Any]] = {"state": Standing.OFF.value, "name": "", "confirmed": False}
"""The status of a node that has no proxy, so nothing of its own to send."""


class NothingToConfirmError(MacroVpnError):
    """The present network is none that the user could be asked about."""

    def __init__(self) -> None:
        super().__init__(
            "There is nothing to confirm: this network looks like none that you trust, or is trusted already. "
            "`macrovpn trust here` shows it; `macrovpn trust add NAME` trusts it."
        )


class TrustWatch:
    """Which of the trusted networks this machine is on, from one look to the next.

    On word of any change nothing new goes direct until the network was looked at again. If it is another one, or the
    same one anew, what goes direct is cut, and what the user confirmed is forgotten.

    Args:
        way: what is opened and closed.
        reader: says which network it is.
        changes: makes what tells of changes, and raises OSError where nothing does; None to look every 2 s only.
        clock: the wall clock, in seconds.
    """

    def __init__(
        self,
        way: TrustedWay,
        reader: Reader,
        changes: Callable[[Callable[[], None]], Changes] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._way = way
        self._reader = reader
        self._make_changes = changes
        self._clock = clock
        self._networks: tuple[TrustedNetwork, ...] = ()
        self._standing = Standing.OFF
        self._name = ""
        self._present: Attachment | None = None
        self._confirmed: Attachment | None = None
        self._awake_s = 0.0
        self._word = asyncio.Event()
        self._settled = asyncio.Event()
        self._doubt_since_s = 0.0
        self._tasks = Tasks()
        self._changes: Changes | None = None

    # -- its owner's calls

    def use(self, networks: Sequence[TrustedNetwork]) -> None:
        """Trust these networks from now on. While there is none, nobody looks."""
        self._networks = tuple(networks)
        self._confirmed = None
        if not self._networks:
            self._settle(None)
            return
        if not len(self._tasks):
            if self._make_changes is not None:
                with suppress(OSError):
                    self._changes = self._make_changes(self._changed)
            self._tasks.spawn(self._watch(), "trusted networks")
        self._changed()

    async def close(self) -> None:
        """Watch no more, and let nothing go direct."""
        await self._tasks.cancel()
        if self._changes is not None:
            self._changes.close()
            self._changes = None
        self._reader.close()
        self._way.close()

    async def confirm(self) -> None:
        """Believe, for as long as this machine stays on the present network, that it is what it looks like.

        Raises:
            NothingToConfirmError: it looks like none of the trusted networks, or is trusted already.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_S + DOUBT_S):
                await self._settled.wait()
        if self._standing is not Standing.ASKING or self._present is None or not self._settled.is_set():
            raise NothingToConfirmError
        self._confirmed = self._present
        self._settle(self._present)

    def status(self) -> dict[str, Any]:
        """Say where this machine stands: the word of a `Standing`, the name of the network that it is or looks like,
        and whether that counts only because the user confirmed it."""
        confirmed = self._confirmed is not None and self._standing is Standing.TRUSTED
        return {"state": self._standing.value, "name": self._name, "confirmed": confirmed}

    # -- from look to look

    def _changed(self) -> None:
        if self._settled.is_set():
            self._settled.clear()
            self._doubt_since_s = time.monotonic()
        self._way.pause()
        self._word.set()

    async def _watch(self) -> None:
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._word.wait()
                if self._word.is_set():
                    await asyncio.sleep(SETTLE_S)
                await self._look()
        finally:
            self._settle(None)

    async def _look(self) -> None:
        self._word.clear()
        if self._has_slept():
            self._way.close()
            self._confirmed = None
        found = await look(self._reader) if self._networks else None
        if not self._word.is_set():
            self._settle(found)
        elif time.monotonic() - self._doubt_since_s > DOUBT_S:
            self._settle(None)  # what was found may be older than the last change that there was word of

    def _settle(self, found: Attachment | None) -> None:
        """Take what was found for the truth. None: it is not known."""
        if found is None or not found.is_same_stay(self._present):
            self._way.close()
            self._confirmed = None
        self._present = found
        self._settled.set()
        self._standing, self._name = self._judge()
        if self._standing is Standing.TRUSTED and found is not None:
            try:
                self._way.open(found.interface)
            except OSError:
                self._standing, self._name = Standing.UNKNOWN, ""
        else:
            self._way.close()

    def _judge(self) -> tuple[Standing, str]:
        if not self._networks:
            return Standing.OFF, ""
        if self._present is None:
            return Standing.UNKNOWN, ""
        standing, name = judge(self._networks, self._present)
        if standing is Standing.ASKING and self._confirmed is not None:
            return Standing.TRUSTED, name
        return standing, name

    def _has_slept(self) -> bool:
        awake_s, self._awake_s = self._awake_s, self._clock() - time.monotonic()
        return abs(self._awake_s - awake_s) > JUMP_S


def open_watch(way: TrustedWay) -> TrustWatch:
    """Make one that asks this system."""
    if sys.platform != "linux":
        return TrustWatch(way, system_reader())
    from node.trust.kernel import KernelChanges

    return TrustWatch(way, system_reader(), KernelChanges)


def sentence(status: dict[str, Any]) -> str:
    """Say where this machine stands, in words for the user; empty where no network is trusted.

    Args:
        status: see `TrustWatch.status`.
    """
    name = status["name"]
    match Standing(status["state"]):
        case Standing.TRUSTED:
            why = "as you confirmed" if status["confirmed"] else "which proved itself"
            return f"On the trusted network {name}, {why}: what no rule names goes direct, not through the tunnel."
        case Standing.ASKING:
            return (
                f"This looks like {name}, which anybody can imitate. If it is: `macrovpn trust confirm` to go direct."
            )
        case Standing.ELSEWHERE:
            return "This is none of your trusted networks."
        case Standing.UNKNOWN:
            return "It cannot be told which network this is, so it is not trusted."
    return ""


def direct_because(status: dict[str, Any]) -> str:
    """Say why sites go direct now, in the same words; empty when they do not."""
    return sentence(status) if status["state"] == Standing.TRUSTED.value else ""
