"""What is not on the Internet: refused before any exit hears of it."""

from __future__ import annotations

import asyncio

import pytest

from core.errors import FlowError, Reason
from core.flow import Buffer, DatagramFlow, DatagramListener, Flow, FlowRequest
from node.outside import OutsideOnly


class Datagrams:
    """An association that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, bytes]] = []
        self.listener: DatagramListener | None = None
        self.closed: Reason | None = None

    def attach(self, listener: DatagramListener) -> None:
        self.listener = listener

    def send(self, host: str, port: int, data: Buffer) -> bool:
        self.sent.append((host, port, bytes(data)))
        return True

    def close(self, reason: Reason) -> None:
        self.closed = reason


class Listener:
    """Whoever listens to an association."""

    def datagram_came(self, host: str, port: int, data: Buffer) -> None:
        """Nothing comes here."""

    def flow_closed(self, reason: Reason) -> None:
        """It does not end."""


class Listening:
    """A dialer that keeps what it is asked for, and refuses it."""

    def __init__(self) -> None:
        self.asked: list[tuple[FlowRequest, bool]] = []
        self.datagrams = Datagrams()

    async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
        self.asked.append((request, early))
        raise FlowError(Reason.REFUSED)

    async def dial_datagrams(self, isolation: str) -> DatagramFlow:
        assert isolation == "key"
        return self.datagrams


def reason_of(host: str, *allow: str) -> tuple[Reason, list[tuple[FlowRequest, bool]]]:
    dialer = Listening()
    with pytest.raises(FlowError) as caught:
        asyncio.run(OutsideOnly(dialer, allow).dial(FlowRequest(host, 80, "key"), early=True))
    return caught.value.reason, dialer.asked


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "2002:c0a8:101::1",
        "localhost",
        "printer.local",
        "router",
        "nas.home.arpa",
        "host.internal.",
        "2130706433",
        "0x7f.1",
        "127.1",
    ],
)
def test_what_is_inside_is_told_to_nobody(host: str) -> None:
    assert reason_of(host) == (Reason.INSIDE, [])


@pytest.mark.parametrize(
    "host", ["93.184.215.14", "2606:4700::1111", "64:ff9b::5db8:d70e", "example.com", "Example.COM."]
)
def test_what_is_outside_is_asked_for_as_it_came(host: str) -> None:
    assert reason_of(host) == (Reason.REFUSED, [(FlowRequest(host, 80, "key"), True)])


def test_what_is_no_name_is_not_asked_for() -> None:
    assert reason_of("a..b") == (Reason.NO_NAME, [])


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("10.1.2.3", Reason.REFUSED),
        ("wiki.corp", Reason.REFUSED),
        ("10.2.0.1", Reason.INSIDE),
        ("127.0.0.1", Reason.INSIDE),
        ("0x7f.1", Reason.INSIDE),
    ],
)
def test_networks_can_be_allowed(host: str, reason: Reason) -> None:
    assert reason_of(host, "10.1.0.0/16")[0] is reason


def test_datagrams_go_outside_only() -> None:
    dialer = Listening()
    flow = asyncio.run(OutsideOnly(dialer).dial_datagrams("key"))
    listener = Listener()
    flow.attach(listener)
    assert dialer.datagrams.listener is listener
    for host in ("127.0.0.1", "printer.local", "2130706433", "fe80::1", "::ffff:10.0.0.1"):
        assert not flow.send(host, 53, b"inside")
    assert flow.send("9.9.9.9", 53, b"outside")
    assert flow.send("dns.quad9.net", 53, b"by name")
    assert [data for _, _, data in dialer.datagrams.sent] == [b"outside", b"by name"]
    flow.close(Reason.LOCAL)
    assert dialer.datagrams.closed is Reason.LOCAL
