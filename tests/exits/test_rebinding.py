"""A real DNS server that answers with a public address and with one inside, in every order: who is connected to.

127.22.0.2 stands for what is public: it alone is opened. Whatever listens at the other addresses counts.
"""

from __future__ import annotations

import gc
import itertools
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final

import pytest

from core.errors import Reason
from exits.addresses import AddressFilter, Way
from exits.limits import EgressLimits
from exits.resolver import UdpResolver
from tests.exits.fakes import ALIAS, DnsServer, FixedResolver, Origin, SilentListener
from tests.exits.stage import NAME, connect, outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exits.addresses import Address
    from tests.exits.stage import MakeEgress

PUBLIC: Final = "127.22.0.2"
INSIDE: Final = ("127.0.0.1", "169.254.169.254", "10.0.0.1", "192.168.1.1", "100.64.0.1", "0.0.0.0")
INSIDE_V6: Final = (
    "::1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::1",
    "2a00:1450:1:2:0:5efe:7f00:1",
    "2a00:1450:1:2::7f00:1",
    "fe80::1",
    "fd00::1",
    "::",
)
ONLY_PUBLIC: Final = AddressFilter(allow=[ip_network(f"{PUBLIC}/32")])


class Stage:
    """A public destination and one inside on the same port, and a DNS server."""

    def __init__(self, inside: Origin, public: Origin, server: DnsServer, resolver: UdpResolver) -> None:
        self.inside = inside
        self.public = public
        self.server = server
        self.resolver = resolver

    @property
    def port(self) -> int:
        return self.inside.port


@asynccontextmanager
async def stage(script: dict[tuple[str, str], list[Any]]) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(DnsServer(script))
        inside = await stack.enter_async_context(Origin())
        public = await stack.enter_async_context(await Origin().start(PUBLIC, inside.port))
        resolver = UdpResolver("127.0.0.1", server.port)
        stack.push_async_callback(resolver.close)
        yield Stage(inside, public, server, resolver)


@pytest.mark.parametrize("second", INSIDE)
async def test_public_first_and_inside_afterwards(make_egress: MakeEgress, second: str) -> None:
    async with stage({(NAME, "A"): [[PUBLIC], [second]]}) as made:
        egress = make_egress(resolver=made.resolver, address_filter=ONLY_PUBLIC)
        (await connect(egress, NAME, made.port)).client_reset()
        for _ in range(3):
            assert await outcome(egress, NAME, made.port) is Reason.NOT_ALLOWED
        assert len(made.public.clients) == 1
        assert made.inside.clients == []
        await egress.stop()


@pytest.mark.parametrize("other", INSIDE)
@pytest.mark.parametrize("public_first", [True, False])
@pytest.mark.parametrize("alias", [False, True])
async def test_both_in_one_answer(make_egress: MakeEgress, other: str, public_first: bool, alias: bool) -> None:
    answer = [PUBLIC, other] if public_first else [other, PUBLIC]
    async with stage({(NAME, "A"): [ALIAS, answer] if alias else [answer]}) as made:
        egress = make_egress(resolver=made.resolver, address_filter=ONLY_PUBLIC)
        (await connect(egress, NAME, made.port)).client_reset()
        assert len(made.public.clients) == 1
        assert made.inside.clients == []
        await egress.stop()


@pytest.mark.parametrize("other", INSIDE_V6)
async def test_inside_over_ipv6_beside_public_over_ipv4(make_egress: MakeEgress, other: str) -> None:
    """IPv6 would be dialled first."""
    async with stage({(NAME, "A"): [[PUBLIC]], (NAME, "AAAA"): [[other]]}) as made, AsyncExitStack() as stack:
        here_too = await stack.enter_async_context(await Origin().start("::1", made.port))
        egress = make_egress(resolver=made.resolver, address_filter=ONLY_PUBLIC)
        (await connect(egress, NAME, made.port)).client_reset()
        assert len(made.public.clients) == 1
        assert made.inside.clients == here_too.clients == []
        await egress.stop()


@pytest.mark.parametrize(("v4", "v6"), list(itertools.product(INSIDE[:2], INSIDE_V6[:4])))
async def test_an_alias_that_leads_inside(make_egress: MakeEgress, v4: str, v6: str) -> None:
    async with stage({(NAME, "A"): [ALIAS, [v4]], (NAME, "AAAA"): [ALIAS, [v6]]}) as made:
        egress = make_egress(resolver=made.resolver, address_filter=ONLY_PUBLIC)
        assert await outcome(egress, NAME, made.port) is Reason.NOT_ALLOWED
        assert made.inside.clients == []
        await egress.stop()


class Moving(AddressFilter):
    """Calls everything public, so that loopback can stand for it; routes count as ever."""

    def may_allow(self, address: Address, port: int | None = None) -> bool:
        return True


@pytest.mark.parametrize("way", [Way.OUT, Way.INSIDE])
async def test_an_address_in_a_request_is_looked_up_once_as_it_is_dialled(make_egress: MakeEgress, way: Way) -> None:
    asked: list[str] = []

    def way_to(address: Address) -> Way:
        asked.append(str(address))
        return way

    async with await Origin().start(PUBLIC) as public:
        egress = make_egress(resolver=FixedResolver(), address_filter=Moving(way_to=way_to))
        if way is Way.OUT:
            (await connect(egress, PUBLIC, public.port)).client_reset()
        else:
            assert await outcome(egress, PUBLIC, public.port) is Reason.NOT_ALLOWED
        assert asked == [PUBLIC]
        assert len(public.clients) == (way is Way.OUT)
        await egress.stop()


async def test_a_route_that_changes_while_the_first_address_is_tried(make_egress: MakeEgress) -> None:
    """The second address is outside until the first one is tried, and inside when its turn comes."""
    first, second = "127.22.0.3", PUBLIC
    asked: list[str] = []

    def way_to(address: Address) -> Way:
        asked.append(str(address))
        return Way.INSIDE if first in asked and str(address) == second else Way.OUT

    async with await Origin().start(second) as public:
        with SilentListener(first, public.port):
            moving, limits = Moving(way_to=way_to), EgressLimits(setup_s=1.0)
            egress = make_egress(resolver=FixedResolver(first, second), address_filter=moving, limits=limits)
            assert await outcome(egress, NAME, public.port) is Reason.TIMED_OUT
            assert asked == [first, second]
            assert public.clients == []
            await egress.stop()
    gc.collect()
