"""The setting that names a DNS server."""

from __future__ import annotations

import pytest

from core.errors import ConfigError
from exits.name_server import NameServer


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("9.9.9.9:53", NameServer("udp", "9.9.9.9", 53)),
        ("[2620:fe::fe]:5353", NameServer("udp", "2620:fe::fe", 5353)),
        ("tls://9.9.9.9:853#dns.quad9.net", NameServer("tls", "9.9.9.9", 853, "dns.quad9.net")),
        ("tls://9.9.9.9#dns.quad9.net", NameServer("tls", "9.9.9.9", 853, "dns.quad9.net")),
        ("tls://[2620:fe::fe]", NameServer("tls", "2620:fe::fe", 853, "2620:fe::fe")),
        ("https://9.9.9.9/dns-query", NameServer("https", "9.9.9.9", 443, "9.9.9.9", "/dns-query")),
        ("https://9.9.9.9", NameServer("https", "9.9.9.9", 443, "9.9.9.9", "/dns-query")),
        ("https://192.168.1.2:8443/q?x=1#dns.lan", NameServer("https", "192.168.1.2", 8443, "dns.lan", "/q?x=1")),
    ],
)
def test_forms(text: str, server: NameServer) -> None:
    assert NameServer.parse(text) == server


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9.9.9.9",
        "9.9.9.9:0",
        "9.9.9.9:65536",
        "127.1:53",
        "1.2.3.400:53",
        "[::1]",
        "[::g]:53",
        "[fe80::1%1]:53",
        "dns.example:53",
        "9.9.9.9:53#name",
        "9.9.9.9:53/path",
        "udp://9.9.9.9:53",
        "http://9.9.9.9/dns-query",
        "tls://dns.quad9.net",
        "tls://9.9.9.9/path",
        "tls://9.9.9.9#",
        "tls://9.9.9.9#a b",
        "https://dns.quad9.net/dns-query",
        "https://9.9.9.9/a b",
        "https://9.9.9.9/a\r\nx: y",
        "https://user@9.9.9.9/",
        "TLS://9.9.9.9",
        "tls://9.9.9.9\n",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"exit\.resolver"):
        NameServer.parse(text)
