"""Readers at the two doors: what browsers say to the local port, and what an exit hears from the Internet."""

from __future__ import annotations

import asyncio
from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.rdatatype
import dns.rrset

from core.errors import ConfigError, DecodeError, FlowError
from exits import dns_message
from exits.names import parse_destination
from exits.policy import Policy
from pac.foreign import read_pac
from pac.hosts import read_host
from pac.lists import read_list
from pac.rules import Rule, parse_rules
from proxy import http, socks
from proxy.ask import Answer, Associate
from proxy.datagrams import read_datagram, write_header
from proxy.pac_server import PacSite
from proxy.target import check_host, read_authority
from tests.fuzz.target import Target, in_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.socks import Heard

_HEAD_BYTES = 1024
_SITE = PacSite(8080, "/secret.pac", lambda: "function FindProxyForURL() {}")


def _hears(hear: Callable[[asyncio.StreamReader], Awaitable[Heard]], data: bytes) -> None:
    async def run() -> Heard:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await hear(reader)

    heard = in_loop(run())
    if isinstance(heard, Answer):
        assert isinstance(heard.data, bytes)
        return
    assert not isinstance(heard, Associate)
    host, port = heard.request.host, heard.request.port
    assert check_host(host) == host, "a host that the exit would not be asked for"
    assert 0 < port < 65536


def read_socks(data: bytes) -> None:
    """What comes after the version. The first byte says how: if it is high, a password is asked for; if it is odd, the
    rest comes byte by byte. A second reader, which has all at once, must understand the same."""
    how, words = data[:1] or b"\0", data[1:]
    password = b"secret" if how >= b"\x80" else None
    heard, sent = in_loop(_hear_socks(words, None if password is None else "secret", slowly=bool(how[0] & 1)))
    expected = _expected_socks(words, password)
    if isinstance(heard, Answer):
        assert sent + heard.data == expected
    elif isinstance(heard, Associate):
        assert (sent, heard.isolation, heard.port) == expected
    else:
        request = heard.request
        assert (sent, request.isolation, request.host, request.port) == expected
        assert check_host(request.host) == request.host, "a host that the exit would not be asked for"


async def _hear_socks(words: bytes, password: str | None, *, slowly: bool) -> tuple[Heard, bytes]:
    reader, sent = asyncio.StreamReader(), bytearray()

    async def feed() -> None:
        for at in range(0, len(words), step):
            reader.feed_data(words[at : at + step])
            await asyncio.sleep(0)
        reader.feed_eof()

    step = 1 if slowly else max(1, len(words))
    feeding = asyncio.ensure_future(feed())
    try:
        return await socks.hear(reader, sent.extend, password), bytes(sent)
    finally:
        feeding.cancel()


class _Words:
    """Bytes that are taken from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, count: int) -> bytes:
        if count > len(self._data):
            raise asyncio.IncompleteReadError(self._data, count)
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def counted(self) -> bytes:
        return self.take(self.take(1)[0])


def _expected_socks(data: bytes, password: bytes | None) -> object:
    """All that is sent to a client that is refused, or else what is sent before the reply and what is asked for."""
    words, user, sent = _Words(data), "", b"\5\0"
    methods = words.counted()
    if 2 in methods:
        if words.take(1) != b"\1":
            return b"\5\2\1\1"
        name, given = words.counted(), words.counted()
        if password is not None and given != password:
            return b"\5\2\1\1"
        user = _text(name)
        sent = b"\5\2\1\0"
    elif 0 not in methods or password is not None:
        return b"\5\xff"
    version, command, _ = words.take(3)
    code = 1 if version != 5 else 7 if command not in (1, 3) else 0
    if code:
        return sent + _refusal(code)
    match words.take(1)[0]:
        case 1:
            host = str(ip_address(words.take(4)))
        case 4:
            host = str(ip_address(words.take(16)))
        case 3:
            name = words.counted()
            if not name.isascii():
                return sent + _refusal(4)
            host = name.decode("ascii")
        case _:
            return sent + _refusal(8)
    port = int.from_bytes(words.take(2))
    if command == 3:
        return sent, user, port
    try:
        host = check_host(host)
    except DecodeError:
        return sent + _refusal(4)
    return (sent, user, host, port) if port else sent + _refusal(1)


def _refusal(code: int) -> bytes:
    return b"\5" + bytes([code]) + b"\0\1" + bytes(6)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_associated(data: bytes) -> None:
    """A datagram of an association; one from an address reads as it is written."""
    host, port, start = read_datagram(data)
    assert check_host(host) == host, "a host that the exit would not be asked for"
    assert 0 < port < 65536
    address = {1: 4, 3: 1 + data[4], 4: 16}[data[3]]
    assert data[:3] == b"\0\0\0", "a fragment, or a reserved byte"
    assert (start, port) == (6 + address, int.from_bytes(data[4 + address : 6 + address]))
    known = read_host(host)
    if known is not None and not isinstance(known, str):
        assert read_datagram(write_header(host, port))[:2] == (str(known), port)


def read_http(data: bytes) -> None:
    if not data:
        return
    _hears(lambda reader: http.hear(reader, data[:1], _HEAD_BYTES, _SITE, None), data[1:])


def read_authority_text(data: bytes) -> None:
    host, port = read_authority(data.decode("latin-1"), 80)
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    assert read_authority(shown) == (host, port)


def read_destination(data: bytes) -> None:
    found = parse_destination(data.decode("latin-1"))
    assert parse_destination(str(found)) == found


def read_policy(data: bytes) -> None:
    policy = Policy.parse(data.decode("latin-1"))
    policy.may_allow("a.example", 443)
    assert len(policy.summary()) <= 64


def read_rule(data: bytes) -> None:
    rule = Rule.parse(data.decode("utf-8", "replace"))
    assert Rule.parse(str(rule)) == rule


def read_rule_list(data: bytes) -> None:
    """A list that somebody else wrote; what is taken of it can be written and read."""
    read = read_list(data.decode("utf-8", "replace"))
    assert parse_rules(map(str, read.rules)) == read.rules


def read_foreign_pac(data: bytes) -> None:
    read = read_pac(data.decode("utf-8", "replace"))
    assert parse_rules(map(str, read.rules)) == read.rules


def read_browser_host(data: bytes) -> None:
    found = read_host(data.decode("utf-8", "replace"))
    assert found is None or read_host(str(found)) == found


@cache
def _query() -> dns.message.QueryMessage:
    query = dns.message.make_query("a.example.", dns.rdatatype.A, use_edns=0, payload=1232)
    query.id = 0x1234
    return query


def read_dns(data: bytes) -> None:
    """An answer of the server, read as the exit reads it."""
    try:
        response = dns_message.read_response(data, _query())
        addresses = dns_message.read_answer(response).addresses if response is not None else ()
    except dns.exception.DNSException:
        return
    assert len(addresses) <= dns_message.MAX_FAMILY_ADDRESSES


def _dns_answers() -> tuple[bytes, ...]:
    plain, chained = (dns.message.make_response(_query()) for _ in range(2))
    plain.answer = [dns.rrset.from_text("a.example.", 60, "IN", "A", "203.0.113.7", "203.0.113.8")]
    chained.answer = [
        dns.rrset.from_text("a.example.", 60, "IN", "CNAME", "b.example."),
        dns.rrset.from_text("b.example.", 60, "IN", "A", "203.0.113.7"),
    ]
    return plain.to_wire(), chained.to_wire()


_GET = b"GET http://a.example/path HTTP/1.1\r\nHost: a.example\r\nProxy-Authorization: Basic YTpi\r\n\r\n"

TARGETS = (
    Target(
        "socks",
        read_socks,
        (
            b"\0\1\0\5\1\0\1\x7f\0\0\1\1\xbb",
            b"\0\1\0\5\1\0\3\x09a.example\0\x50",
            b"\xff\1\2\1\4user\6secret\5\1\0\4" + bytes(15) + b"\1\0\x50",
            b"\0\1\0\5\3\0\1\x7f\0\0\1\1\xbb",
            b"\1\2\0\2\1\4Jos\xe9\0\5\1\0\3\x09a.example\0\x50",
            b"\x81\1\2\1\0\6secret\5\3\0\3\1a\0\x50",
        ),
        (asyncio.IncompleteReadError,),
    ),
    Target(
        "socks-datagram",
        read_associated,
        (
            b"\0\0\0\1\x7f\0\0\1\0\x35payload",
            b"\0\0\0\3\x09a.example\0\x35payload",
            b"\0\0\0\4" + bytes(15) + b"\1\0\x35",
        ),
    ),
    Target(
        "http",
        read_http,
        (
            b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\nearly",
            _GET,
            b"GET /secret.pac HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n",
        ),
        (asyncio.IncompleteReadError,),
    ),
    Target("authority", read_authority_text, (b"a.example:80", b"[2a00::1]:443", b"a.example"), longest=300),
    Target("destination", read_destination, (b"a.example.com", b"2a00::1", b"203.0.113.7"), (FlowError,), 300),
    Target(
        "policy",
        read_policy,
        (b"reject *:25\naccept 203.0.113.0/24:80,443\nreject *.example.com:*", b"accept [2001:db8::/32]:1-9 # why"),
        (ConfigError,),
    ),
    Target(
        "site-rule",
        read_rule,
        (
            b"block *.example.com",
            b"10.0.0.0/8",
            b"https://a.example:80 region=NL,DE mode=speed max_tariff=3 isolated",
        ),
        (ConfigError,),
        320,
    ),
    Target("rule-list", read_rule_list, (b"0.0.0.0 a.example\n||b.example^\n.c.example # c", b"block d:80\n::1 e\n")),
    Target(
        "foreign-pac",
        read_foreign_pac,
        (
            b'function FindProxyForURL(url, host) { if (dnsDomainIs(host, ".a") || host == "b") return "DIRECT"; }',
            b'FindProxyForURL=function(u,h){if((isInNet(h,"10.0.0.0","255.0.0.0"))){return\'PROXY x:1\'}/* */}',
        ),
    ),
    Target("browser-host", read_browser_host, (b"a.example", b"[2a00::1]", "bücher.example".encode()), (), 300),
    Target("dns", read_dns, _dns_answers(), (dns.exception.DNSException,)),
)
