"""One look-up: questions that run side by side, whoever waits for them, and how long the answer is true."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any, Final

from core.errors import FlowError, Reason

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from core.tasks import Tasks
    from exits.addresses import Address
    from exits.dns_message import Answer

RESOLUTION_DELAY_S: Final = 0.05
"""How long IPv6 addresses are waited for once IPv4 addresses are there (RFC 8305, sections 3 and 8)."""

MIN_TTL_S: Final = 5.0
"""Shortest time that an answer is kept, in seconds: a page opens its connections within it."""

MAX_TTL_S: Final = 600.0
"""Longest time that an answer is kept, in seconds."""

MAX_NO_NAME_S: Final = 30.0
"""Longest time that it is kept that there is no such name (RFC 2308, section 5, allows hours)."""

FAILED_S: Final = 1.0
"""How long it is kept that nobody could tell (RFC 9520, section 3.2, asks for at least one second). That this exit was
too busy to ask says nothing about the name, and is not kept."""

_TELLING: Final = (Reason.BUSY, Reason.TIMED_OUT, Reason.NO_NAME)
"""Which reason tells most if several questions failed, first to last."""


class Lookup:
    """A look-up under way, and then its answer. Several may wait for it.

    Args:
        questions: see `sources.Source.questions`.
        tasks: keeper of the questions.
    """

    def __init__(self, questions: Iterable[Coroutine[Any, Any, Answer]], tasks: Tasks) -> None:
        self._asked = [tasks.spawn(question, "look-up") for question in questions]
        self._waiters = 0
        self.expires_at = inf
        """When the answer is no longer true, in seconds of the event loop's clock; infinite while there is none."""
        for task in self._asked:
            task.add_done_callback(self._answered)

    @property
    def is_done(self) -> bool:
        """Every question is answered, or was given up."""
        return all(task.done() for task in self._asked)

    async def addresses(self, late: asyncio.Future[list[Address]] | None) -> list[Address]:
        """Wait for the first answer worth dialling (RFC 8305, section 3).

        When the last of those that wait is cancelled, the questions end too.

        Args:
            late: is set to the addresses that come later, which may be none. None to go without them.

        Raises:
            FlowError: `NO_NAME`, `TIMED_OUT` or `BUSY`.
        """
        self._waiters += 1
        try:
            await self._wait()
        except asyncio.CancelledError:
            if self._waiters == 1 and not self.is_done:
                self.expires_at = -inf
                for task in self._asked:
                    task.cancel()
            raise
        finally:
            self._waiters -= 1
        answers = self._answers()
        addresses = [address for answer in answers for address in answer.addresses]
        if late is not None:
            self._send_later(late)
        if not addresses:
            reasons = {answer.reason for answer in answers}
            raise FlowError(next((reason for reason in _TELLING if reason in reasons), Reason.NO_NAME))
        return addresses

    async def _wait(self) -> None:
        while waiting := [task for task in self._asked if not task.done()]:
            answers = self._answers()
            if any(answer.has_family(6) for answer in answers):
                return
            delay = RESOLUTION_DELAY_S if any(answer.addresses for answer in answers) else None
            done, _ = await asyncio.wait(waiting, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return

    def _send_later(self, late: asyncio.Future[list[Address]]) -> None:
        waiting = next((task for task in self._asked if not task.done()), None)
        if waiting is None:
            late.set_result([])
            return

        def came(task: asyncio.Task[Answer]) -> None:
            if not late.done():
                late.set_result([] if task.cancelled() else list(task.result().addresses))

        waiting.add_done_callback(came)

    def _answers(self) -> list[Answer]:
        return [task.result() for task in self._asked if task.done() and not task.cancelled()]

    def _answered(self, _: asyncio.Task[Answer]) -> None:
        if self.is_done and self.expires_at == inf:
            self.expires_at = asyncio.get_running_loop().time() + self._ttl_s()

    def _ttl_s(self) -> float:
        """How long all of it is kept, in seconds: as long as the answer that is true for the shortest time."""
        answers = self._answers()
        if any(answer.addresses for answer in answers):
            return min(max(min(answer.ttl_s for answer in answers), MIN_TTL_S), MAX_TTL_S)
        if answers and all(answer.said_no for answer in answers):
            return min(max(min(answer.ttl_s for answer in answers), MIN_TTL_S), MAX_NO_NAME_S)
        return 0.0 if any(answer.reason is Reason.BUSY for answer in answers) else FAILED_S
