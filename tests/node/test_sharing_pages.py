"""The pages beside sharing: when there is one, what the notice says, and that an exit never dials them."""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from asyncio import to_thread
from typing import Literal

import pytest

from core.errors import ConfigError
from exits.addresses import AddressFilter
from node.metrics import Sample
from node.notice import notice
from node.pages import Asked
from node.settings import ExitSettings, NodeSettings, Settings, SharingSettings
from node.sharing_pages import SharingPages

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


ALL = {"metrics": "127.0.0.1:0", "notice": "127.0.0.1:0"}


def settings(role: Literal["client", "relay", "exit"], metrics: str = "", notice: str = "") -> Settings:
    return Settings(
        node=NodeSettings(roles=(role,)),
        sharing=SharingSettings(metrics=metrics),
        exit=ExitSettings(notice=notice, contact="<b>me & you</b>@example.org"),
    )


def fetch(endpoint: str) -> str:
    with urllib.request.urlopen(f"http://{endpoint}/", timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize(
    ("role", "named", "served"),
    [
        ("exit", ALL, {"metrics", "notice"}),
        ("relay", ALL, {"metrics"}),
        ("client", ALL, set()),
        ("exit", {}, set()),
    ],
)
async def test_what_is_served(
    role: Literal["client", "relay", "exit"], named: dict[str, str], served: set[str]
) -> None:
    pages = SharingPages(settings(role, **named), Sample, "-25" if role == "exit" else "")
    await pages.start()
    assert set(pages.endpoints) == served
    bodies = {name: await to_thread(fetch, endpoint) for name, endpoint in pages.endpoints.items()}
    assert "macrovpn_open 0" in bodies.get("metrics", "macrovpn_open 0")
    assert "is an exit" in bodies.get("notice", "is an exit")
    await pages.stop()
    assert not pages.endpoints


async def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        pages = SharingPages(settings("exit", notice=endpoint), Sample, "-25")
        with pytest.raises(ConfigError, match=f"exit.notice: {endpoint} cannot be used"):
            await pages.start()


async def test_an_exit_does_not_dial_its_own_pages() -> None:
    pages = SharingPages(settings("exit", "127.0.0.1:0", "0.0.0.0:0"), Sample, "-25")
    await pages.start()
    own = list(pages.own())
    opened = AddressFilter(allow=[LOOPBACK])
    closed = AddressFilter(allow=[LOOPBACK], deny_endpoints=own)
    assert len(own) == 2
    for address, port in own:
        assert opened.allows(address, port)
        assert not closed.allows(address, port)
        assert closed.allows(address, port ^ 1)
    await pages.stop()


def test_the_notice_takes_no_markup() -> None:
    body = notice("<b>me & you</b>@example.org", "-25<i>")(Asked("/", "x", from_page=False)).body.decode()
    assert "&lt;b&gt;me &amp; you&lt;/b&gt;@example.org" in body
    assert "-25&lt;i&gt;" in body
    assert "<b>" not in body
    assert "<i>" not in body
    assert "has named none" in notice("", "-25")(Asked("/", "x", from_page=True)).body.decode()
    assert notice("", "-25")(Asked("/favicon.ico", "x", from_page=False)).status == 404
