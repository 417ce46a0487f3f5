"""Processes of one parent: started, watched, ended together, and none left when the parent dies."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.errors import MacroVpnError
from core.tasks import Tasks
from node.background import LOG_NAME
from node.files import make_home

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from node.starters import Process, Starter

TERM_LIMIT_S: Final = 3.5
"""How long a child may take after SIGTERM before it is killed."""
KILL_LIMIT_S: Final = 1.0


@dataclass(eq=False, slots=True)
class Child:
    """A process and where it lives.

    Args:
        name: what people read, such as `relay-1`.
        home: its folder, with its log.
        process: the process itself.
    """

    name: str
    home: Path
    process: Process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def status(self) -> int | None:
        """Exit code, negative signal number, or None while it runs."""
        return self.process.returncode


class Children:
    """The children of this process.

    Args:
        starter: brings them up.
        on_exit: called for each child that ends before `stop`.
    """

    def __init__(self, starter: Starter, on_exit: Callable[[Child], None]) -> None:
        self._starter = starter
        self._on_exit = on_exit
        self._children: list[Child] = []
        self._tasks = Tasks()
        self._stopping = False

    async def start(self, name: str, arguments: Sequence[str], home: Path) -> Child:
        """Start one child; its output goes to `node.log` in its home.

        A child gets no terminal signals (Ctrl-C): its parent ends it in order.

        Raises:
            MacroVpnError: it cannot be started, or `stop` was called.
        """
        if self._stopping:
            raise MacroVpnError(f"{name} was not started: the network is being stopped.")
        make_home(home)
        log = os.open(home / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            process = await self._starter.start(arguments, log)
        except OSError as error:
            raise MacroVpnError(f"{name} cannot be started: {error.strerror}.") from error
        finally:
            os.close(log)
        child = Child(name, home, process)
        self._children.append(child)
        self._tasks.spawn(self._watch(child), f"watch {name}")
        return child

    async def _watch(self, child: Child) -> None:
        await child.process.wait()
        if not self._stopping:
            self._on_exit(child)

    async def stop(self) -> None:
        """End every child: ask each with SIGTERM, kill what is left 3.5 s later, and wait until all are gone.

        Each sees that its parent lets go as well, so that none waits for what runs for others.
        """
        self._stopping = True
        self._signal(signal.SIGTERM)
        self._starter.let_go()
        if not await self._gone(TERM_LIMIT_S):
            self._signal(signal.SIGKILL)
            await self._gone(KILL_LIMIT_S)
        await self._tasks.cancel()

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.status is None:
                with suppress(ProcessLookupError):
                    child.process.send_signal(number)

    async def _gone(self, limit_s: float) -> bool:
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.gather(*(child.process.wait() for child in self._children))
        except TimeoutError:
            return False
        return True
