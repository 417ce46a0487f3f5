"""The real wireguard-go in a network namespace of its own, and our device on a UDP socket beside it."""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import time
from base64 import b64encode
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

from tests.harness import namespaces
from tests.harness.entropy import seeded
from tests.harness.namespaces import Built, add, delete, enter, ip, put_up, run
from tunnel.wireguard.device import Device
from tunnel.wireguard.primitives import private_key, public_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tunnel.wireguard.device import Output

BENCHMARK_NETWORK: Final = int(IPv4Address("198.18.0.0"))
"""Addresses that are used nowhere. Source: RFC 2544, appendix C.2.2; it has 17 bits for hosts."""

OUR_INNER: Final = "10.99.0.2"
THEIR_INNER: Final = "10.99.0.1"
THEIR_PORT: Final = 51820
PSK: Final = bytes(range(32))


def why_not() -> str:
    """Say what is missing here, in words; empty if nothing is."""
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun"
    return namespaces.why_not("wg", "wireguard-go", "ping")


def checksum(data: bytes) -> int:
    """The Internet checksum. Source: RFC 1071, section 1."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def icmp(kind: int, source: str, destination: str, rest: bytes) -> bytes:
    """An IPv4 packet with an ICMP echo request (8) or reply (0).

    Args:
        kind: ICMP type.
        source: IPv4 address.
        destination: IPv4 address.
        rest: identifier, sequence number and data; an even number of bytes.
    """
    body = struct.pack(">BBH", kind, 0, checksum(struct.pack(">BBH", kind, 0, 0) + rest)) + rest
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack(">BBHHHBB", 0x45, 0, 20 + len(body), 1, 0, 64, 1)
    return head + struct.pack(">H", checksum(head + b"\0\0" + ends)) + ends + body


class Beside(Built):
    """wireguard-go in a namespace, and our device. Leaving the context ends and removes all of it.

    `shift_s` moves our device's clock ahead, so that its timers need not be waited for. `lose` names datagrams that
    get lost: it is given the direction, `in` or `out`, and the message.
    """

    def __init__(self, number: int, they_know_us: bool) -> None:
        self.name = f"mv{os.getpid() % 100000}n{number}"
        # Its control socket has the interface's name and lies outside the namespace, so the name must be unique.
        self.interface = f"w{self.name}"[:15]
        # Several may live at once, so each has a network of four addresses to itself.
        first = BENCHMARK_NETWORK + 4 * ((os.getpid() * 31 + number) % (1 << 15))
        self.our_host, self.their_host = str(IPv4Address(first + 1)), str(IPv4Address(first + 2))
        self.shift_s = 0.0
        self.packets: list[bytes] = []
        self.seen: list[tuple[str, bytes]] = []
        self.lose: Callable[[str, bytes], bool] = lambda direction, message: False
        entropy = seeded(self.name)
        ours, theirs = private_key(entropy(32)), private_key(entropy(32))
        self.their_static = public_bytes(theirs)
        self._our_static = public_bytes(ours)
        self._their_private = theirs.private_bytes_raw()
        self.device = Device(ours, entropy, time.time() - time.monotonic())
        self.peer = self.device.add_peer(
            self.their_static, PSK, None if they_know_us else (self.their_host, THEIR_PORT)
        )
        self._they_know_us = they_know_us
        self._deadline_s: float | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def inside(self, *command: str) -> tuple[str, ...]:
        return (*enter(self.name), *command)

    def _build(self) -> None:
        add(self.name)
        ip("link", "add", self.name, "type", "veth", "peer", "name", "up0", "netns", self.name)
        ip("address", "add", f"{self.our_host}/30", "dev", self.name)
        ip("link", "set", self.name, "up")
        put_up(self.name, "up0", f"{self.their_host}/30")
        self.socket.bind((self.our_host, 0))
        self._process = subprocess.Popen(
            self.inside("wireguard-go", self.interface),
            env={**os.environ, "WG_PROCESS_FOREGROUND": "1", "GOMAXPROCS": "2"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 10
        control = f"/var/run/wireguard/{self.interface}.sock"
        while not os.path.exists(control):
            assert time.monotonic() < end, "wireguard-go did not start"
            assert self._process.poll() is None, "wireguard-go ended"
            select.select([], [], [], 0.02)
        self._configure()

    def _configure(self) -> None:
        lines = [
            "[Interface]",
            f"PrivateKey = {b64encode(self._their_private).decode()}",
            f"ListenPort = {THEIR_PORT}",
            "[Peer]",
            f"PublicKey = {b64encode(self._our_static).decode()}",
            f"PresharedKey = {b64encode(PSK).decode()}",
            f"AllowedIPs = {OUR_INNER}/32",
        ]
        if self._they_know_us:
            lines.append(f"Endpoint = {self.our_host}:{self.socket.getsockname()[1]}")
        run(*self.inside("wg", "setconf", self.interface, "/dev/stdin"), text="\n".join(lines) + "\n")
        put_up(self.name, self.interface, f"{THEIR_INNER}/24")

    def _tear_down(self) -> None:
        self.socket.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(5)
        # With the namespace its end of the veth pair goes, and so does ours.
        subprocess.run(["ip", "link", "del", self.name], capture_output=True, check=False)
        delete(self.name)

    # -- our side

    @property
    def now(self) -> float:
        return time.monotonic() + self.shift_s

    def send(self, packet: bytes) -> None:
        self._take(self.device.send(self.their_static, packet, self.now))

    def kinds(self, direction: str) -> list[int]:
        """Types of all the messages so far, lost ones too."""
        return [message[0] for way, message in self.seen if way == direction]

    def _take(self, out: Output) -> None:
        self._deadline_s = out.deadline_s
        self.packets += (packet for _, packet in out.packets)
        for endpoint, message in out.datagrams:
            self.seen.append(("out", message))
            if not self.lose("out", message):
                self.socket.sendto(message, endpoint)

    def until(self, condition: Callable[[], object], limit_s: float = 10.0) -> None:
        """Serve socket and timers until the condition holds."""
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, f"not in time; dropped: {dict(self.device.dropped)}"
            wait = 0.05 if self._deadline_s is None else max(0.0, min(0.05, self._deadline_s - self.now))
            if select.select([self.socket], [], [], wait)[0]:
                message, (host, port) = self.socket.recvfrom(65536)
                self.seen.append(("in", message))
                if not self.lose("in", message):
                    self._take(self.device.receive(message, (host, port), self.now))
            if self._deadline_s is not None and self.now >= self._deadline_s:
                self._take(self.device.advance(self.now))

    def later(self, pause_s: float) -> None:
        """Serve for a while: the other side refuses an initiation within 20 ms of the last one."""
        end = time.monotonic() + pause_s
        self.until(lambda: time.monotonic() >= end)

    def answer_echo(self) -> None:
        """Answer the echo requests that have come in."""
        packets, self.packets = self.packets, []
        for packet in packets:
            if packet[20] == 8:
                self.send(icmp(0, OUR_INNER, THEIR_INNER, packet[24:]))

    def echo(self, number: int, size: int = 56) -> None:
        """Send an echo request, and expect the kernel's reply with the same data."""
        rest = struct.pack(">HH", 0x4D56, number) + bytes(range(256))[:size]
        self.send(icmp(8, OUR_INNER, THEIR_INNER, rest))
        self.until(lambda: any(packet[20] == 0 and packet[24:] == rest for packet in self.packets))
