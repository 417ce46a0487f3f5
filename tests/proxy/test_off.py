"""The local port while it is switched off: everything that ran is over, and nothing goes any way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pac.rules import RuleSet, parse_rules
from tests.proxy.harness import DatagramDialer, LoopbackDialer, SilentDialer, Stage, until

if TYPE_CHECKING:
    from proxy.front import Front

ASSOCIATE = b"\x05\x01\x00" + b"\x05\x03\x00\x01" + bytes(6)


async def asked(stage: Stage, front: Front, host: str) -> int:
    """Ask for a connection by SOCKS5; give the reply's code."""
    return await (await stage.client(front)).socks(host, 443)


async def test_what_ran_is_over_and_what_comes_is_refused_until_it_is_on_again(stage: Stage) -> None:
    site = await stage.site()
    front = await stage.front(LoopbackDialer(site.port), RuleSet(parse_rules(["direct.example"])))
    client = await stage.client(front)
    assert await client.socks("site.example", 443) == 0
    front.switch(on=False)
    assert await client.read_all() == b""
    assert front.open_flows == 0
    seen = site.connections
    assert [await asked(stage, front, host) for host in ("site.example", "direct.example")] == [1, 1]
    assert site.connections == seen
    assert front.counters["off"] == 2
    front.switch(on=True)
    assert await asked(stage, front, "site.example") == 0


async def test_a_page_says_so_and_the_pac_is_given_out(stage: Stage) -> None:
    front = await stage.front(LoopbackDialer())
    front.switch(on=False)
    page = await (await stage.client(front)).asks(b"GET http://site.example/ HTTP/1.1\r\nHost: site.example\r\n\r\n")
    assert page.startswith(b"HTTP/1.1 503 ")
    assert b"X-MacroVPN-Reason: off\r\n" in page
    assert b"Macro VPN is switched off, so nothing was sent." in page
    assert b"macrovpn on" in page
    path = front.pac_url.partition(f":{front.address[1]}")[2].encode()
    pac = await (await stage.client(front)).asks(
        b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % front.address[1]
    )
    assert b"FindProxyForURL" in pac


async def test_who_waits_for_the_tunnel_waits_no_more(stage: Stage) -> None:
    dialer = SilentDialer()
    front = await stage.front(dialer)
    client = await stage.client(front)
    client.send(b"CONNECT site.example:443 HTTP/1.1\r\nHost: site.example:443\r\n\r\n")
    await until(lambda: dialer.dialing == 1)
    front.switch(on=False)
    assert await client.read_all() == b""
    await dialer.cancelled.wait()


async def test_associations_end_and_none_begins(stage: Stage) -> None:
    dialer = DatagramDialer()
    front = await stage.front(dialer)
    client = await stage.client(front)
    client.send(ASSOCIATE)
    assert (await client.read(2 + 10))[:4] == b"\x05\x00\x05\x00"
    front.switch(on=False)
    await until(lambda: dialer.flows[0].ended is not None)
    other = await stage.client(front)
    assert (await other.asks(ASSOCIATE))[2:4] == b"\x05\x01"
    assert len(dialer.flows) == 1
