"""Two devices joined in memory, with a clock that moves only when told to."""

from __future__ import annotations

import math
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from tests.harness.entropy import seeded
from tunnel.wireguard.device import Device
from tunnel.wireguard.primitives import private_key, public_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.wireguard.device import Output

PSK = bytes([9] * 32)


def ipv4(data: bytes) -> bytes:
    """An IPv4 packet as far as its length goes."""
    return b"\x45\0" + (20 + len(data)).to_bytes(2) + bytes(16) + data


class Pair:
    """Devices 0 and 1. A datagram takes 10 ms; `lose(side, message)` says which ones of a side get lost."""

    def __init__(self, handshakes_per_s: int = 64, persistent_s: float | None = None) -> None:
        self.now = 1000.0
        self.lose: Callable[[int, bytes], bool] = lambda side, message: False
        self.sent: list[tuple[float, int, bytes]] = []
        self.got: tuple[list[bytes], list[bytes]] = ([], [])
        self.endpoints = [("192.0.2.1", 1), ("192.0.2.2", 2)]
        statics = [private_key(bytes([5 + side]) * 32) for side in (0, 1)]
        self.keys = [public_bytes(static) for static in statics]
        self.devices = [
            Device(static, seeded(f"device {side}"), 1.7e9, handshakes_per_s) for side, static in enumerate(statics)
        ]
        self.peers = [
            self.devices[side].add_peer(self.keys[1 - side], PSK, endpoint, persistent_s if side == 0 else None)
            for side, endpoint in ((0, self.endpoints[1]), (1, None))
        ]
        self._flying: list[tuple[float, int, int, bytes]] = []

    def take(self, side: int, out: Output) -> None:
        self.got[side].extend(packet for _, packet in out.packets)
        for _, message in out.datagrams:
            self.sent.append((self.now, side, message))
            if not self.lose(side, message):
                heappush(self._flying, (self.now + 0.01, len(self.sent), side, message))

    def send(self, side: int, packet: bytes) -> None:
        self.take(side, self.devices[side].send(self.keys[1 - side], packet, self.now))

    def deliver(self, side: int, message: bytes, source: tuple[str, int] = ("192.0.2.9", 9)) -> None:
        """Hand a datagram to a side."""
        self.take(side, self.devices[side].receive(message, source, self.now))

    def run(self, seconds: float = 0.1) -> None:
        """Let time pass, from one event to the next."""
        end = self.now + seconds
        while True:
            due = [one for peer in self.peers if (one := peer.deadline_s) is not None]
            when = min([*due, *(at for at, *_ in self._flying[:1])], default=math.inf)
            if when > end:
                break
            self.now = max(self.now, when)
            while self._flying and self._flying[0][0] <= self.now:
                _, _, side, message = heappop(self._flying)
                self.deliver(1 - side, message, self.endpoints[side])
            for side, device in enumerate(self.devices):
                self.take(side, device.advance(self.now))
        self.now = end

    def kinds(self, side: int) -> list[int]:
        return [message[0] for _, sender, message in self.sent if sender == side]
