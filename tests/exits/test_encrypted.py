"""Names over TLS and HTTPS, against servers that are really there."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import dns.message
import pytest
import trustme

from core.errors import FlowError, Reason
from exits import dns_encrypted, sources
from exits.resolver import open_resolver
from tests.exits.dns_servers import SERVER_NAME, EncryptedServer, trust
from tests.exits.fakes import NXDOMAIN, open_sockets_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exits.name_server import NameServer, Scheme
    from exits.resolver import NameResolver

NAME = "www.example.org"
V4, V6 = ip_address("93.184.215.14"), ip_address("2606:4700::1")
SCRIPT: dict[tuple[str, str], list[Any]] = {
    (NAME, "A"): [["93.184.215.14"]],
    (NAME, "AAAA"): [["2606:4700::1"]],
    ("no.example.org", "A"): [NXDOMAIN],
    ("no.example.org", "AAAA"): [NXDOMAIN],
    **{(f"n{number}.example.org", "A"): [[f"9.9.9.{number}"]] for number in range(40)},
}

both = pytest.mark.parametrize("scheme", ["tls", "https"])


@asynccontextmanager
async def resolving(server: NameServer) -> AsyncIterator[NameResolver]:
    resolver = open_resolver(server, trust())
    try:
        yield resolver
    finally:
        await resolver.close()


async def addresses_of(resolver: NameResolver, name: str = NAME) -> set[Any]:
    """Resolve, with what comes late."""
    late: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    return {*await resolver.resolve(name, None, late), *await late}


async def reason_of(resolver: NameResolver, name: str = NAME) -> Reason:
    with pytest.raises(FlowError) as caught:
        await resolver.resolve(name)
    return caught.value.reason


@both
async def test_one_connection_for_all(scheme: Scheme) -> None:
    async with EncryptedServer(scheme, SCRIPT) as server, resolving(server.address) as resolver:
        for _ in range(3):
            assert await addresses_of(resolver) == {V4, V6}
        assert await reason_of(resolver, "no.example.org") is Reason.NO_NAME
        assert server.connections == 1


@both
async def test_queries_are_padded_and_say_nothing_of_the_client(scheme: Scheme) -> None:
    async with EncryptedServer(scheme, SCRIPT) as server, resolving(server.address) as resolver:
        await addresses_of(resolver)
        assert await reason_of(resolver, "no.example.org") is Reason.NO_NAME
        assert {len(query) % 128 for query in server.queries} == {0}
        options = [option.otype for query in server.queries for option in dns.message.from_wire(query).options]
        assert {option.name for option in options} == {"PADDING"}


@both
async def test_many_at_once_and_out_of_order(scheme: Scheme) -> None:
    async with EncryptedServer(scheme, SCRIPT) as server, resolving(server.address) as resolver:
        await addresses_of(resolver)
        server.gather = 4
        names = [f"n{number}.example.org" for number in range(40)]
        found = await asyncio.gather(*(addresses_of(resolver, name) for name in names))
        assert found == [{ip_address(f"9.9.9.{number}")} for number in range(40)]
        assert server.connections == 1


@both
async def test_wrong_certificate(scheme: Scheme) -> None:
    async with EncryptedServer(scheme, SCRIPT, authority=trustme.CA()) as server, resolving(server.address) as resolver:
        assert await reason_of(resolver) is Reason.NO_NAME
        assert server.queries == []


@both
@pytest.mark.parametrize("expected", ["other.example.net", "127.0.0.1"])
async def test_wrong_name(scheme: Scheme, expected: str) -> None:
    async with EncryptedServer(scheme, SCRIPT) as server:
        async with resolving(replace(server.address, name=expected)) as resolver:
            assert await reason_of(resolver) is Reason.NO_NAME
        assert server.queries == []


@both
async def test_certificate_for_an_address(scheme: Scheme) -> None:
    async with (
        EncryptedServer(scheme, SCRIPT, names=("127.0.0.1",)) as server,
        resolving(replace(server.address, name="127.0.0.1")) as resolver,
    ):
        assert await addresses_of(resolver) == {V4, V6}


@both
async def test_connection_that_the_server_closed_is_made_anew(scheme: Scheme) -> None:
    async with EncryptedServer(scheme, SCRIPT) as server, resolving(server.address) as resolver:
        for connections in (1, 2, 3):
            assert await addresses_of(resolver) == {V4, V6}
            assert server.connections == connections
            server.cut_all()


@both
async def test_connection_cut_under_a_question_is_asked_again(scheme: Scheme) -> None:
    async with EncryptedServer(scheme, SCRIPT) as server, resolving(server.address) as resolver:
        await addresses_of(resolver)
        server.cut = 1
        assert await addresses_of(resolver) == {V4, V6}


@both
async def test_server_that_cuts_always(scheme: Scheme) -> None:
    async with EncryptedServer(scheme, SCRIPT) as server, resolving(server.address) as resolver:
        server.cut = 1000
        async with asyncio.timeout(2):
            assert await reason_of(resolver) is Reason.NO_NAME
        assert len(server.queries) <= 4


@both
async def test_silent_server(scheme: Scheme, monkeypatch: pytest.MonkeyPatch) -> None:
    async with EncryptedServer(scheme, SCRIPT) as server, resolving(server.address) as resolver:
        await addresses_of(resolver)
        server.silent = True
        monkeypatch.setattr(sources, "LOOKUP_LIMIT_S", 0.2)
        assert await reason_of(resolver) is Reason.TIMED_OUT
        server.silent = False
        monkeypatch.setattr(sources, "LOOKUP_LIMIT_S", 5.0)
        assert await addresses_of(resolver) == {V4, V6}


async def test_dead_connection_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_encrypted, "SUSPECT_S", 0.1)
    async with EncryptedServer("tls", SCRIPT) as server, resolving(server.address) as resolver:
        await addresses_of(resolver)
        server.silent = True
        asked = asyncio.create_task(addresses_of(resolver))
        async with asyncio.timeout(5):
            while server.connections < 2:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        server.silent = False
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert await addresses_of(resolver) == {V4, V6}


async def test_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_encrypted, "IDLE_S", 0.05)
    async with EncryptedServer("tls", SCRIPT) as server, resolving(server.address) as resolver:
        await addresses_of(resolver)
        async with asyncio.timeout(5):
            while open_sockets_to(server.address.port):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)


@both
@pytest.mark.parametrize("garbage", [b"", b"\0", b"\xff" * 40, b"\0" * 65535, b"\xff" * 65535], ids=len)
async def test_garbage_is_no_answer(scheme: Scheme, garbage: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LOOKUP_LIMIT_S", 0.5)
    async with EncryptedServer(scheme, SCRIPT) as server, resolving(server.address) as resolver:
        server.instead = garbage
        assert await reason_of(resolver) in (Reason.NO_NAME, Reason.TIMED_OUT)
        server.instead = None
        assert await addresses_of(resolver) == {V4, V6}


@both
async def test_answer_to_another_question_is_no_answer(scheme: Scheme, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LOOKUP_LIMIT_S", 0.5)
    async with EncryptedServer(scheme, SCRIPT) as server, resolving(server.address) as resolver:
        query = dns.message.make_query("other.example.org.", "A", id=0)
        server.instead = dns.message.make_response(query).to_wire()
        assert await reason_of(resolver) in (Reason.NO_NAME, Reason.TIMED_OUT)


async def test_oversized_answer_over_https() -> None:
    async with EncryptedServer("https", SCRIPT) as server, resolving(server.address) as resolver:
        server.instead = bytes(1 << 18)
        async with asyncio.timeout(2):
            assert await reason_of(resolver) is Reason.NO_NAME


@pytest.mark.parametrize("status", [b"404", b"500", b"302"])
async def test_https_server_that_refuses(status: bytes) -> None:
    async with EncryptedServer("https", SCRIPT) as server, resolving(server.address) as resolver:
        server.status = status
        assert await reason_of(resolver) is Reason.NO_NAME


async def test_https_answer_of_another_kind() -> None:
    async with EncryptedServer("https", SCRIPT) as server, resolving(server.address) as resolver:
        server.media_type = b"application/json"
        assert await reason_of(resolver) is Reason.NO_NAME


async def test_https_request_says_no_more_than_it_must() -> None:
    async with EncryptedServer("https", SCRIPT) as server, resolving(server.address) as resolver:
        await addresses_of(resolver)
        await addresses_of(resolver)
        for request in server.requests:
            assert {name for name in request if not name.startswith(b":")} == {
                b"accept",
                b"content-type",
                b"content-length",
            }
            assert request[b":authority"] == f"{SERVER_NAME}:{server.address.port}".encode()
            assert request[b":path"] == b"/dns-query"
        assert {dns.message.from_wire(query).id for query in server.queries} == {0}


async def test_https_server_without_http2_is_not_asked() -> None:
    async with EncryptedServer("https", SCRIPT, alpn="http/1.1") as server, resolving(server.address) as resolver:
        assert await reason_of(resolver) is Reason.NO_NAME
        assert server.queries == []


@both
async def test_nobody_there(scheme: Scheme) -> None:
    async with EncryptedServer(scheme, SCRIPT) as server:
        address = server.address
    async with resolving(address) as resolver, asyncio.timeout(2):
        assert await reason_of(resolver) is Reason.NO_NAME


@both
async def test_server_without_tls(scheme: Scheme, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers in the clear is asked nothing."""
    heard = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(65536))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    monkeypatch.setattr(sources, "LOOKUP_LIMIT_S", 1.0)
    async with EncryptedServer(scheme, SCRIPT) as server:
        address = server.address
    listener = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with listener, resolving(replace(address, port=listener.sockets[0].getsockname()[1])) as resolver:
        assert await reason_of(resolver) in (Reason.NO_NAME, Reason.TIMED_OUT)
    assert b"example" not in bytes(heard).replace(SERVER_NAME.encode(), b"")


@both
async def test_abandoned_questions_leave_nothing(scheme: Scheme) -> None:
    async with EncryptedServer(scheme, SCRIPT) as server:
        async with resolving(server.address) as resolver:
            for rounds in (*range(0, 24, 3), 200):
                asked = asyncio.create_task(resolver.resolve(NAME))
                for _ in range(rounds):
                    await asyncio.sleep(0)
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
            assert await addresses_of(resolver) == {V4, V6}
        async with asyncio.timeout(5):
            while open_sockets_to(server.address.port):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
