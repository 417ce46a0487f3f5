"""PCP and NAT-PMP over real sockets, with gateways that lie, are silent, or lose what they are sent."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from peers.port_mapping import datagrams
from peers.port_mapping.datagrams import MAX_WAITING, Asker
from peers.port_mapping.gateway import Gateway
from peers.port_mapping.mappers import NatPmpMapper, PcpMapper
from peers.port_mapping.mapping import Mapping, MappingError
from tests.harness.waiting import turns, until
from tests.peers.port_mapping.fake_gateway import GATEWAY, HOST, FakeGateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    type Kind = type[PcpMapper | NatPmpMapper]
    type Change = Callable[[bytes], bytes]

PORT = 4444
both = pytest.mark.parametrize("kind", [PcpMapper, NatPmpMapper])


@pytest.fixture
async def fake() -> AsyncIterator[FakeGateway]:
    async with FakeGateway.serve() as serving:
        yield serving


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "PAUSES_S", (0.02, 0.04, 0.08))


@both
async def test_a_mapping_is_asked_for_checked_and_deleted(fake: FakeGateway, kind: Kind) -> None:
    mapper = kind(GATEWAY, PORT, fake.port)
    assert await mapper.map() == Mapping((HOST, PORT), 3600)
    assert await mapper.stands()
    asked = len(fake.requests)
    await mapper.unmap()
    (deletion,) = fake.requests[asked:]
    assert deletion[4:8] == bytes(4) if kind is PcpMapper else deletion == b"\0\1\0\0\x11\x5c" + bytes(6)
    mapper.close()


@both
async def test_another_port_is_taken_and_asked_for_again(fake: FakeGateway, kind: Kind) -> None:
    at = 42 if kind is PcpMapper else 10

    def elsewhere(request: bytes) -> list[bytes]:
        answer = fake.honest(request)[0]
        return [answer[:at] + b"\x11\x60" + answer[at + 2 :] if len(answer) > 12 else answer]

    fake.answer = elsewhere
    mapper = kind(GATEWAY, PORT, fake.port)
    assert await mapper.map() == Mapping((HOST, 4448), 3600)
    await mapper.map()
    wanted = fake.requests[-1]
    assert b"\x11\x60" in (wanted[42:44], wanted[6:8])
    mapper.close()


async def test_the_nonce_stays_the_same_and_is_nobody_elses(fake: FakeGateway) -> None:
    first, second = PcpMapper(GATEWAY, PORT, fake.port), PcpMapper(GATEWAY, PORT, fake.port)
    for mapper in (first, first, second):
        await mapper.map()
    nonces = [request[24:36] for request in fake.requests]
    assert nonces[0] == nonces[1] != nonces[2]
    first.close()
    second.close()


@both
async def test_what_gets_lost_is_asked_again(fake: FakeGateway, kind: Kind, hurry: None) -> None:
    fake.answer = lambda request: [] if len(fake.requests) == 1 else fake.honest(request)
    mapper = kind(GATEWAY, PORT, fake.port)
    assert (await mapper.map()).address == (HOST, PORT)
    mapper.close()


@both
async def test_silence_has_an_end(fake: FakeGateway, kind: Kind, hurry: None) -> None:
    fake.answer = lambda request: []
    mapper = kind(GATEWAY, PORT, fake.port)
    for ask in (mapper.map, mapper.stands, mapper.unmap):
        fake.requests.clear()
        with pytest.raises(MappingError, match="no answer"):
            await ask()
        assert len(fake.requests) == 3
    mapper.close()


def test_silence_ends_within_two_seconds() -> None:
    assert sum(datagrams.PAUSES_S) < 2


@both
async def test_a_gateway_that_does_not_listen_is_not_waited_for(kind: Kind) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    mapper = kind(GATEWAY, PORT, port)
    with pytest.raises(MappingError, match="nobody listens"):
        await mapper.map()
    mapper.close()


@both
async def test_a_gateway_without_a_way_to_it_is_an_error(kind: Kind) -> None:
    mapper = kind(Gateway("255.255.255.255", "127.0.0.1"), PORT)
    with pytest.raises(MappingError, match="no way"):
        await mapper.map()
    mapper.close()


@both
@pytest.mark.parametrize("result", [1, 2, 3, 4, 5, 9, 255])
async def test_a_refusal_is_an_error_at_once(fake: FakeGateway, kind: Kind, result: int) -> None:
    fake.answer = lambda request: [
        fake.pcp(request, result=result) if kind is PcpMapper else fake.nat_pmp(request, result=result)
    ]
    mapper = kind(GATEWAY, PORT, fake.port)
    with pytest.raises(MappingError, match=f"code {result}"):
        await mapper.map()
    with pytest.raises(MappingError, match=f"code {result}"):
        await mapper.unmap()
    assert len(fake.requests) == 2
    mapper.close()


async def test_a_gateway_of_nat_pmp_alone_is_told_at_once(fake: FakeGateway) -> None:
    """Its answer to another version, as RFC 6886, section 3.5, has it."""
    fake.answer = lambda request: [bytes([0, 128 | request[1], 0, 1]) + bytes(4)]
    mapper = PcpMapper(GATEWAY, PORT, fake.port)
    with pytest.raises(MappingError, match="code 1"):
        await mapper.map()
    mapper.close()


async def test_a_mapping_without_a_life_is_none(fake: FakeGateway) -> None:
    fake.lifetime_s = 0
    mapper = PcpMapper(GATEWAY, PORT, fake.port)
    with pytest.raises(MappingError, match="refused"):
        await mapper.map()
    mapper.close()


HOSTILE: dict[str, Change] = {
    "empty": lambda answer: b"",
    "short": lambda answer: answer[:7],
    "cut": lambda answer: answer[:-1],
    "longer": lambda answer: answer + bytes(1),
    "huge": lambda answer: answer + bytes(60_000),
    "version": lambda answer: b"\x07" + answer[1:],
    "opcode": lambda answer: answer[:1] + b"\x83" + answer[2:],
    "request": lambda answer: answer[:1] + bytes([answer[1] & 0x7F]) + answer[2:],
    "noise": lambda answer: bytes(byte ^ 0x5A for byte in answer),
}


@both
@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
async def test_what_does_not_fit_is_dropped_and_the_true_answer_taken(
    fake: FakeGateway, kind: Kind, change: Change
) -> None:
    def answer(request: bytes) -> list[bytes]:
        true = fake.honest(request)[0]
        return [change(true), change(true), true]

    fake.answer = answer
    mapper = kind(GATEWAY, PORT, fake.port)
    assert await mapper.map() == Mapping((HOST, PORT), 3600)
    assert mapper._asker is not None
    assert mapper._asker.dropped >= 2
    assert len(fake.requests) == (1 if kind is PcpMapper else 2), "asked again"
    mapper.close()


async def test_an_answer_with_another_nonce_is_dropped(fake: FakeGateway, hurry: None) -> None:
    fake.answer = lambda request: [fake.pcp(request[:24] + bytes(12) + request[36:])]
    mapper = PcpMapper(GATEWAY, PORT, fake.port)
    with pytest.raises(MappingError, match="no answer"):
        await mapper.map()
    mapper.close()


@both
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
async def test_an_answer_from_elsewhere_never_arrives(fake: FakeGateway, kind: Kind, source: str, hurry: None) -> None:
    """Another address, and the gateway's own address with another port."""
    sent: list[int] = []

    def spoof(request: bytes) -> list[bytes]:
        assert mapper._asker is not None
        assert mapper._asker._transport is not None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((source, 0))
            target = mapper._asker._transport.get_extra_info("sockname")
            sent.append(stranger.sendto(fake.honest(request)[0], target))
        return []

    fake.answer = spoof
    mapper = kind(GATEWAY, PORT, fake.port)
    with pytest.raises(MappingError, match="no answer"):
        await mapper.map()
    assert len(sent) == 3
    assert mapper._asker is not None
    assert mapper._asker.dropped == 0
    mapper.close()


async def test_a_flood_is_bounded(fake: FakeGateway) -> None:
    asker = await Asker.open("PCP", ("127.0.0.1", fake.port))
    assert asker._transport is not None
    own = asker._transport.get_extra_info("sockname")
    for _ in range(100):
        fake.send(b"x", own)
    await until(lambda: asker.dropped == 100 - MAX_WAITING)
    assert asker._arrived.qsize() == MAX_WAITING
    asker.close()


@both
async def test_late_answers_do_not_count_for_the_next_question(fake: FakeGateway, kind: Kind) -> None:
    fake.answer = lambda request: fake.honest(request) * 5
    mapper = kind(GATEWAY, PORT, fake.port)
    assert await mapper.map() == Mapping((HOST, PORT), 3600)
    asker = mapper._asker
    assert asker is not None
    await until(lambda: asker._arrived.qsize() == 4)
    fake.host = "20.0.0.9"
    fake.answer = fake.honest
    assert (await mapper.map()).address == ("20.0.0.9", PORT)
    mapper.close()


@both
@pytest.mark.parametrize("epoch_s", [0, 5, 900])
async def test_an_epoch_that_goes_back_says_that_the_mapping_is_gone(
    fake: FakeGateway, kind: Kind, epoch_s: int
) -> None:
    mapper = kind(GATEWAY, PORT, fake.port)
    await mapper.map()
    assert await mapper.stands()
    fake.epoch_s = epoch_s
    assert not await mapper.stands()
    await mapper.map()
    assert await mapper.stands()
    mapper.close()


async def test_another_external_address_is_noticed(fake: FakeGateway) -> None:
    mapper = NatPmpMapper(GATEWAY, PORT, fake.port)
    await mapper.map()
    fake.host = "20.0.0.9"
    assert not await mapper.stands()
    assert (await mapper.map()).address == ("20.0.0.9", PORT)
    mapper.close()


@both
async def test_a_mapper_can_be_closed_in_the_middle(fake: FakeGateway, kind: Kind) -> None:
    fake.answer = lambda request: []
    mapper = kind(GATEWAY, PORT, fake.port)
    async with asyncio.timeout(5):
        asking = asyncio.ensure_future(mapper.map())
        await until(lambda: fake.requests)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    mapper.close()
    await turns(1)
