"""Run one node in this process, from its start to its end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from core.allocator import keep_large_blocks_apart
from core.errors import MacroVpnError
from core.fault import place
from node import last_words, logs
from node.config import PARENT_FD_ENV
from node.running import RunningNode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from node.settings import Settings
    from node.switch import SystemProxy

STOP_LIMIT_S: Final = 3.0
_log = logging.getLogger(__name__)
GC_YOUNG: Final = 20_000
"""Allocations between collections of the youngest generation: most objects here die by their reference count."""


def run(
    settings: Settings,
    home: Path,
    *,
    ready_fd: int | None,
    overrides: Mapping[str, object] | None = None,
    system_proxy: SystemProxy | None = None,
) -> int:
    """Run a node until SIGINT, SIGTERM, a request of the control interface, or the end of its parent.

    A node that serves others goes on until nothing runs for them, or to its limit; a second signal or request, and the
    end of its parent, end it at once.

    Args:
        settings: checked settings.
        home: its folder.
        ready_fd: a file descriptor that gets one newline when the node has started; None for nobody.
        overrides, system_proxy: as for `RunningNode`.

    Returns:
        The exit code.

    Raises:
        MacroVpnError: the node cannot start.
    """
    logs.set_up(settings.node.log_level)
    last_words.prepare()
    # Whatever passes through a file for a moment stays in the home too, which may be all that can be written to.
    tempfile.tempdir = str(home)
    _raise_file_limit()
    keep_large_blocks_apart()
    return _runner()(_run(partial(RunningNode, settings, home, overrides, system_proxy), ready_fd))


def _runner() -> Callable[..., int]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


async def _run(make: Callable[[], RunningNode], ready_fd: int | None) -> int:
    node = make()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_unexpected)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, node.request_stop)
    _watch_parent(loop, node)
    try:
        await node.start()
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_YOUNG, 20, 20)
        if ready_fd is not None:
            os.write(ready_fd, b"\n")
        await node.stopping.wait()
    finally:
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await node.stop()
        except TimeoutError:
            raise MacroVpnError("The node did not stop in time, so it was ended.") from None
    return 0


def _unexpected(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that nobody caught, without asyncio's own words: they can name a connection."""
    error = context.get("exception")
    _log.error("unexpected error: %s", place(error) if error is not None else "without exception")


def _watch_parent(loop: asyncio.AbstractEventLoop, node: RunningNode) -> None:
    """Stop at once when the other end of the pipe closes, which happens when the parent ends in whatever way."""
    text = os.environ.pop(PARENT_FD_ENV, "")
    if text.isdecimal():
        pipe = int(text)
        os.set_blocking(pipe, False)

        def closed() -> None:
            loop.remove_reader(pipe)
            node.stopping.set()

        loop.add_reader(pipe, closed)


def _raise_file_limit() -> None:
    """Take as many file descriptors as the system allows: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
