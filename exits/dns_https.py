"""Ask a DNS server over HTTPS: a kept connection with many questions on it at once, HTTP/2 where the server has it.

There is no way back to plain DNS: a server that cannot be reached, or that cannot prove its name, answers nothing.
What a server for browsers could add (redirects, cookies, compression, proxies of the environment) is not there.

Source: RFC 8484.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import dns.exception
import dns.message
import dns.rdatatype
import httpcore2

from exits.dns_message import MAX_MESSAGE_BYTES, Answer, make_query, read_answer, read_response

if TYPE_CHECKING:
    import ssl

    from exits.name_server import NameServer

_MEDIA_TYPE: Final = b"application/dns-message"

_MAX_CONNECTIONS: Final = 2
"""Connections at once: HTTP/2 needs one; a server that only has HTTP/1.1 answers two questions at once."""

_IDLE_S: Final = 30.0

_LOST: Final = (httpcore2.NetworkError, httpcore2.ProtocolError)
"""What a connection ends with that the server closed while a question was on its way."""


class HttpsTransport:
    """DNS over HTTPS.

    Args:
        server: where it is, and what its certificate must say.
        context: whom to trust.
    """

    def __init__(self, server: NameServer, context: ssl.SSLContext) -> None:
        host = f"[{server.host}]" if ":" in server.host else server.host
        self._url = f"https://{host}:{server.port}{server.path}"
        authority = f"[{server.name}]" if ":" in server.name else server.name
        self._headers = [
            (b"host", (authority if server.port == 443 else f"{authority}:{server.port}").encode()),
            (b"accept", _MEDIA_TYPE),
            (b"content-type", _MEDIA_TYPE),
        ]
        self._extensions = {"sni_hostname": server.name}
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context, max_connections=_MAX_CONNECTIONS, keepalive_expiry=_IDLE_S, http2=True
        )

    async def ask(self, name: str, kind: dns.rdatatype.RdataType) -> Answer:
        """See `sources.Transport.ask`. What a connection took with it when it broke is asked once more."""
        query = make_query(name, kind, 0, padded=True)
        try:
            try:
                wire = await self._exchange(query.to_wire())
            except _LOST:
                wire = await self._exchange(query.to_wire())
            response = read_response(wire, query)
        except httpcore2.TimeoutException:
            raise TimeoutError from None
        except (*_LOST, httpcore2.UnsupportedProtocol):
            raise ConnectionResetError from None
        except dns.message.Truncated:
            response = None
        if response is None:
            raise dns.exception.FormError
        return read_answer(response)

    async def close(self) -> None:
        """End the connections; what is being asked fails."""
        await self._pool.aclose()

    async def _exchange(self, wire: bytes) -> bytes:
        """Send a message and read what comes back.

        Raises:
            DNSException: that is no DNS message, or too long for one.
            httpcore2 errors: the server cannot be reached, is another, or broke the protocol.
        """
        headers = [*self._headers, (b"content-length", str(len(wire)).encode())]
        body = bytearray()
        async with self._pool.stream(
            "POST", self._url, headers=headers, content=wire, extensions=dict(self._extensions)
        ) as response:
            kinds = [value for name, value in response.headers if name.lower() == b"content-type"]
            if response.status != 200 or kinds != [_MEDIA_TYPE]:
                raise dns.exception.FormError
            async for piece in response.aiter_stream():
                body += piece
                if len(body) > MAX_MESSAGE_BYTES:
                    raise dns.exception.FormError
        return bytes(body)
