"""A hop of other people's circuits: creation, and forwarding of each flow inside the receive callback.

A hop knows the link before it, its own keys and the link after it. It opens one layer on the way to the exit and adds
one on the way back. What it queues for a flow is bounded; honest ends stay below the bound by their credit.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from heapq import nlargest
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from core.errors import CircuitError, DecodeError, LinkError, Reason
from core.tasks import Tasks
from tunnel.blame import PAYEES_FAULT
from tunnel.creation import ANSWER_BYTES, consume_creation
from tunnel.hop_circuit import HopCircuit
from tunnel.hosts import Rates, host_of
from tunnel.layers import flow_number
from tunnel.limits import (
    CREATION_BURST,
    CREATION_S,
    CREATIONS_PER_S,
    MAX_CIRCUITS_PER_LINK,
    MAX_CREATING_HOSTS,
    MAX_CREATIONS_PER_LINK,
)
from tunnel.queues import Queues
from tunnel.replay_memory import ReplayMemory, Verdict
from tunnel.tally import Tally
from tunnel.terminal import FlowTable, Terminal
from tunnel.toll import account_for
from tunnel.wireguard.constants import HOP_IDENTIFIER
from tunnel.wireguard.handshake import Responder
from tunnel.wireguard.primitives import public_bytes
from tunnel.wireguard.session import Session, read_header

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from core.ids import PeerKey
    from tunnel.creation import Asked
    from tunnel.gate import Gate
    from tunnel.link import Link
    from tunnel.link_stream import LinkStream, StreamReceiver
    from tunnel.links import Links
    from tunnel.memory import Memory
    from tunnel.path import Hop
    from tunnel.terminal import FlowAcceptor
    from tunnel.toll import Account, Toll

_log = logging.getLogger(__name__)

_UNACCEPTED = {
    Verdict.OUT_OF_TIME: "creation out of time",
    Verdict.REPEATED: "creation repeated",
    Verdict.FULL: "creation not remembered",
}


class _NextOwner:
    """Hears from the link after this hop how the circuit does, also while it is being made."""

    def __init__(self) -> None:
        self.circuit: HopCircuit | None = None
        self.reason: Reason | None = None
        self.hops: int | None = None

    def leaving(self, hops: int) -> None:
        self.hops = hops
        if self.circuit is not None:
            self.circuit.next_leaving(hops)

    def destroyed(self, reason: Reason) -> None:
        self.reason = reason
        if self.circuit is not None:
            self.circuit.next_link = None
            self.circuit.close(reason)


class _Onward(NamedTuple):
    """The part of a circuit beyond this hop: on which link, its number there, the answer, and from what it is paid."""

    link: Link
    number: int
    answer: bytes
    account: Account | None


class _Onion(NamedTuple):
    """An onion key in use: who answers for it, and what was accepted with it."""

    responder: Responder
    memory: ReplayMemory


class Relay:
    """The service of a hop.

    Args:
        onion_keys: as for `use_onion_keys`.
        links: for dialling the next hop.
        locate: a peer's verified keys and addresses, None when unknown.
        relays: whether this peer extends circuits to others.
        acceptor: who makes connections at the end of a circuit; None when this peer is no exit.
        memory: the node's.
        find: looks for a peer that is not known, for about a second.
        admits: why no circuit that comes over a link is taken now; None when it is.
        toll: the node's payments.
        gate: what is forwarded passes here; None where there is no limit. Another one counts for later circuits.
    """

    def __init__(
        self,
        onion_keys: list[X25519PrivateKey],
        links: Links,
        locate: Callable[[PeerKey], Hop | None],
        relays: bool,
        acceptor: FlowAcceptor | None,
        memory: Memory,
        find: Callable[[PeerKey], Awaitable[None]],
        admits: Callable[[Link], Reason | None],
        toll: Toll,
        gate: Gate | None = None,
    ) -> None:
        self._onions: dict[bytes, _Onion] = {}
        self._links = links
        self._locate = locate
        self._find = find
        self._admits = admits
        self._toll = toll
        self._relays = relays
        self._acceptor = acceptor
        self._circuits: dict[Link, dict[int, HopCircuit]] = {}
        self._creating: Counter[Link] = Counter()
        self._pace = Rates(CREATION_BURST, CREATIONS_PER_S, MAX_CREATING_HOSTS, time.monotonic)
        self._tasks = Tasks()
        self._memory = memory
        self._forth_bytes = self._back_bytes = 0
        self.gate = gate
        self.queues = Queues(links)
        self.table = FlowTable()
        self.counters: Counter[str] = Counter()
        self.turns = count()
        self._leaving = False
        self.use_onion_keys(onion_keys)

    @property
    def circuit_count(self) -> int:
        return sum(len(circuits) for circuits in self._circuits.values())

    @property
    def creating_count(self) -> int:
        """Circuits that are being made, also those that will be refused."""
        return self._creating.total()

    @property
    def flow_count(self) -> int:
        """Flows that end here. Of what passes, nobody but its client knows what is a flow."""
        return sum(circuit.terminal.flow_count for circuit in self._held() if circuit.terminal)

    @property
    def runs_past_gate(self) -> bool:
        """Whether a circuit goes on to the next hop past a gate that came later than it."""
        return self.gate is not None and any(held.gate is None and held.terminal is None for held in self._held())

    @property
    def at_work(self) -> bool:
        """Whether something runs here for others: a circuit that goes on to the next hop, or a flow that ends here.

        A flow without a path counts while there is a circuit over which it could come back.
        """
        held = self._held()
        return bool(self._creating or (held and len(self.table))) or any(found.terminal is None for found in held)

    def _held(self) -> list[HopCircuit]:
        return [circuit for circuits in self._circuits.values() for circuit in circuits.values()]

    @property
    def forwarded_bytes(self) -> tuple[int, int]:
        """Bytes of flows that were passed on since the start, towards exits and back."""
        held = [circuit for circuits in self._circuits.values() for circuit in circuits.values()]
        forth = sum((circuit.forth_bytes for circuit in held), self._forth_bytes)
        return forth, sum((circuit.back_bytes for circuit in held), self._back_bytes)

    # -- creation

    def use_onion_keys(self, keys: list[X25519PrivateKey]) -> None:
        """Accept creations for these keys and no others. Circuits that stand, or are being made, go on.

        Args:
            keys: private keys, today's first. What was accepted with one that stays is remembered.
        """
        held, self._onions = self._onions, {}
        for key in keys:
            public = public_bytes(key)
            self._onions[public] = held.get(public) or _Onion(
                Responder(HOP_IDENTIFIER, key, secrets.token_bytes, self._links.preshared), ReplayMemory()
            )

    def creation(self, link: Link, number: int, message: bytes) -> None:
        """Take a creation message from a link; no work is done for more than one host shall ask for."""
        if not self._pace.take(host_of(link.connection)):
            self.counters["creation too often"] += 1
            self._refuse(link, number, secrets.token_bytes(ANSWER_BYTES), Reason.BUSY)
            return
        self._creating[link] += 1
        self._tasks.spawn(self._create(link, number, message), "creation")

    async def _create(self, link: Link, number: int, message: bytes) -> None:
        try:
            asked, full = self._consume(message)
            if asked is None:
                # There is no key to answer with, or no reason to show that there is one. The size stays the same.
                self._refuse(link, number, secrets.token_bytes(ANSWER_BYTES), Reason.PROTOCOL)
            elif full:
                self._turn_down(link, number, asked, Reason.BUSY)
            else:
                await self._extend(link, number, asked)
        finally:
            self._creating[link] -= 1
            if not self._creating[link]:
                del self._creating[link]

    @staticmethod
    def _refuse(link: Link, number: int, answer: bytes, reason: Reason) -> None:
        """Answer, and forget the circuit at once."""
        if link.answer(number, answer, _NextOwner()):
            link.destroy(number, reason)

    def _turn_down(self, link: Link, number: int, asked: Asked, reason: Reason) -> None:
        """Answer with a reason that only the client can read, and keep nothing."""
        self.counters[reason.word] += 1
        answer, _ = asked.answer(secrets.randbits(32), reason, None)
        self._refuse(link, number, answer, Reason.CLOSED)

    def _consume(self, message: bytes) -> tuple[Asked | None, bool]:
        """Open a creation with one of the onion keys.

        Returns:
            What is asked, None (and a count) for what is not for us, out of time or repeated; and whether it must be
            turned down because there is no room to remember it.
        """
        for onion in self._onions.values():
            try:
                asked = consume_creation(message, onion.responder)
            except DecodeError:
                continue
            # Of what is authenticated only: who passes a message on can make mac1 anew.
            mark = asked.received.state.hash[:16]
            verdict = onion.memory.admit(mark, asked.received.timestamp_s, time.time())
            if verdict is Verdict.FRESH:
                return asked, False
            self.counters[_UNACCEPTED[verdict]] += 1
            return (asked, True) if verdict is Verdict.FULL else (None, False)
        self.counters["creation not readable"] += 1
        return None, False

    async def _extend(self, link: Link, number: int, asked: Asked) -> None:
        reason, owner, onward = Reason.DONE, _NextOwner(), None
        slot = asked.slot
        if len(self._circuits.get(link, ())) >= MAX_CIRCUITS_PER_LINK or self._creating[link] > MAX_CREATIONS_PER_LINK:
            reason = Reason.BUSY
        elif (refused := self._admits(link)) is not None or (
            refused := self._toll.accepts(slot.paid, slot.pays)
        ) is not None:
            reason = refused
        elif slot.next_peer is not None:
            try:
                onward = await self._go_on(slot.next_peer, slot.pays, asked.onward, owner)
            except (LinkError, CircuitError) as error:
                reason = error.reason
        elif self._acceptor is None:
            reason = Reason.NOT_ALLOWED
        if reason is not Reason.DONE:
            self._turn_down(link, number, asked, reason)
            return
        index = self._index(self._circuits.get(link, {}))
        answer, keys = asked.answer(index, reason, onward and onward.answer)
        circuit = HopCircuit(self, link, number, Session(keys))
        if not link.answer(number, answer, circuit):
            if onward is not None:
                onward.link.destroy(onward.number, Reason.CLOSED)
            return
        if slot.paid:
            circuit.income = self._toll.paid_by(link, slot.paid)
            circuit.near = Tally(circuit.income, slot.paid, circuit.queue.holds)
        if onward is None:
            circuit.terminal = Terminal(keys, self._acceptor, self.table, self._memory, paid=circuit.near is not None)
        else:
            circuit.next_link, circuit.next_number = onward.link, onward.number
            if onward.account is not None:
                circuit.far = Tally(onward.account, slot.pays, circuit.queue.holds, income=circuit.income)
        owner.circuit = circuit
        self._circuits.setdefault(link, {})[index] = circuit
        if owner.reason is not None:
            circuit.close(owner.reason)
        elif self._leaving:
            circuit.go_away()
        elif owner.hops is not None:
            circuit.next_leaving(owner.hops)

    async def _go_on(self, peer: PeerKey, pays: int, message: bytes, owner: _NextOwner) -> _Onward:
        """Pay the next hop ahead, if it is to be paid, and let it create its part.

        Raises:
            LinkError: as `_next`.
            CircuitError: the next hop does not answer, or cannot be paid.
        """
        link = await self._next(peer)
        try:
            account = await account_for(self._toll, link, peer, pays)
        except CircuitError as error:
            # Why it cannot is nobody else's affair, unless the next hop is to blame.
            told = error.reason if error.reason in PAYEES_FAULT else Reason.NO_CHANNEL
            raise CircuitError(told) from error
        number, answer = await link.create(message, owner, CREATION_S)
        return _Onward(link, number, answer, account)

    async def _next(self, peer: PeerKey) -> Link:
        """A link to the next hop.

        Raises:
            LinkError: this peer does not relay, does not know it, or cannot reach it.
        """
        if not self._relays:
            raise LinkError(Reason.NOT_ALLOWED)
        hop = self._locate(peer)
        if hop is None:
            await self._find(peer)
            hop = self._locate(peer)
        if hop is None:
            raise LinkError(Reason.UNKNOWN_PEER)
        return await self._links.to(hop, for_others=True)

    @staticmethod
    def _index(circuits: dict[int, HopCircuit]) -> int:
        while (index := secrets.randbits(32)) in circuits:
            pass
        return index

    # -- flows

    def stream_opened(self, stream: LinkStream, body: memoryview) -> StreamReceiver:
        """The first message of a stream that the other side of a link opened.

        Raises:
            DecodeError: it belongs to no circuit of that link.
        """
        index, counter = read_header(body)
        circuit = self._circuits.get(stream.link, {}).get(index)
        if circuit is None:
            # Destroyed a moment ago, perhaps; the sender will hear of it.
            self.counters["no such circuit"] += 1
            return _Refused(stream)
        return circuit.opened(stream, flow_number(counter), body)

    # -- ending

    def drop(self, link: Link, circuit: HopCircuit) -> None:
        circuits = self._circuits.get(link)
        if circuits is not None and circuits.pop(circuit.session.local_index, None) is not None:
            self._forth_bytes += circuit.forth_bytes
            self._back_bytes += circuit.back_bytes

    def link_down(self, link: Link) -> None:
        for circuit in list(self._circuits.get(link, {}).values()):
            self.drop(link, circuit)
        self._circuits.pop(link, None)

    def leave(self) -> None:
        """Tell every circuit, also those that are being made, that this peer is about to stop."""
        self._leaving = True
        for circuit in self._held():
            circuit.go_away()

    def shed(self, at_most: int) -> int:
        """End so many circuits, the newest first; returns how many there were."""
        newest = nlargest(at_most, self._held(), key=lambda circuit: circuit.turn)
        for circuit in newest:
            self.counters["shed"] += 1
            circuit.close(Reason.BUSY)
        return len(newest)

    def end_circuits(self, reason: Reason) -> None:
        """End every circuit that passes or ends here."""
        for circuits in list(self._circuits.values()):
            for circuit in list(circuits.values()):
                circuit.close(reason)

    def end_paid(self, link: Link, reason: Reason, *, pays: bool) -> None:
        """End the circuits for which this node pays on a link, or is paid there."""
        for circuit in self._held():
            if circuit.is_paid_on(link, pays=pays):
                circuit.close(reason if reason in PAYEES_FAULT else Reason.UNPAID)

    async def close(self) -> None:
        """Stop creating, and end every circuit."""
        await self._tasks.cancel()
        for circuit in self._held():
            circuit.close(Reason.LEAVING if self._leaving else Reason.CLOSED)
        self.table.close()


class _Refused:
    """Receiver of a stream that belongs to no circuit: cuts it off."""

    def __init__(self, stream: LinkStream) -> None:
        self._stream = stream

    def message(self, body: memoryview) -> None:
        self._stream.reset()

    def datagram(self, body: memoryview) -> None:
        """Means nothing."""

    def ended(self) -> None:
        self._stream.link.forget_stream(self._stream)

    def writable(self) -> None:
        """Nothing is ever sent."""
