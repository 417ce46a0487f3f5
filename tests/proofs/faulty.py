"""`macrovpn`, with defects that certain destinations set off, each of which names the destination in an error.

    python -m tests.proofs.faulty demo …

The first label of a host says where and how: `exit-task`, `client-thread` and so on. Where `end` is asked for, the
node fails as it stops.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings
from typing import TYPE_CHECKING, Any, Final

from exits.egress import Egress
from node.cli import main
from node.running import RunningNode
from proxy.front import Front

if TYPE_CHECKING:
    from collections.abc import Callable


class _FailsAsItGoes:
    """An object that fails as it is removed."""

    def __init__(self, host: str) -> None:
        self._host = host

    def __del__(self) -> None:
        raise RuntimeError(self._host)


def _fail(host: str) -> None:
    raise RuntimeError(f"{host} is a defect")


async def _fail_later(host: str) -> None:
    _fail(host)


def _in_a_thread(host: str) -> None:
    thread = threading.Thread(target=_fail, args=(host,), name=host)
    thread.start()
    thread.join()


def _in_a_callback(host: str) -> None:
    asyncio.get_running_loop().call_soon(_fail, host)


def _lost(host: str) -> None:
    """A task whose end nobody waits for, which asyncio reports itself."""
    asyncio.get_running_loop().call_soon(asyncio.ensure_future, _fail_later(host))


def _as_it_goes(host: str) -> None:
    _FailsAsItGoes(host)


def _warn(host: str) -> None:
    warnings.warn(f"{host} was not closed", ResourceWarning, stacklevel=1)


def _by_a_library(host: str) -> None:
    logging.getLogger("asyncio").error("%s took long", host)
    logging.getLogger("aiohttp.server").exception("Error handling request from %s", host)


_ends: Final[list[str]] = []

FAULTS: Final[dict[str, Callable[[str], None]]] = {
    "task": _fail,
    "thread": _in_a_thread,
    "callback": _in_a_callback,
    "lost": _lost,
    "removed": _as_it_goes,
    "warning": _warn,
    "library": _by_a_library,
    "end": _ends.append,
}
_AT: Final = "RuntimeError at faulty.py:"
SAID: Final = (
    (f" failed: {_AT}", 2),
    (f"ERROR node.last_words: unexpected error in a thread: {_AT}", 2),
    (f"ERROR node.app: unexpected error: {_AT}", 4),
    (f"ERROR node.last_words: unexpected error: {_AT}", 2),
    ("WARNING py.warnings: said something (warnings.py:", 2),
    ("ERROR asyncio: said something (faulty.py:", 2),
    ("ERROR aiohttp.server: said something (faulty.py:", 2),
)
"""What logs have in the place of the host, and how often in all: a client and an exit have each. That a process which
ends says no more either is not counted on: on a busy machine, the demo kills it before it has said anything."""


def _set_off(place: str, host: str) -> None:
    label = host.partition(".")[0]
    for name, fault in FAULTS.items():
        if label == f"{place}-{name}":
            fault(host)


def _break() -> None:
    find, choose, stop = Egress._find, Front._place, RunningNode.stop

    async def find_or_fail(self: Egress, circuit: object, destination: Any) -> Any:
        _set_off("exit", str(destination))
        return await find(self, circuit, destination)

    def choose_or_fail(self: Front, intake: Any, host: str, port: int, scheme: str | None) -> Any:
        _set_off("client", host)
        return choose(self, intake, host, port, scheme)

    async def stop_or_fail(self: RunningNode) -> None:
        for host in _ends:
            _fail(host)
        await stop(self)

    for owner, name, broken in (
        (Egress, "_find", find_or_fail),
        (Front, "_place", choose_or_fail),
        (RunningNode, "stop", stop_or_fail),
    ):
        setattr(owner, name, broken)


if __name__ == "__main__":
    _break()
    main()
