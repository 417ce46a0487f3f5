"""UDP associations that leave: real sockets on loopback, which is opened for them."""

from __future__ import annotations

import asyncio
import errno
import gc
import math
import os
import socket
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import FlowError, Reason
from core.flow import MAX_DATAGRAM_BYTES
from exits.addresses import AddressFilter
from exits.limits import DatagramLimits, EgressLimits
from exits.policy import Policy
from exits.shaping import Shaper
from tests.exits.datagrams import FakeDatagrams, Target, again, associate, refused
from tests.exits.fakes import FixedResolver
from tests.exits.stage import NAME
from tests.harness.waiting import turns, until

if TYPE_CHECKING:
    from exits.addresses import Address
    from exits.egress import Egress
    from tests.exits.stage import MakeEgress


def limited(**changes: Any) -> EgressLimits:
    return EgressLimits(datagrams=DatagramLimits(**changes))


def drops(egress: Egress, reason: Reason) -> int:
    return egress.counters[f"datagram {reason.word}"]


class GatedResolver:
    """Knows the answer, and gives it when the test says so."""

    def __init__(self, *answers: list[Address] | Reason) -> None:
        self.go_on = asyncio.Event()
        self.asked = 0
        self._answers = answers

    async def resolve(self, name: str, *_: object) -> list[Address]:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        await self.go_on.wait()
        if isinstance(answer, Reason):
            raise FlowError(answer)
        return answer


def addresses(*texts: str) -> list[Address]:
    return [ip_network(text).network_address for text in texts]


# -- there and back


@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1", NAME, "WWW.Example.ORG."])
async def test_there_and_back(make_egress: MakeEgress, host: str) -> None:
    egress = make_egress()
    async with Target() as target:
        flow = associate(egress)
        for size in (0, 1, 1200, MAX_DATAGRAM_BYTES):
            flow.to(host, target.port, bytes(size))
            await flow.wait_received(len(flow.received) + 1)
        assert flow.received == [("127.0.0.1", target.port, bytes(size)) for size in (0, 1, 1200, MAX_DATAGRAM_BYTES)]
        flow.client_close(Reason.DONE)
    assert egress.open_associations == 0
    assert egress.counters == {"done": 1}


async def test_each_destination_sees_the_same_port(make_egress: MakeEgress) -> None:
    egress = make_egress()
    async with Target() as one, await Target().start("127.22.0.9") as two:
        flow = associate(egress)
        flow.to("127.0.0.1", one.port, b"one")
        flow.to("127.22.0.9", two.port, b"two")
        await flow.wait_received(2)
        assert one.received[0][1][1] == two.received[0][1][1]
        other = associate(egress)
        other.to("127.0.0.1", one.port, b"other")
        await other.wait_received(1)
        assert one.received[1][1][1] != one.received[0][1][1]


async def test_both_families_in_one_association(make_egress: MakeEgress) -> None:
    egress = make_egress()
    async with Target() as four, await Target().start("::1") as six:
        flow = associate(egress)
        flow.to("127.0.0.1", four.port, b"four")
        await flow.wait_received(1)
        flow.to("::1", six.port, b"six")
        assert await flow.wait_received(2) == [("127.0.0.1", four.port, b"four"), ("::1", six.port, b"six")]


async def test_source_address_is_what_the_destination_sees(make_egress: MakeEgress) -> None:
    egress = make_egress(source_address="127.22.0.1")
    async with Target() as target:
        flow = associate(egress)
        flow.to(NAME, target.port, b"x")
        ((_, sender),) = await target.wait_received(1)
        assert sender[0] == "127.22.0.1"


async def test_only_who_was_sent_to_can_answer(make_egress: MakeEgress) -> None:
    egress = make_egress()
    async with Target() as target, await Target().start("127.22.0.9") as stranger, Target() as neighbour:
        flow = associate(egress)
        flow.to("127.0.0.1", target.port, b"question")
        await flow.wait_received(1)
        own = target.received[0][1]
        stranger.send(b"unasked", own)
        await until(lambda: drops(egress, Reason.NOT_ALLOWED) == 1)
        neighbour.send(b"from another port", own)
        assert await flow.wait_received(2) == [
            ("127.0.0.1", target.port, b"question"),
            ("127.0.0.1", neighbour.port, b"from another port"),
        ]
        flow.to("127.22.0.9", 9, b"now it is asked")
        stranger.send(b"answer", own)
        await flow.wait_received(3)


async def test_who_was_not_sent_to_for_a_while_cannot_answer_any_more(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=limited(idle_s=0.3))
    async with Target() as target, await Target().start("127.22.0.9") as former:
        flow = associate(egress)
        flow.to("127.22.0.9", former.port, b"x")
        await flow.wait_received(1)
        own = former.received[0][1]

        def keep_open() -> bool:
            flow.to("127.0.0.1", target.port, b"x")
            former.send(b"late", own)
            return drops(egress, Reason.NOT_ALLOWED) > 0

        await until(keep_open)
        assert flow.reason is None


async def test_what_is_too_large_to_travel_is_dropped(make_egress: MakeEgress) -> None:
    egress = make_egress()
    async with Target() as target:
        flow = associate(egress)
        flow.to("127.0.0.1", target.port, b"hello")
        await flow.wait_received(1)
        own = target.received[0][1]
        for size in (MAX_DATAGRAM_BYTES + 1, 65000, MAX_DATAGRAM_BYTES):
            target.send(bytes(size), own)
        await flow.wait_received(2)
        assert len(flow.received[1][2]) == MAX_DATAGRAM_BYTES
        assert drops(egress, Reason.PROTOCOL) == 2


async def test_a_port_that_nobody_listens_on_ends_nothing(make_egress: MakeEgress) -> None:
    egress = make_egress()
    async with Target() as closed:
        dead = closed.port
    async with Target() as target:
        flow = associate(egress)
        for _ in range(20):
            flow.to("127.0.0.1", dead, b"anybody?")
            await turns(3)
        flow.to("127.0.0.1", target.port, b"x")
        await flow.wait_received(1)
    assert egress.open_associations == 1


# -- names


async def test_datagrams_wait_for_the_name_in_order_and_no_more_than_so_many(make_egress: MakeEgress) -> None:
    resolver = GatedResolver(addresses("127.0.0.1"))
    egress = make_egress(resolver=resolver, limits=limited(waiting=5, waiting_bytes=12))
    async with Target(echo=False) as target:
        flow = associate(egress)
        for number in range(4):
            flow.to(NAME, target.port, b"%03d" % number)
        flow.to(NAME, target.port, b"over the bytes")
        resolver.go_on.set()
        await target.wait_received(4)
        for _ in range(4):
            flow.to(NAME, target.port, b"later")
        assert [data for data, _ in await target.wait_received(8)] == [b"000", b"001", b"002", b"003", *[b"later"] * 4]
        assert drops(egress, Reason.BUSY) == 1
        resolver.go_on.clear()
        for _ in range(7):
            flow.to("other.example.org", target.port, b"")
        assert drops(egress, Reason.BUSY) == 3
        resolver.go_on.set()
        await target.wait_received(13)


async def test_a_name_stays_where_it_was_found(make_egress: MakeEgress) -> None:
    """What it shows later is not asked for: neither DNS rebinding nor balancing moves a destination."""
    resolver = GatedResolver(addresses("127.0.0.1"), addresses("127.22.0.9"))
    resolver.go_on.set()
    egress = make_egress(resolver=resolver)
    async with Target() as target:
        flow = associate(egress)
        for count in (1, 2, 3):
            flow.to(NAME, target.port, b"x")
            await flow.wait_received(count)
    assert resolver.asked == 1


async def test_a_name_that_is_not_found_is_asked_again_after_a_while(make_egress: MakeEgress) -> None:
    resolver = GatedResolver(Reason.NO_NAME, addresses("127.0.0.1"))
    resolver.go_on.set()
    egress = make_egress(resolver=resolver, limits=limited(refused_s=0.1))
    async with Target() as target:
        flow = associate(egress)
        flow.to(NAME, target.port, b"x")
        await until(lambda: drops(egress, Reason.NO_NAME) == 1)
        flow.to(NAME, target.port, b"x")
        assert resolver.asked == 1
        await again(lambda: flow.to(NAME, target.port, b"x"), lambda: flow.received)
    assert resolver.asked == 2


async def test_lookups_at_once_are_bounded_and_end_with_the_association(make_egress: MakeEgress) -> None:
    resolver = GatedResolver(addresses("127.0.0.1"))
    egress = make_egress(resolver=resolver, limits=limited(lookups=3))
    flow = associate(egress)
    for number in range(5):
        flow.to(f"{number}.example.org", 9, b"x")
    await until(lambda: resolver.asked == 3)
    assert drops(egress, Reason.BUSY) == 2
    flow.client_close()
    await until(lambda: not len(egress._tasks))
    assert egress.open_associations == 0
    gc.collect()


async def test_a_defect_of_the_resolver_refuses_the_destination(
    make_egress: MakeEgress, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        async def resolve(self, name: str, *_: object) -> list[Address]:
            raise RuntimeError(name)

    egress = make_egress(resolver=Broken())
    flow = associate(egress)
    flow.to(NAME, 9, b"x")
    await until(lambda: drops(egress, Reason.HOST_UNREACHABLE) == 1)
    flow.to(NAME, 9, b"x")
    assert drops(egress, Reason.HOST_UNREACHABLE) == 2
    await until(lambda: "RuntimeError" in caplog.text)
    assert NAME not in caplog.text


async def test_without_a_route_the_next_address_is_taken(
    make_egress: MakeEgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnlyFour(socket.socket):
        def sendto(self, *arguments: Any) -> int:
            if self.family == socket.AF_INET6:
                raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
            return super().sendto(*arguments)

    monkeypatch.setattr("exits.udp.socket.socket", OnlyFour)
    egress = make_egress(resolver=FixedResolver("::1", "127.0.0.1"))
    async with Target() as target:
        flow = associate(egress)
        flow.to("::1", target.port, b"x")
        assert drops(egress, Reason.NETWORK_UNREACHABLE) == 1
        flow.to(NAME, target.port, b"x")
        assert await flow.wait_received(1) == [("127.0.0.1", target.port, b"x")]


# -- what must not leave


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "::1",
        "localhost",
        "10.0.0.1",
        "169.254.169.254",
        "255.255.255.255",
        "224.0.0.251",
        "ff02::fb",
        "0.0.0.0",
        "printer.local",
        "2130706433",
        NAME,
    ],
)
async def test_nothing_inside_is_reached(make_egress: MakeEgress, host: str) -> None:
    egress = make_egress(address_filter=AddressFilter(), resolver=FixedResolver("127.0.0.1", "::1", "10.0.0.1"))
    async with Target() as target:
        flow = associate(egress)
        for _ in range(3):
            flow.to(host, target.port, b"x")
        await until(lambda: drops(egress, Reason.NOT_ALLOWED) == 3)
        assert target.received == []
    assert egress.open_associations == 1


async def test_policy_and_ports(make_egress: MakeEgress) -> None:
    egress = make_egress(policy=Policy.parse("reject *:5060\nreject bad.example.org:*\naccept *:*"))
    async with Target() as target:
        flow = associate(egress)
        flow.to("127.0.0.1", 5060, b"x")
        flow.to("bad.example.org", target.port, b"x")
        assert drops(egress, Reason.NOT_ALLOWED) == 2
        flow.to("127.0.0.1", 0, b"x")
        assert drops(egress, Reason.PROTOCOL) == 1
        flow.to("good.example.org", target.port, b"x")
        await flow.wait_received(1)


async def test_ports_that_amplify_are_closed(make_egress: MakeEgress) -> None:
    egress = make_egress()
    flow = associate(egress)
    for port in (19, 161, 1900, 11211):
        flow.to("127.0.0.1", port, b"x")
    assert drops(egress, Reason.NOT_ALLOWED) == 4
    for port in (53, 123, 443):
        flow.to("127.0.0.1", port, b"x")
    assert drops(egress, Reason.NOT_ALLOWED) == 4


async def test_a_destination_is_checked_again_after_a_while(make_egress: MakeEgress) -> None:
    class Changing(AddressFilter):
        opened = True

        def allows(self, address: Address, port: int | None = None) -> bool:
            return self.opened

    changing = Changing()
    egress = make_egress(address_filter=changing, limits=limited(checked_s=0.05))
    async with Target(echo=False) as target:
        flow = associate(egress)
        flow.to(NAME, target.port, b"x")
        await target.wait_received(1)
        changing.opened = False
        await again(lambda: flow.to(NAME, target.port, b"x"), lambda: drops(egress, Reason.NOT_ALLOWED))
        await turns()
        before = len(target.received)
        flow.to(NAME, target.port, b"x")
        await turns()
        assert len(target.received) == before


# -- limits


async def test_associations_are_shared_out_among_circuits(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=limited(associations=8))
    greedy, modest = FakeDatagrams(), FakeDatagrams()
    held = [associate(egress, greedy) for _ in range(4)]
    assert refused(egress, greedy) is Reason.BUSY
    for _ in range(2):
        associate(egress, modest)
    assert refused(egress, modest) is Reason.BUSY
    assert refused(egress, greedy) is Reason.BUSY
    held[0].client_close()
    held[1].client_close()
    associate(egress, modest)
    assert egress.counters["busy"] == 3


async def test_destinations_of_an_association(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=limited(destinations=3, idle_s=0.2, unanswered=100))
    async with Target() as target:
        flow = associate(egress)
        for port in (1, 2, target.port):
            flow.to("127.0.0.1", port, b"x")
        flow.to("127.0.0.1", 4, b"one too many")
        assert drops(egress, Reason.BUSY) == 1
        await flow.wait_received(1)
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.3  # by then the others are forgotten; what is in use is kept
        await again(lambda: flow.to("127.0.0.1", target.port, b"x"), lambda: loop.time() > end)
        flow.to("127.0.0.1", 5, b"x")
        flow.to("127.0.0.1", 6, b"x")
        assert drops(egress, Reason.BUSY) == 1
        flow.to("127.0.0.1", 7, b"x")
        assert drops(egress, Reason.BUSY) == 2


async def test_who_answers_does_not_count_among_new_destinations(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=limited(unanswered=3, unanswered_per_s=0))
    async with Target() as one, Target() as two, Target(echo=False) as silent:
        flow = associate(egress)
        for count, target in enumerate((one, two, one, two), start=1):
            flow.to("127.0.0.1", target.port, b"x")
            await flow.wait_received(count)
        for port in (silent.port, 1, 2):
            flow.to("127.0.0.1", port, b"x")
        assert drops(egress, Reason.BUSY) == 0
        flow.to("127.0.0.1", 3, b"one too many")
        assert drops(egress, Reason.BUSY) == 1
        another = associate(egress, flow.circuit)
        another.to("127.0.0.1", 4, b"from the same circuit")
        assert drops(egress, Reason.BUSY) == 2
        flow.to("127.0.0.1", one.port, b"x")
        await flow.wait_received(5)
        associate(egress).to("127.0.0.1", one.port, b"from another circuit")
        await one.wait_received(4)


async def test_only_what_the_client_sends_keeps_an_association_open(make_egress: MakeEgress) -> None:
    egress = make_egress(limits=limited(idle_s=0.3))
    loop = asyncio.get_running_loop()
    async with Target() as target:
        flow, end = associate(egress), loop.time() + 0.6
        await again(lambda: flow.to("127.0.0.1", target.port, b"x"), lambda: loop.time() > end)
        assert flow.reason is None
        own, last = target.received[0][1], loop.time()
        await again(lambda: target.send(b"still here", own), lambda: flow.reason)
        assert loop.time() - last > 0.25
    assert flow.reason is Reason.TIMED_OUT
    assert egress.counters["timed_out"] == 1
    assert egress.open_associations == 0


async def test_what_may_not_pass_now_is_dropped(make_egress: MakeEgress) -> None:
    asked: list[tuple[object, int]] = []
    answers = iter([True, True, False, True, False, True, True])

    class Moody(Shaper):
        def admits(self, share: object, count: int, *, urgent: bool = False) -> bool:
            asked.append((share, count))
            return next(answers)

    loop = asyncio.get_running_loop()
    egress = make_egress(shaper=Moody(math.inf, loop.time, loop.call_later))
    async with Target() as target:
        flow = associate(egress)
        flow.to("127.0.0.1", target.port, b"a")
        await flow.wait_received(1)
        flow.to("127.0.0.1", target.port, b"not sent")
        flow.to("127.0.0.1", target.port, b"not returned")
        await until(lambda: drops(egress, Reason.LIMIT) == 2)
        flow.to("127.0.0.1", target.port, b"bcd")
        await flow.wait_received(2)
    assert [data for _, _, data in flow.received] == [b"a", b"bcd"]
    assert asked == [(flow.circuit, size) for size in (1, 1, 8, 12, 12, 3, 3)]
    assert egress.carried_bytes == (1 + 12 + 3, 1 + 3)


# -- the end


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


async def test_nothing_is_left_open(make_egress: MakeEgress) -> None:
    egress = make_egress()
    async with Target() as target:
        before = descriptors()
        flows = [associate(egress) for _ in range(20)]
        for flow in flows:
            flow.to("127.0.0.1", target.port, b"x")
            flow.to("::1", target.port, b"x")
            await flow.wait_received(1)
        assert descriptors() == before + 40
        for flow in flows[:10]:
            flow.client_close()
        assert descriptors() == before + 20
        await egress.stop()
        assert descriptors() == before
        assert [flow.reason for flow in flows[10:]] == [Reason.CLOSED] * 10
        assert refused(egress) is Reason.CLOSED
    assert (egress.counters["local"], egress.counters["closed"]) == (10, 11)
    gc.collect()


async def test_an_association_that_the_client_closed_before(make_egress: MakeEgress) -> None:
    class Gone(FakeDatagrams):
        def attach(self, listener: Any) -> None:
            listener.flow_closed(Reason.LOCAL)

    egress = make_egress()
    before = descriptors()
    egress.datagrams_requested(Gone())
    assert egress.open_associations == 0
    assert descriptors() == before


async def test_nothing_new_is_taken_while_an_obstacle_stands(make_egress: MakeEgress) -> None:
    egress = make_egress(admits=lambda: Reason.LEAVING)
    assert refused(egress) is Reason.LEAVING
