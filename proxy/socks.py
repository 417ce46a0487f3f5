"""Read a SOCKS5 request.

What comes is read less strictly than the RFCs write it, where programs need that: a user name or a password may be
empty, and need not be UTF-8. Java offers a user name on every connection, that of the account, with no password and in
ISO 8859-1 (OpenJDK, java.net.SocksSocketImpl). The reserved byte of a request is not looked at.

Source: RFC 1928 and RFC 1929. What the library has to be guarded against: docs/asyncio-socks-server.md.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from asyncio_socks_server.core.address import decode_address, encode_reply
from asyncio_socks_server.core.protocol import build_auth_reply, build_method_reply, parse_method_selection
from asyncio_socks_server.core.types import AuthMethod, Cmd, Rep

from core.errors import DecodeError
from core.flow import FlowRequest
from proxy.answers import SOCKS_GRANTED, socks_refusal
from proxy.ask import Answer, Ask, Associate
from proxy.target import check_host

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

VERSION: Final = 5
_PASSWORD_VERSION: Final = 1
"""Of the words in which user name and password come (RFC 1929, section 2)."""

type Heard = Ask | Associate | Answer


async def hear(reader: asyncio.StreamReader, write: Callable[[bytes], None], password: str | None) -> Heard:
    """Read a SOCKS5 client's words up to its request, and answer its choice of method and its password.

    Args:
        reader: the client's bytes after the first one, which was the version.
        write: sends bytes to the client.
        password: what the client must know; None when anyone may come.

    Returns:
        What it wants, or the last reply to it. The user name, of at most 255 bytes, becomes the isolation key.

    Raises:
        asyncio.IncompleteReadError: the client went away.
    """
    isolation = await _authenticate(reader, write, password)
    if isinstance(isolation, Answer):
        return isolation
    version, command, _ = await reader.readexactly(3)
    if version != VERSION:
        return _refuse(Rep.GENERAL_FAILURE)
    if command not in (Cmd.CONNECT, Cmd.UDP_ASSOCIATE):
        return _refuse(Rep.COMMAND_NOT_SUPPORTED)
    try:
        address = await decode_address(reader)
        if command == Cmd.UDP_ASSOCIATE:
            return Associate(isolation, address.port)  # clients behind other proxies or NAT name all sorts of hosts
        host = check_host(address.host)
    except (UnicodeDecodeError, DecodeError):
        return _refuse(Rep.HOST_UNREACHABLE)
    except ValueError:
        return _refuse(Rep.ADDRESS_TYPE_NOT_SUPPORTED)
    if not address.port:
        return _refuse(Rep.GENERAL_FAILURE)
    scheme = "https" if address.port == 443 else None
    return Ask(FlowRequest(host, address.port, isolation), scheme, SOCKS_GRANTED, socks_refusal)


async def _authenticate(
    reader: asyncio.StreamReader, write: Callable[[bytes], None], password: str | None
) -> str | Answer:
    """Agree on a method, and return the user name, which may be empty."""
    count = await reader.readexactly(1)
    _, methods = parse_method_selection(bytes([VERSION]) + count + await reader.readexactly(count[0]))
    if AuthMethod.USERNAME_PASSWORD in methods:
        write(build_method_reply(AuthMethod.USERNAME_PASSWORD))
    elif AuthMethod.NO_AUTH in methods and password is None:
        write(build_method_reply(AuthMethod.NO_AUTH))
        return ""
    else:
        return Answer(build_method_reply(AuthMethod.NO_ACCEPTABLE), "unauthorized" if password else "malformed")
    if (await reader.readexactly(1))[0] != _PASSWORD_VERSION:
        return Answer(build_auth_reply(success=False), "malformed")
    user, given = await _read_text(reader), await _read_text(reader)
    if password is not None and not hmac.compare_digest(given.encode(), password.encode()):
        return Answer(build_auth_reply(success=False), "unauthorized")
    write(build_auth_reply(success=True))
    return user


async def _read_text(reader: asyncio.StreamReader) -> str:
    """Read 0 to 255 bytes behind their number; what is not UTF-8 is ISO 8859-1."""
    text = await reader.readexactly((await reader.readexactly(1))[0])
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _refuse(reply: Rep) -> Answer:
    return Answer(encode_reply(reply), "malformed")
