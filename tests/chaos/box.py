"""The middle box, a process of its own: every datagram between two nodes passes here, and is treated as nodes are told.

`nftables` turns what is sent to a node's address to a port of the box, which sends it on from a socket of its own for
each sender, with a mark that is not turned. Each node has a port of its own at all times, so the sender's port tells
who it is. On standard input come lines of JSON: first `{"seed", "mark", "nodes": {name: [address, port, box port]}}`,
then `{"node": name, …}` with the fields of `Treatment` that are not what they are without.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPBACK: Final = "127.0.0.1"
_LARGEST: Final = 65_535
_BATCH: Final = 64
"""Datagrams of one socket that are carried before others have their turn."""
_BUFFER_BYTES: Final = 1 << 21
_SNDBUFFORCE: Final = 32
_RCVBUFFORCE: Final = 33
"""Linux, asm-generic/socket.h; the module `socket` has no names for them."""

type _Send = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Treatment:
    """What befalls a datagram.

    Args:
        loss, twice, flip, cut: the share that gets lost, comes twice, has bits turned over, is cut short.
        delay_s: on its way.
        jitter_s: at most this much more for each datagram, so that they overtake each other.
    """

    loss: float = 0.0
    twice: float = 0.0
    flip: float = 0.0
    cut: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0


KIND: Final = Treatment()


def treat(data: bytes, treatment: Treatment, chance: random.Random) -> list[tuple[float, bytes]]:
    """Say when what arrives of a datagram, in seconds from now."""
    if not data or chance.random() < treatment.loss:
        return []
    if chance.random() < treatment.flip:
        data = _flipped(data, chance)
    if chance.random() < treatment.cut:
        data = data[: chance.randrange(len(data))]
    copies = 2 if chance.random() < treatment.twice else 1
    return [(treatment.delay_s + chance.random() * treatment.jitter_s, data) for _ in range(copies)]


def _flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


class Box:
    """Carries datagrams.

    Args:
        seed: decides, for each pair of nodes, what befalls its datagrams, the first, the second and so on.
        mark: of the packets that it sends on.
        nodes: address, port and port of the box, by name.
    """

    def __init__(self, seed: int, mark: int, nodes: dict[str, tuple[str, int, int]]) -> None:
        self._seed = seed
        self._mark = mark
        self._nodes = nodes
        self._names = {port: name for name, (_, port, _) in nodes.items()}
        self._treatments = dict.fromkeys(nodes, KIND)
        self._chances: dict[tuple[str, str], random.Random] = {}
        self._far: dict[tuple[str, int], socket.socket] = {}

    def open(self) -> None:
        """Begin to carry."""
        for name, (_, _, port) in self._nodes.items():
            near = self._socket()
            near.bind((LOOPBACK, port))
            self._listen(near, partial(self._from_near, name, near))

    def use(self, node: str, treatment: Treatment) -> None:
        """Treat what a node sends and gets in this way from now on."""
        self._treatments[node] = treatment

    def _socket(self) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self._mark)
        for which in (_RCVBUFFORCE, _SNDBUFFORCE):
            made.setsockopt(socket.SOL_SOCKET, which, _BUFFER_BYTES)
        return made

    def _listen(self, found: socket.socket, came: Callable[[bytes, int], None]) -> None:
        def readable() -> None:
            with suppress(BlockingIOError):
                for _ in range(_BATCH):
                    with suppress(ConnectionError):  # of what was sent before, to a node that is not there
                        data, address = found.recvfrom(_LARGEST)
                        came(data, address[1])

        asyncio.get_running_loop().add_reader(found, readable)

    def _from_near(self, name: str, near: socket.socket, data: bytes, sender: int) -> None:
        far = self._far.get((name, sender))
        if far is None:
            far = self._far[name, sender] = self._socket()
            far.bind(("0.0.0.0", 0))
            back = partial(_send, near, (LOOPBACK, sender))
            self._listen(far, lambda data, _: self._carry(data, name, self._names.get(sender, ""), back))
        address, port, _ = self._nodes[name]
        self._carry(data, self._names.get(sender, ""), name, partial(_send, far, (address, port)))

    def _carry(self, data: bytes, sender: str, receiver: str, send: _Send) -> None:
        own, theirs = self._treatments.get(sender, KIND), self._treatments[receiver] if receiver else KIND
        if own is KIND and theirs is KIND:
            send(data)
            return
        pair = (sender, receiver)
        chance = self._chances.setdefault(pair, random.Random(f"{self._seed} {sender} {receiver}"))
        for first_s, once in treat(data, own, chance):
            for then_s, twice in treat(once, theirs, chance):
                asyncio.get_running_loop().call_later(first_s + then_s, send, twice)


def _send(out: socket.socket, to: tuple[str, int], data: bytes) -> None:
    with suppress(OSError):  # full, or a firewall drops it: then it is lost
        out.sendto(data, to)


async def _run() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    first: dict[str, Any] = json.loads(await lines.readline())
    box = Box(first["seed"], first["mark"], {name: tuple(where) for name, where in first["nodes"].items()})
    box.open()
    print("ready", flush=True)
    async for line in lines:
        told: dict[str, Any] = json.loads(line)
        node = told.pop("node")
        box.use(node, Treatment(**told) if told else KIND)


if __name__ == "__main__":
    uvloop.run(_run())
