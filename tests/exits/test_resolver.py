"""Looking names up, against a DNS server that is really there."""

from __future__ import annotations

import asyncio
import socket
import threading
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import FlowError, Reason
from exits import dns_query, sources
from exits import resolver as resolver_module
from exits.dns_message import MAX_FAMILY_ADDRESSES
from exits.resolver import SystemResolver, UdpResolver
from exits.sources import MAX_LOOKUPS, MAX_SYSTEM_ADDRESSES
from tests.exits.fakes import (
    ALIAS,
    FORGED,
    FORGERIES,
    NXDOMAIN,
    SERVFAIL,
    SILENCE,
    TRUNCATED,
    DnsServer,
    open_sockets_to,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from exits.resolver import Resolver

NAME = "www.example.org"
V4 = ip_address("93.184.215.14")
V6 = ip_address("2606:4700::1")


async def reason_of(resolver: Resolver, name: str = NAME) -> Reason:
    with pytest.raises(FlowError) as caught:
        await resolver.resolve(name)
    assert name not in str(caught.value)
    return caught.value.reason


async def test_both_families() -> None:
    async with DnsServer({(NAME, "A"): [["93.184.215.14"]], (NAME, "AAAA"): [["2606:4700::1"]]}) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        assert await resolver.resolve(NAME) == [V6, V4]
        assert server.over_udp == 2
        assert server.over_tcp == 0
        await resolver.close()


async def test_one_family() -> None:
    async with DnsServer({(NAME, "A"): [["93.184.215.14", "93.184.215.15"]]}) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        assert set(await resolver.resolve(NAME)) == {V4, ip_address("93.184.215.15")}
        await resolver.close()


async def test_queries_cannot_be_guessed() -> None:
    async with DnsServer({(NAME, "A"): [["93.184.215.14"]]}) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        for _ in range(8):
            await resolver.resolve(NAME)
        assert len(set(server.ids)) > 12
        assert len(set(server.client_ports)) > 8
        await resolver.close()


@pytest.mark.parametrize("reply", [NXDOMAIN, SERVFAIL, []], ids=["nxdomain", "servfail", "no data"])
async def test_no_such_name(reply: Any) -> None:
    async with DnsServer({(NAME, "A"): [reply], (NAME, "AAAA"): [reply]}) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        assert await reason_of(resolver) is Reason.NO_NAME
        await resolver.close()


async def test_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LOOKUP_LIMIT_S", 0.3)
    async with DnsServer({(NAME, "A"): [SILENCE], (NAME, "AAAA"): [SILENCE]}) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        async with asyncio.timeout(2.0):
            assert await reason_of(resolver) is Reason.TIMED_OUT
        await resolver.close()


async def test_lost_query_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_query, "TRY_S", 0.1)
    script: dict[tuple[str, str], list[Any]] = {(NAME, "A"): [SILENCE, ["93.184.215.14"]]}
    async with DnsServer(script) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        assert await resolver.resolve(NAME) == [V4]
        await resolver.close()


async def test_one_silent_family_does_not_hold_the_other_up() -> None:
    async with DnsServer({(NAME, "A"): [["93.184.215.14"]], (NAME, "AAAA"): [SILENCE]}) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        async with asyncio.timeout(1.0):
            assert await resolver.resolve(NAME) == [V4]
        await resolver.close()


async def test_truncated_answer_comes_over_tcp() -> None:
    addresses = [f"93.184.215.{last}" for last in range(1, 101)]
    async with DnsServer({(NAME, "A"): [TRUNCATED, addresses]}) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        found = await resolver.resolve(NAME)
        assert server.over_tcp == 1
        assert len(found) == MAX_FAMILY_ADDRESSES
        assert {str(address) for address in found} <= set(addresses)
        await resolver.close()


async def test_forged_answers_are_passed_over() -> None:
    script: dict[tuple[str, str], list[Any]] = {(NAME, "A"): [FORGED, ["93.184.215.14"]]}
    async with DnsServer(script) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        assert await resolver.resolve(NAME) == [V4]
        assert server.forged == len(FORGERIES)
        await resolver.close()


async def test_alias_is_followed_within_the_answer() -> None:
    script: dict[tuple[str, str], list[Any]] = {(NAME, "A"): [ALIAS, ["93.184.215.14"]]}
    async with DnsServer(script) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        assert await resolver.resolve(NAME) == [V4]
        await resolver.close()


async def test_no_server_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    resolver = UdpResolver("127.0.0.1", port)
    async with asyncio.timeout(1.0):
        assert await reason_of(resolver) is Reason.NO_NAME
    await resolver.close()


async def test_abandoned_lookups_leave_no_socket() -> None:
    async with DnsServer({(NAME, "A"): [SILENCE], (NAME, "AAAA"): [TRUNCATED, SILENCE]}) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        for rounds in (*range(12), 100):
            lookup = asyncio.create_task(resolver.resolve(NAME))
            for _ in range(rounds):
                await asyncio.sleep(0)
            lookup.cancel()
            await asyncio.gather(lookup, return_exceptions=True)
        await resolver.close()
    assert open_sockets_to(server.port) == 0


async def test_answers_are_bounded() -> None:
    script: dict[tuple[str, str], list[Any]] = {
        (NAME, "A"): [[f"93.184.215.{last}" for last in range(1, 51)]],
        (NAME, "AAAA"): [[f"2606:4700::{last}" for last in range(1, 31)]],
    }
    async with DnsServer(script) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        found = await resolver.resolve(NAME)
        assert len(found) == 2 * MAX_FAMILY_ADDRESSES
        assert {address.version for address in found} == {4, 6}
        await resolver.close()


async def test_too_many_lookups_and_close_ends_them() -> None:
    async with DnsServer({(NAME, "A"): [SILENCE], (NAME, "AAAA"): [SILENCE]}) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        running = [asyncio.create_task(resolver.resolve(NAME)) for _ in range(MAX_LOOKUPS)]
        await asyncio.sleep(0)
        assert await reason_of(resolver) is Reason.BUSY
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await resolver.close()


async def test_lookups_that_ended_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "MAX_LOOKUPS", 1)
    async with DnsServer({(NAME, "A"): [["93.184.215.14"]], ("no.example.org", "A"): [NXDOMAIN]}) as server:
        resolver = UdpResolver("127.0.0.1", server.port)
        for _ in range(3):
            assert await resolver.resolve(NAME) == [V4]
            assert await reason_of(resolver, "no.example.org") is Reason.NO_NAME
        await resolver.close()


def answer_with(answers: dict[str, Any]) -> Callable[..., Any]:
    """Stand in for the system's `getaddrinfo`, which needs a network."""

    def getaddrinfo(host: str, port: object, family: int, kind: int) -> Any:
        assert kind == socket.SOCK_STREAM
        found = answers[host]
        if isinstance(found, Exception):
            raise found
        return [(0, 0, 0, "", (address, 0)) for address in found]

    return getaddrinfo


async def test_system_resolver_asks_without_search_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {f"{NAME}.": ["93.184.215.14", "2606:4700::1", "93.184.215.14", "fe80::1%7"]}
    monkeypatch.setattr(socket, "getaddrinfo", answer_with(answers))
    resolver = SystemResolver()
    assert await resolver.resolve(NAME) == [V4, V6, ip_address("fe80::1%7")]
    await resolver.close()


async def test_system_resolver_bounds_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answer_with({f"{NAME}.": [f"9.9.9.{n}" for n in range(99)]}))
    resolver = SystemResolver()
    assert len(await resolver.resolve(NAME)) == MAX_SYSTEM_ADDRESSES
    await resolver.close()


async def test_system_resolver_knows_no_such_name(monkeypatch: pytest.MonkeyPatch) -> None:
    error = socket.gaierror(socket.EAI_NONAME, NAME)
    monkeypatch.setattr(socket, "getaddrinfo", answer_with({f"{NAME}.": error}))
    resolver = SystemResolver()
    assert await reason_of(resolver) is Reason.NO_NAME
    await resolver.close()


async def test_system_that_is_silent_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: object) -> Any:
        release.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(sources, "_LOOKUP_THREADS", 1)
    monkeypatch.setattr(sources, "MAX_LOOKUPS", 2)
    monkeypatch.setattr(sources, "LOOKUP_LIMIT_S", 0.1)
    resolver = SystemResolver()
    assert await reason_of(resolver) is Reason.TIMED_OUT
    monkeypatch.setattr(sources, "LOOKUP_LIMIT_S", 10.0)
    waiting = asyncio.create_task(reason_of(resolver))
    await asyncio.sleep(0)
    assert await reason_of(resolver) is Reason.BUSY
    release.set()
    assert await waiting is Reason.NO_NAME
    assert await reason_of(resolver) is Reason.NO_NAME
    await resolver.close()
