"""How connections end for who is at their other end, when they are aborted and when their process is killed."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from core.ends import cut, mark_finished, mark_unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BODY: Final = b"all of it, or a part?"
LIMIT_S: Final = 20.0
OWNER: Final = """
import asyncio, sys
from core.ends import mark_finished, mark_unfinished

async def main():
    _, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    for name in sys.argv[3:]:
        globals()[name](writer.transport)
    writer.write(sys.argv[2].encode())
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(LIMIT_S)
        yield made


def begun(server: socket.socket) -> socket.socket:
    """The other end, which has got the body and no end yet."""
    there, _ = server.accept()
    there.settimeout(LIMIT_S)
    assert there.recv(len(BODY), socket.MSG_WAITALL) == BODY
    return there


def ends_cleanly(there: socket.socket) -> bool:
    with there:
        try:
            return there.recv(1) == b""
        except ConnectionResetError:
            return False


def end_unmarked(transport: asyncio.Transport) -> None:
    transport.abort()


def end_finished(transport: asyncio.Transport) -> None:
    mark_unfinished(transport)
    mark_finished(transport)
    transport.abort()


def end_unfinished(transport: asyncio.Transport) -> None:
    mark_unfinished(transport)
    transport.abort()


@pytest.mark.parametrize(
    ("end", "clean"),
    [(end_unmarked, True), (end_finished, True), (end_unfinished, False), (cut, False)],
)
async def test_what_is_aborted(server: socket.socket, end: Callable[[asyncio.Transport], None], clean: bool) -> None:
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, *server.getsockname())
    transport.write(BODY)
    there = begun(server)
    end(transport)
    await asyncio.sleep(0)
    assert await asyncio.to_thread(ends_cleanly, there) is clean


@pytest.mark.parametrize(
    ("marks", "clean"), [((), True), (("mark_unfinished",), False), (("mark_unfinished", "mark_finished"), True)]
)
def test_what_its_process_had_open_when_it_was_killed(
    server: socket.socket, marks: tuple[str, ...], clean: bool
) -> None:
    port = str(server.getsockname()[1])
    command = [sys.executable, "-c", OWNER, port, BODY.decode(), *marks]
    with subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2]) as owner:
        there = begun(server)
        owner.kill()
        assert ends_cleanly(there) is clean
