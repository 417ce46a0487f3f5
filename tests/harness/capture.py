"""A capture of what goes over loopback, by tcpdump, and what of it is the DHT's."""

from __future__ import annotations

import signal
import struct
import subprocess
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

type Endpoint = tuple[str, int]

_FILE_HEADER: Final = 24
_RECORD: Final = struct.Struct("=IIII")
_ETHERNET_BYTES: Final = 14
_UDP_BYTES: Final = 8
"""Sources: draft-ietf-opsawg-pcap; RFC 768."""


class Datagram(NamedTuple):
    """One UDP datagram, as who listens on the line has it."""

    source: Endpoint
    target: Endpoint
    payload: bytes


class Capture:
    """Records UDP over IPv4 on loopback while it is entered.

    Args:
        path: file to be written.
        network: datagrams from or to this network, such as `127.60.0.0/14`, are recorded, and no others.
    """

    def __init__(self, path: Path, network: str) -> None:
        self._path = path
        self._network = network
        self._dump: subprocess.Popen[str] | None = None

    def __enter__(self) -> Capture:
        command = ["tcpdump", "-i", "lo", "-n", "-U", "--immediate-mode", "-B", "65536", "-s", "0"]
        command += ["-w", str(self._path), f"ip and udp and net {self._network}"]
        self._dump = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._dump.stderr is not None
        assert any("listening" in line for line in iter(self._dump.stderr.readline, ""))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Record no more. A second call does nothing."""
        if self._dump is None:
            return
        dump, self._dump = self._dump, None
        dump.send_signal(signal.SIGINT)
        _, said = dump.communicate(timeout=10)
        assert "\n0 packets dropped by kernel" in f"\n{said}", said

    def datagrams(self) -> list[Datagram]:
        """What was recorded so far, in order."""
        data, at, found = self._path.read_bytes(), _FILE_HEADER, []
        while at + _RECORD.size <= len(data):
            kept, whole = _RECORD.unpack_from(data, at)[2:]
            assert kept == whole
            frame = data[at + _RECORD.size : at + _RECORD.size + kept]
            if len(frame) < kept:
                break
            found.append(_datagram(frame[_ETHERNET_BYTES:]))
            at += _RECORD.size + kept
        return found


def _datagram(packet: bytes) -> Datagram:
    """Read an IPv4 packet that is no fragment. Source: RFC 791."""
    assert not int.from_bytes(packet[6:8]) & 0x3FFF
    hosts = [".".join(map(str, packet[at : at + 4])) for at in (12, 16)]
    udp = packet[(packet[0] & 15) * 4 :]
    source, target, size = struct.unpack_from(">HHH", udp)
    return Datagram((hosts[0], source), (hosts[1], target), udp[_UDP_BYTES:size])


def queries(datagrams: list[Datagram], kind: str) -> list[dict[bytes, Any]]:
    """The arguments of the DHT's queries of one kind, such as `put`. Source: BEP 5."""
    import libtorrent

    found: list[dict[bytes, Any]] = []
    for datagram in datagrams:
        if datagram.payload[:1] != b"d":
            continue
        try:
            message: Any = libtorrent.bdecode(datagram.payload)
        except RuntimeError:  # a datagram of QUIC
            continue
        if message.get(b"q") == kind.encode():
            found.append(message[b"a"])
    return found
