"""What macOS prints about its way out, and what is made of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.errors import DecodeError
from node.trust import macos
from node.trust.macos import decode_neighbour, decode_route, read
from pac.trusted import Attachment, Security

# Source: https://www.real-world-systems.com/docs/route.1.html, with the destination of a default route.
ROUTE = """   route to: default
destination: default
       mask: default
    gateway: 192.168.1.1
  interface: en1
      flags: <UP,GATEWAY,DONE,STATIC,PRCLONING>
 recvpipe  sendpipe  ssthresh  rtt,msec    rttvar  hopcount      mtu     expire
       0         0         0         0         0         0      1500         0
"""
# In the form of arp(8), with an address as macOS writes it: https://newbetuts.com/336888.
NEIGHBOUR = "? (192.168.1.1) at bc:67:1c:40:3:f6 on en1 ifscope [ethernet]\n"
MAC = "bc:67:1c:40:03:f6"


def test_a_route() -> None:
    assert decode_route(ROUTE) == ("en1", "192.168.1.1")
    assert decode_route("") is None
    assert decode_route(ROUTE.replace("192.168.1.1", "fe80::1%en1")) == ("en1", "fe80::1")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("192.168.1.1", "link#18"),
        ("    gateway: 192.168.1.1\n", ""),
        ("  interface: en1\n", ""),
        ("en1", "../en1"),
        ("  interface: en1\n", "  interface: en1\n  interface: en0\n"),
    ],
)
def test_another_route_is_refused(old: str, new: str) -> None:
    with pytest.raises(DecodeError):
        decode_route(ROUTE.replace(old, new))


def test_a_neighbour() -> None:
    assert decode_neighbour(NEIGHBOUR, "192.168.1.1", "en1") == MAC
    for text in (
        "",
        "192.168.1.1 (192.168.1.1) -- no entry\n",
        NEIGHBOUR.replace("bc:67:1c:40:3:f6", "(incomplete)"),
        NEIGHBOUR.replace("en1", "en0"),
        NEIGHBOUR.replace("1.1)", "1.2)"),
        NEIGHBOUR.replace(":f6", ""),
    ):
        assert decode_neighbour(text, "192.168.1.1", "en1") == "", text


async def test_a_network_is_known_by_its_router_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"-inet": ROUTE, "-inet6": ""}

    async def ask(*command: str) -> str:
        return NEIGHBOUR if command[0].endswith("arp") else said[command[3]]

    monkeypatch.setattr(macos, "_ask", ask)
    here = Attachment("en1", "192.168.1.1", MAC, period=("192.168.1.1",))
    assert await read() == here
    assert here.security is Security.NONE
    said["-inet6"] = ROUTE.replace("192.168.1.1", "fe80::1%en1")
    assert await read() == replace(here, period=("192.168.1.1", "fe80::1"))
    said["-inet6"] = ROUTE.replace("192.168.1.1", "fe80::1%utun3").replace("en1", "utun3")
    assert await read() is None, "two ways out"
    said["-inet"] = said["-inet6"] = ""
    assert await read() is None


async def test_programs_are_asked_with_an_end() -> None:
    assert await macos._ask("/bin/echo", "some", "words") == "some words\n"
    with pytest.raises(DecodeError, match="too long"):
        await macos._ask("/bin/sh", "-c", "while true; do echo words; done")
