"""A real man in the middle of QUIC's TLS: whatever he does to streams and datagrams, none of his bytes counts."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from core.errors import LinkError, Reason
from core.flow import FlowRequest
from tests.harness.bare import check_alive, counts
from tests.harness.entropy import flipped
from tests.harness.linked import Receiver
from tests.harness.linked import record as record_of
from tests.harness.middle import DATAGRAM, Attack, Ledger, Middle, Seen, Way, framed
from tests.harness.network import Came, Collect, chain, real_engine
from tests.harness.waiting import until
from tunnel.path import ANY_EXIT
from tunnel.service import Tunnel, TunnelParts

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Collection

    from core.ids import PeerKey
    from tests.harness.middle import Act
    from tests.harness.network import Network
    from tunnel.link import Link
    from tunnel.path import Path, Wish

ECHO = FlowRequest("echo.example", 80)
BOTH = list(Way)
LARGE = 700
"""Records with the flow's data are longer than this, those with pings are not."""


class Scene(NamedTuple):
    """A guard and an exit, a client that reaches the guard, and one that reaches the man in the middle."""

    network: Network
    good: Tunnel
    victim: Tunnel
    middle: Middle
    ledger: Ledger
    asked: list[tuple[str, int]]
    others: set[Link]
    """Links of the guard that the victim has no part in."""

    @property
    def guard(self) -> Tunnel:
        return self.network.nodes[0]

    def hears(self, way: Way) -> Tunnel:
        """Who is at the end of a way."""
        return self.guard if way is Way.TO_GUARD else self.victim

    def link(self, way: Way) -> Link:
        """The link of the victim, or the guard's end of it."""
        near = next(iter(self.victim.links))
        if way is Way.TO_CLIENT:
            return near
        return next(link for link in self.guard.links if link not in self.others)


def counted(tunnel: Tunnel) -> Counter[str]:
    """Every reason that a node has counted."""
    total = tunnel.links.counters + tunnel.relay.counters + tunnel.pool.counters
    for link in tunnel.links:
        total += link.counters
    return total


@asynccontextmanager
async def besieged(patch: pytest.MonkeyPatch, *, pool: bool = True) -> AsyncIterator[Scene]:
    """Attack inside; when it is over, the network must hold nothing of the victim and still serve a good client."""
    ledger = Ledger(patch)
    async with chain(2) as (network, good, echo):
        before, others = counts(network), set(network.nodes[0].links)
        path = tuple(network.hops[key] for key in network.keys)
        middle = Middle(real_engine(), path[0].addresses[0])
        await middle.start()
        through: Path = (replace(path[0], addresses=(middle.address,)), *path[1:])

        def choose(avoid: Collection[PeerKey], last: PeerKey | None, wish: Wish = ANY_EXIT) -> Path:
            return through

        victim = Tunnel(real_engine(), TunnelParts(address_ok=lambda host: True, choose=choose))
        try:
            await victim.start(0, client=pool)
            if pool:
                await until(lambda: victim.pool.ready >= 2, 15)
            yield Scene(network, good, victim, middle, ledger, echo.asked, others)
            ledger.check()
        finally:
            await victim.close()
            await middle.close()
        await until(lambda: counts(network) == before, 10)
        await check_alive(good)
        assert not counted(network.nodes[0])["internal error"]
        assert not counted(network.nodes[1])["internal error"]


async def talk(scene: Scene, attack: Attack) -> None:
    """Say something before, during and after an attack, and hear all of it in order."""
    flow = await scene.victim.pool.dial(ECHO)
    heard = Collect(flow)
    flow.attach(heard)
    said = bytearray()

    async def say(data: bytes) -> None:
        said.extend(data)
        met = scene.middle.count(attack.way)
        flow.write(data)
        await until(lambda: attack.over or scene.middle.count(attack.way) > met)

    await say(bytes(LARGE))
    await until(lambda: heard.data == said)
    scene.middle.attacks.append(attack)
    while not attack.over:
        await say(os.urandom(1) * LARGE)
    flow.write(b"after" * LARGE)
    flow.finish()
    await until(lambda: heard.reason is not None, 20)
    assert bytes(heard.data) == bytes(said) + b"after" * LARGE
    assert heard.reason is Reason.DONE


# -- streams of flows


def inject(junk: bytes) -> Act:
    return lambda seen: [junk, seen.record]


def repeat(seen: Seen) -> list[bytes]:
    return [seen.record, seen.record]


def repeat_old(seen: Seen) -> list[bytes]:
    """The first record of that stream once more."""
    old = next(record for way, stream, record in seen.tap.seen if (way, stream) == (seen.way, seen.stream))
    return [old, seen.record]


def swap(first: Seen, second: Seen) -> list[bytes]:
    return [second.record, first.record]


def drop(first: Seen, second: Seen) -> list[bytes]:
    return [second.record]


def flip(bit: int) -> Act:
    return lambda seen: [flipped(seen.record, bit % (8 * len(seen.record)))]


def shorten(seen: Seen) -> list[bytes]:
    return [seen.record[:-1]]


def move(seen: Seen) -> list[bytes]:
    """To another stream that stands open."""
    other = next(stream for _, stream, _ in seen.tap.seen if stream not in (0, seen.stream, DATAGRAM))
    seen.tap.send(seen.way, other, framed(seen.record))
    return []


def reflect(seen: Seen) -> list[bytes]:
    """Back to who sent it, on the same stream."""
    seen.tap.send(seen.way.back, seen.stream, framed(seen.record))
    return [seen.record]


def large(stream: int, record: bytes) -> bool:
    return stream not in (0, DATAGRAM) and len(record) > LARGE


TAG = "record: link tag does not verify"
ON_FLOWS: dict[str, tuple[Act, str]] = {
    "inject a record": (inject(os.urandom(900)), TAG),
    "inject an empty record": (inject(b""), "record: too short"),
    "inject a short record": (inject(bytes(15)), "record: too short"),
    "inject a tag alone": (inject(bytes(16)), TAG),
    "inject one too long": (inject(bytes(65_000)), "record: too long"),
    "repeat": (repeat, TAG),
    "repeat an old one": (repeat_old, TAG),
    "swap": (swap, TAG),
    "drop": (drop, TAG),
    "flip the first bit": (flip(0), TAG),
    "flip a bit of the header": (flip(8 * 9), TAG),
    "flip a bit inside": (flip(8 * 100 + 3), TAG),
    "flip the last bit": (flip(-1), TAG),
    "shorten": (shorten, TAG),
    "move to another stream": (move, TAG),
}


@pytest.mark.parametrize("way", BOTH, ids=lambda way: way.value)
@pytest.mark.parametrize("name", ON_FLOWS)
async def test_records_of_a_flow(monkeypatch: pytest.MonkeyPatch, name: str, way: Way) -> None:
    act, reason = ON_FLOWS[name]
    async with besieged(monkeypatch) as scene:
        await talk(scene, Attack(way, large, act, 2 if act in (swap, drop) else 1))
        assert counted(scene.hears(way))[reason] == 1
        assert len(scene.asked) == 1


@pytest.mark.parametrize("way", BOTH, ids=lambda way: way.value)
async def test_a_record_sent_back(monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    """The two directions have keys of their own."""
    async with besieged(monkeypatch) as scene:
        await talk(scene, Attack(way, large, reflect))
        assert counted(scene.hears(way.back))[TAG] == 1


# -- other ends of streams


def cut(seen: Seen) -> list[bytes]:
    """The record, and then the end of the stream as if its sender had ended it."""
    seen.tap.cut(seen.way, seen.stream, framed(seen.record))
    return []


def cut_within(seen: Seen) -> list[bytes]:
    """Half of the record, and then the end."""
    seen.tap.cut(seen.way, seen.stream, framed(seen.record)[:-9])
    return []


def reset(seen: Seen) -> list[bytes]:
    """Towards one side. What that side answers he swallows, so the other hears nothing until he is gone."""
    seen.tap.reset(seen.way, seen.stream)
    asyncio.get_running_loop().call_later(0.1, seen.tap.close)
    return []


def reset_both(seen: Seen) -> list[bytes]:
    for way in Way:
        seen.tap.reset(way, seen.stream)
    return []


@pytest.mark.parametrize("way", BOTH, ids=lambda way: way.value)
@pytest.mark.parametrize("act", [cut, cut_within, reset, reset_both], ids=lambda act: act.__name__)
async def test_a_flow_goes_on_when_its_stream_ends(monkeypatch: pytest.MonkeyPatch, act: Act, way: Way) -> None:
    """The end of a stream says nothing about the end of the flow."""
    async with besieged(monkeypatch) as scene:
        await talk(scene, Attack(way, large, act))
        assert counted(scene.victim)["flow lost"] == 1
        assert len(scene.asked) == 1


@pytest.mark.parametrize("stream", [4_000, 4_001, 4_003, 1])
@pytest.mark.parametrize("way", BOTH, ids=lambda way: way.value)
async def test_a_stream_of_his_own(monkeypatch: pytest.MonkeyPatch, way: Way, stream: int) -> None:
    def open_stream(seen: Seen) -> list[bytes]:
        seen.tap.send(way, stream, framed(seen.record))
        return [seen.record]

    async with besieged(monkeypatch) as scene:
        await talk(scene, Attack(way, large, open_stream))
        # QUIC lets each side open only streams of its own numbers; of those, a link takes bidirectional ones.
        theirs = 0 if way is Way.TO_GUARD else 1
        assert counted(scene.hears(way))[TAG] == (stream % 4 == theirs)


# -- the control stream


def control(stream: int, record: bytes) -> bool:
    return stream == 0


SEALED = "message: wrong header"
ON_CONTROL: dict[str, tuple[Act, str]] = {
    "inject a record": (inject(os.urandom(100)), SEALED),
    "inject an empty record": (inject(b""), "control: empty record"),
    "inject a handshake": (inject(b"\1\0\0\0" + bytes(1328)), SEALED),
    "inject one too long": (inject(bytes(17_000)), "record: too long"),
    "repeat": (repeat, SEALED),
    "repeat an old one": (repeat_old, SEALED),
    "swap": (swap, SEALED),
    "drop": (drop, SEALED),
    "flip a bit of the header": (flip(8 * 9), SEALED),
    "flip a bit inside": (flip(8 * 20), "message: does not verify"),
    "flip the last bit": (flip(-1), "message: does not verify"),
    "shorten": (shorten, "message: does not verify"),
    "cut": (cut, "control stream ended"),
    "cut within": (cut_within, "control stream ended"),
    "reset": (reset, "control stream reset"),
}


@pytest.mark.parametrize("way", BOTH, ids=lambda way: way.value)
@pytest.mark.parametrize("name", ON_CONTROL)
async def test_the_control_stream(monkeypatch: pytest.MonkeyPatch, name: str, way: Way) -> None:
    """It costs the link. The flows go on over a new one."""
    act, reason = ON_CONTROL[name]
    async with besieged(monkeypatch) as scene:
        flow = await scene.victim.pool.dial(ECHO)
        heard = Collect(flow)
        flow.attach(heard)
        flow.write(b"before, ")
        await until(lambda: heard.data == b"before, ")
        gossips: list[bytes] = []
        monkeypatch.setattr(scene.hears(way)._parts, "gossip", lambda link, body: gossips.append(body))
        link, attack = scene.link(way.back), Attack(way, control, act, 2 if act in (swap, drop) else 1)
        scene.middle.attacks.append(attack)
        for _ in range(2):
            link.send_gossip(b"truth")
        await until(lambda: link.closed, 10)
        flow.write(b"after")
        flow.finish()
        await until(lambda: heard.reason is not None, 20)
        assert (bytes(heard.data), heard.reason) == (b"before, after", Reason.DONE)
        assert counted(scene.hears(way))[reason] == 1
        assert set(gossips) <= {b"truth"}
        assert len(scene.asked) == 1


# -- the handshake


@pytest.mark.parametrize("way", BOTH, ids=lambda way: way.value)
@pytest.mark.parametrize("name", ["flip", "shorten", "inject", "drop", "replace"])
async def test_the_handshake(monkeypatch: pytest.MonkeyPatch, name: str, way: Way) -> None:
    """Nothing comes up that he has touched; the next attempt, untouched, does."""
    monkeypatch.setattr("tunnel.links.LINK_HANDSHAKE_S", 0.5)
    acts: dict[str, Act] = {
        "flip": flip(8 * 30),
        "shorten": shorten,
        "inject": inject(b"\1" + bytes(1331)),
        "drop": lambda seen: [],
        "replace": lambda seen: [os.urandom(len(seen.record))],
    }
    async with besieged(monkeypatch, pool=False) as scene:
        (*_, guard) = scene.victim._parts.choose((), None)[:1]
        scene.middle.attacks.append(Attack(way, control, acts[name]))
        with pytest.raises(LinkError):
            await scene.victim.links.to(guard)
        assert not list(scene.victim.links)
        refused = scene.guard.links.counters + scene.victim.links.counters
        await until(lambda: sum((scene.guard.links.counters + scene.victim.links.counters).values()) > 0)
        link = await scene.victim.links.to(guard)
        assert link.is_up
        assert refused is not None


async def say_again(scene: Scene, recorded: list[tuple[int, bytes]]) -> None:
    """Say what was recorded to the guard on a new connection, until he hangs up."""
    tap = await scene.middle.dial()
    for stream, record in recorded:
        tap.send(Way.TO_GUARD, stream, framed(record))
    await until(lambda: tap.closed, 10)


async def test_a_recorded_client_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a client ever sent, said again on a connection of his own: the guard does not come up."""
    monkeypatch.setattr("tunnel.links.LINK_HANDSHAKE_S", 0.5)
    async with besieged(monkeypatch) as scene:
        await talk(scene, Attack(Way.TO_GUARD, large, lambda seen: [seen.record]))
        recorded = [(stream, record) for way, stream, record in scene.middle.taps[0].seen if way is Way.TO_GUARD]
        links, asked = set(scene.guard.links), list(scene.asked)
        for again in ([seen for seen in recorded if control(*seen)], recorded):
            await say_again(scene, again)
            assert set(scene.guard.links) == links
            assert scene.asked == asked
        # The control stream alone is refused for what it repeats; of several streams, any may come first.
        refused = counted(scene.guard)
        assert refused["control: initiation repeated"] >= 1
        assert refused["control: initiation repeated"] + refused["link: stream before the handshake"] == 2


async def test_he_gets_no_further_with_a_client_of_his_own_behind_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of one link mean nothing on another: what the victim sends is replayed inside a link of his own."""
    async with besieged(monkeypatch) as scene:
        seen: list[Seen] = []

        def copy(one: Seen) -> list[bytes]:
            seen.append(one)
            return [one.record]

        await talk(scene, Attack(Way.TO_GUARD, large, copy))
        (hop, *_) = scene.victim._parts.choose((), None)
        own = await scene.good.links.to(replace(hop, addresses=scene.network.hops[hop.peer].addresses))
        before = scene.guard.relay.counters["no such circuit"]
        streams = [own.open_stream(Receiver()) for _ in range(3)]
        for stream in streams:
            stream.send(record_of(seen[0].record[:-16]))
        await until(lambda: scene.guard.relay.counters["no such circuit"] == before + 3)
        assert len(scene.asked) == 1


# -- datagrams


JUNK_DATAGRAMS = [b"", b"\4", bytes(32), os.urandom(100), os.urandom(1200)]


@pytest.mark.parametrize("way", BOTH, ids=lambda way: way.value)
async def test_datagrams_of_his_own(monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    """Each is counted and dropped; one that is lost or forged is no reason to drop the link."""

    def inject_datagrams(seen: Seen) -> list[bytes]:
        for datagram in JUNK_DATAGRAMS[1:]:
            seen.tap.send_datagram(way, datagram)
            seen.tap.send_datagram(way, seen.record[:1000])
        return [seen.record]

    async with besieged(monkeypatch) as scene:
        link, before = scene.link(way), sum(counted(scene.hears(way)).values())
        await talk(scene, Attack(way, large, inject_datagrams))
        await until(lambda: sum(counted(scene.hears(way)).values()) >= before + 2 * len(JUNK_DATAGRAMS[1:]))
        assert link.is_up
        assert len(scene.asked) == 1


def is_datagram(stream: int, record: bytes) -> bool:
    return stream == DATAGRAM


def to_another_stream(seen: Seen) -> list[bytes]:
    """Which stream a datagram belongs to stands before it, and is the nonce of its tag."""
    number = int.from_bytes(seen.record[:4]) ^ 4
    return [number.to_bytes(4) + seen.record[4:]]


def send_back(seen: Seen) -> list[bytes]:
    seen.tap.send_datagram(seen.way.back, seen.record)
    return [seen.record]


DATAGRAM_TAG = "datagram: link tag does not verify"
ON_DATAGRAMS: dict[str, tuple[Act, str]] = {
    "drop": (lambda seen: [], ""),
    "repeat": (repeat, "datagram: repeated or late"),
    "swap": (swap, ""),
    "inject the next number": (inject(bytes(12) + os.urandom(300)), DATAGRAM_TAG),
    "inject a far number": (inject(bytes(4) + b"\0\0\1".ljust(8, b"\0") + os.urandom(300)), DATAGRAM_TAG),
    "inject a short one": (inject(bytes(20)), "datagram: too short"),
    "flip the first bit": (flip(0), DATAGRAM_TAG),
    "flip a bit inside": (flip(8 * 60), DATAGRAM_TAG),
    "flip the last bit": (flip(-1), DATAGRAM_TAG),
    "shorten": (shorten, DATAGRAM_TAG),
    "move to another stream": (to_another_stream, DATAGRAM_TAG),
}


@pytest.mark.parametrize("way", BOTH, ids=lambda way: way.value)
@pytest.mark.parametrize("name", ON_DATAGRAMS)
async def test_datagrams_of_an_association(monkeypatch: pytest.MonkeyPatch, name: str, way: Way) -> None:
    """Each of the client's arrives as it was or not at all, and once; the next ones pass."""
    act, reason = ON_DATAGRAMS[name]
    async with besieged(monkeypatch) as scene:
        came = Came(await scene.victim.pool.dial_datagrams())
        said = [bytes([number]) * 500 for number in range(40)]
        link, attack = scene.link(way), Attack(way, is_datagram, act, 2 if act is swap else 1)
        scene.middle.attacks.append(attack)
        for data in said:
            met = scene.middle.count(Way.TO_CLIENT)
            came.flow.send("echo.example", 53, data)
            with suppress(AssertionError):
                await until(lambda met=met: scene.middle.count(Way.TO_CLIENT) > met, 0.2)  # type: ignore[misc]
        await until(lambda: ("echo.example", 53, said[-1]) in came.datagrams)
        assert attack.over
        heard = [data for _, _, data in came.datagrams]
        assert set(heard) <= set(said)
        assert len(heard) == len(set(heard)) >= len(said) - 3
        assert link.is_up
        assert not reason or counted(scene.hears(way))[reason] == 1


@pytest.mark.parametrize("way", BOTH, ids=lambda way: way.value)
async def test_a_datagram_sent_back(monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    """The two directions have keys of their own."""
    async with besieged(monkeypatch) as scene:
        came = Came(await scene.victim.pool.dial_datagrams())
        scene.middle.attacks.append(Attack(way, is_datagram, send_back))
        came.flow.send("echo.example", 53, b"once")
        await until(lambda: came.datagrams == [("echo.example", 53, b"once")])
        hears = scene.hears(way.back)
        refused = ("datagram: repeated or late", DATAGRAM_TAG)
        await until(lambda: sum(counted(hears)[why] for why in refused) == 1)
        assert scene.link(way).is_up
