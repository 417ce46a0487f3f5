"""Hosts as browsers write them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pac.hosts import read_host


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("_dmarc.example", "_dmarc.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("10.0.0.1", IPv4Address("10.0.0.1")),
        ("10.0.0.1.", IPv4Address("10.0.0.1")),
        ("１０.0.0.1", IPv4Address("10.0.0.1")),
        ("::1", IPv6Address("::1")),
        ("[2001:DB8::1]", IPv6Address("2001:db8::1")),
        ("::ffff:192.0.2.1", IPv6Address("::ffff:192.0.2.1")),
    ],
)
def test_host_is_read(text: str, host: object) -> None:
    assert read_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a b",
        "a/b",
        "a%62",
        "a\nb",
        "a\n",
        "10.0.0.1\n",
        "127.1",
        "0x7f000001",
        "2130706433",
        "010.0.0.1",
        "256.0.0.1",
        "1.2.3.4.5",
        "a.0x",
        "fe80::1%eth0",
        "[::1",
        "::1]",
        "[10.0.0.1]",
        ":::",
        "straße.example",
        "a" * 64,
        ".".join(["a" * 62] * 5),
        "a.\ud800",
    ],
)
def test_what_is_no_host_is_none(text: str) -> None:
    assert read_host(text) is None


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    host = read_host(text)
    assert host is None or read_host(str(host)) == host
