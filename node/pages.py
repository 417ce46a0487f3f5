"""A small HTTP server for pages that strangers or other programs may read: one request, one answer, and good-bye.

It is deliberately less than a web server: no body is taken, nothing is kept alive, nothing is logged, and what takes
longer than a few seconds is cut off. Who opens all connections keeps others from the page, and nothing else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import h11

if TYPE_CHECKING:
    from asyncio import Server, StreamReader, StreamWriter
    from collections.abc import Callable

MAX_CONNECTIONS: Final = 32
"""At once; more are closed unheard."""
MAX_HEAD_BYTES: Final = 8 << 10
LIMIT_S: Final = 5.0
"""For a whole connection."""
_READ_BYTES: Final = 4096
_HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
)


@dataclass(frozen=True, slots=True)
class Page:
    """An answer.

    Args:
        body: its bytes.
        kind: their media type.
        status: the HTTP status.
    """

    body: bytes
    kind: str = "text/plain; charset=utf-8"
    status: int = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request counts.

    Args:
        path: of the target, without its query.
        host: the Host header, or empty.
        from_page: whether a page in a browser asks, which says so by `Origin` or `Sec-Fetch-Site`.
    """

    path: str
    host: str
    from_page: bool


class PageServer:
    """Serves pages on one address.

    Args:
        answer: gives the page for a GET or HEAD; called in the event loop.
    """

    def __init__(self, answer: Callable[[Asked], Page]) -> None:
        self._answer = answer
        self._server: Server | None = None
        self._writers: set[StreamWriter] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen.

        Args:
            host: an IP literal of this machine.
            port: 0 for any free one.

        Returns:
            The port.

        Raises:
            OSError: it cannot be used.
        """
        self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_HEAD_BYTES)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Stop listening, and cut off who is connected."""
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await server.wait_closed()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        if len(self._writers) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            async with asyncio.timeout(LIMIT_S):
                await self._exchange(reader, writer)
        except (TimeoutError, OSError):
            pass  # it was cut off, or went away: there is nobody to tell
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _exchange(self, reader: StreamReader, writer: StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        try:
            while (event := connection.next_event()) is h11.NEED_DATA:
                connection.receive_data(await reader.read(_READ_BYTES))
            if not isinstance(event, h11.Request):
                return
            page = self._page(event)
        except h11.RemoteProtocolError as error:
            page = Page(b"", status=error.error_status_hint)
        headers = [*_HEADERS, ("Content-Type", page.kind), ("Content-Length", str(len(page.body)))]
        headers += [("Allow", "GET, HEAD")] if page.status == 405 else []
        writer.write(connection.send(h11.Response(status_code=page.status, headers=headers)) or b"")
        # For HEAD, h11 leaves the body out by itself.
        writer.write(connection.send(h11.Data(page.body)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        writer.close()
        await writer.wait_closed()

    def _page(self, request: h11.Request) -> Page:
        if request.method not in (b"GET", b"HEAD"):
            return Page(b"This page can only be read.\n", status=405)
        headers = {name: value.decode("latin-1") for name, value in request.headers}
        path = request.target.decode("latin-1").partition("?")[0]
        return self._answer(
            Asked(path, headers.get(b"host", ""), from_page=b"origin" in headers or b"sec-fetch-site" in headers)
        )
