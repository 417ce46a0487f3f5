"""Circuits that are ended while much is under way: neighbours who keep to the rules still count the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from core.errors import Reason
from tests.harness.earning import SINK, earning, rate_of
from tests.harness.network import Collect
from tests.harness.waiting import until
from tunnel.limits import MAX_MESSAGE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.earning import Earner, Earning
    from tunnel.circuit import Circuit

HOPS: Final = 3
ROUNDS: Final = 5
AT_ONCE: Final = 10
FLOWS: Final = 8
KNOWN_BYTES: Final = 20_000_000


async def become_known(path: Earning, client: Earner) -> None:
    """Use and pay so much that circuits may wait for money, as new ones do."""
    [near], [far] = await path.ask(client, 1, 1)
    assert far.flow is not None
    far.flow.write(bytes(KNOWN_BYTES))
    await until(lambda: len(near.data) == KNOWN_BYTES, 20)


async def download(path: Earning, client: Earner) -> list[Circuit]:
    """Have much sent on new circuits, and return them when something came on each."""
    known = len(path.echo.listeners)
    circuits = [circuit for circuit, _ in [await path.circuit(client) for _ in range(AT_ONCE)]]
    ends: list[list[Collect]] = []
    for circuit in circuits:
        flows = [circuit.open_flow(SINK) for _ in range(FLOWS)]
        ends.append([Collect(flow) for flow in flows])
        for flow, end in zip(flows, ends[-1], strict=True):
            flow.attach(end)
    await until(lambda: len(path.echo.listeners) == known + AT_ONCE * FLOWS)
    for source in path.echo.listeners[known:]:
        assert source.flow is not None
        source.flow.write(bytes(200_000))
    await until(lambda: all(any(end.data for end in flows) for flows in ends), 10)
    return circuits


def differences(payer: Earner, payee: Earner) -> int:
    """Parts that the payee counted and the payer did not."""
    [ours] = [end.session.account for end in payer.paying._out.values() if end.channel]
    [theirs] = [end.session.account for end in payee.paying._in.values() if end.channel]
    return theirs.used - ours.own


async def test_circuits_that_are_ended_in_full_download_set_no_neighbours_against_each_other(tmp_path: Path) -> None:
    async with earning(tmp_path, HOPS, delay_s=0.002) as path:
        client = await path.client()

        def streams() -> int:
            return sum(link.stream_count for node in (client, *path.hops) for link in node.tunnel.links)

        await become_known(path, client)
        before = streams()
        for _ in range(ROUNDS):
            for circuit in await download(path, client):
                circuit.close(Reason.CLOSED)
            await until(lambda: streams() == before, 10)
        pairs = zip([client, *path.hops], path.hops, strict=False)
        found = [differences(payer, payee) for payer, payee in pairs]
        for place, difference in enumerate(found):
            assert abs(difference) <= MAX_MESSAGE * rate_of(HOPS, place)
        assert not [stop for node in (client, *path.hops) for stop in node.stops]


async def test_a_path_around_the_world_is_paid_in_time_at_the_first_attempt(tmp_path: Path) -> None:
    """Nobody has paid anybody before, and a round trip between neighbours takes 0.26 s."""
    async with earning(tmp_path, HOPS, 0.13) as path:
        circuit, _ = await path.circuit(await path.client())
        assert not circuit.over
