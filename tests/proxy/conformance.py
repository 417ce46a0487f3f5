"""What RFC 1928 and RFC 1929 say, sentence by sentence, and what the local port does: rows that are tried.

Where it does something else, the row says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from core.errors import Reason
from core.flow import MAX_DATAGRAM_BYTES
from tests.proxy.harness import by_name
from tests.proxy.programs import ANY, V4, V6, named

SITE: Final = by_name("site.example", 22)
CONNECT: Final = b"\5\1\0"
GREETING: Final = b"\5\1\0"
CHOSEN: Final = b"\5\0"
GRANTED: Final = b"\5\0\0\1" + bytes(6)


@dataclass(frozen=True)
class Row:
    """One sentence of an RFC.

    Args:
        source: RFC and section.
        says: what it says, or what is done here, in a few words.
        words: what the client sends.
        answer: all that it gets, if it is refused, or else all before the bytes of the destination.
        asked: host, port and isolation key of the flow that is opened; None when there is none.
        password: what the port asks for.
        reason: why the tunnel opens no flow; None when it does.
    """

    source: str
    says: str
    words: bytes
    answer: bytes
    asked: tuple[str, int, str] | None = None
    password: str | None = None
    reason: Reason | None = None

    def __str__(self) -> str:
        return f"{self.source}: {self.says}"


def refused(code: int) -> bytes:
    return b"\5" + bytes([code]) + b"\0\1" + bytes(6)


def _connects(section: str, says: str, address: bytes, host: str, port: int, user: str = "") -> Row:
    return Row(f"1928 {section}", says, GREETING + CONNECT + address, CHOSEN + GRANTED, (host, port, user))


def _refuses(section: str, says: str, request: bytes, code: int) -> Row:
    return Row(f"1928 {section}", says, GREETING + request, CHOSEN + refused(code))


def _greets(says: str, greeting: bytes, answer: bytes, password: str | None = None) -> Row:
    return Row("1928 3", says, greeting, answer, password=password)


def _fails(reason: Reason, code: int) -> Row:
    answer = CHOSEN + refused(code)
    return Row("1928 6", f"{reason.word} is {code}", GREETING + CONNECT + SITE, answer, reason=reason)


def _enters(says: str, words: bytes, user: str, password: str | None = None) -> Row:
    start = b"\5\1\2" + words + CONNECT + SITE
    return Row("1929 2", says, start, b"\5\2\1\0" + GRANTED, ("site.example", 22, user), password)


def _stays_out(says: str, words: bytes, password: str | None = None) -> Row:
    return Row("1929 2", says, b"\5\1\2" + words + CONNECT + SITE, b"\5\2\1\1", password=password)


REPLIES: Final = {
    Reason.REFUSED: 5,
    Reason.HOST_UNREACHABLE: 4,
    Reason.NO_NAME: 4,
    Reason.NETWORK_UNREACHABLE: 3,
    Reason.NOT_ALLOWED: 2,
    Reason.NOT_SERVED: 2,
    Reason.INSIDE: 2,
    Reason.TIMED_OUT: 6,
    Reason.BUSY: 1,
    Reason.LIMIT: 1,
    Reason.LEAVING: 1,
    Reason.CLOSED: 1,
    Reason.PROTOCOL: 1,
    Reason.NO_PATH: 1,
    Reason.SITE_OPTIONS: 1,
    Reason.UNPAID: 1,
    Reason.PRICE: 1,
    Reason.NO_CHANNEL: 1,
    Reason.SPENDING_CAP: 1,
    Reason.COUNTS_DIFFER: 1,
    Reason.BAD_VOUCHER: 1,
    Reason.NO_FUNDS: 1,
    Reason.NOT_OPEN: 1,
    Reason.TOO_EARLY: 1,
    Reason.SETTLEMENT: 1,
    Reason.NEXT_HOP: 1,
    Reason.UNKNOWN_PEER: 1,
    Reason.RESET: 1,
    Reason.LOCAL: 1,
}
"""The reply's code for each reason (RFC 1928, section 6). 6 is "TTL expired", the nearest to a time limit. What is the
matter with the tunnel or this machine, and not with the destination, is a "general failure"."""

TCP: Final = (
    # -- RFC 1928, section 3: the method
    _greets("the version is 5: SOCKS4 is not answered", b"\4\1\0\x50\x7f\0\0\1\0", b""),
    _greets("nor is TLS", b"\x16\3\1\2\0\1\0\1\xfc\3\3", b""),
    _connects("3", "no authentication is enough without a password", SITE, "site.example", 22),
    _greets("no method at all: none is acceptable, and closed", b"\5\0", b"\5\xff"),
    _greets("GSSAPI alone: not spoken here, no browser does", b"\5\1\1", b"\5\xff"),
    _greets("methods of others", b"\5\3\3\x80\xfe", b"\5\xff"),
    _greets("255 as an offer is no method", b"\5\1\xff", b"\5\xff"),
    _greets("with a password, no authentication is not enough", b"\5\1\0", b"\5\xff", "secret"),
    Row(
        "1928 3",
        "all methods: user name and password, as only they name an isolation key",
        b"\5\xff" + bytes(range(255)) + b"\1\1u\1p" + CONNECT + SITE,
        b"\5\2\1\0" + GRANTED,
        ("site.example", 22, "u"),
    ),
    Row(
        "1928 3",
        "a method twice",
        b"\5\2\0\0" + CONNECT + SITE,
        CHOSEN + GRANTED,
        ("site.example", 22, ""),
    ),
    # -- RFC 1928, section 4: the request
    _refuses("4", "the version again", b"\4\1\0" + SITE, 1),
    _connects("4", "CONNECT", SITE, "site.example", 22),
    _refuses("4", "BIND is not supported: no exit takes connections", b"\5\2\0" + SITE, 7),
    _refuses("4", "command 0", b"\5\0\0" + SITE, 7),
    _refuses("4", "command 4", b"\5\4\0" + SITE, 7),
    _refuses("4", "command 255, and an unknown type of address", b"\5\xff\0\xff", 7),
    Row(
        "1928 4",
        "RSV must be 0: not looked at",
        GREETING + b"\5\1\xff" + SITE,
        CHOSEN + GRANTED,
        ("site.example", 22, ""),
    ),
    _refuses("4", "port 0 can be connected to nowhere", CONNECT + by_name("site.example", 0), 1),
    _connects("4", "the highest port", by_name("site.example", 65535), "site.example", 65535),
    # -- RFC 1928, section 5: addresses
    _connects("5", "IPv4", b"\1\xc6\x33\x64\7\0\x16", "198.51.100.7", 22),
    _connects("5", "IPv6", V6[3:], "2001:db8::1", 53),
    _connects("5", "a name has no NUL at its end and is of any case", by_name("Site.Example", 22), "site.example", 22),
    _connects("5", "a name of 1 byte", by_name("a", 22), "a", 22),
    _connects("5", "a name of 255 bytes", by_name("a" * 255, 22), "a" * 255, 22),
    _connects("5", "a name that is an IPv4 address", by_name("198.51.100.7", 22), "198.51.100.7", 22),
    _connects("5", "a name that is an IPv6 address", by_name("2001:DB8:0::1", 22), "2001:db8::1", 22),
    _refuses("5", "a name of no bytes", CONNECT + b"\3\0\0\x16", 4),
    _refuses("5", "a name that is not ASCII", CONNECT + b"\3\2\xc3\xa9\0\x16", 4),
    _refuses("5", "a name with a space", CONNECT + by_name("a b", 22), 4),
    _refuses("5", "a name with a NUL", CONNECT + by_name("a\0", 22), 4),
    _refuses("5", "a name with the end of a line", CONNECT + by_name("a\r\nb", 22), 4),
    _refuses("5", "a name that is a URL", CONNECT + by_name("http://a", 22), 4),
    _refuses("5", "type of address 0", CONNECT + b"\0" + bytes(6), 8),
    _refuses("5", "type of address 2", CONNECT + b"\2" + bytes(6), 8),
    _refuses("5", "type of address 5", CONNECT + b"\5" + bytes(6), 8),
    _refuses("5", "type of address 255", b"\5\3\0\xff" + bytes(6), 8),
    # -- RFC 1928, section 6: replies
    *(_fails(reason, code) for reason, code in REPLIES.items()),
    # -- RFC 1929, section 2
    _enters("user name and password: without one to ask for, any will do", b"\1\4user\3any", "user"),
    _enters("the right one", b"\1\4user\6secret", "user", "secret"),
    _enters("the user name is the key, whoever has the password", b"\1\5other\6secret", "other", "secret"),
    _enters("at most 255 bytes each", b"\1\xff" + b"u" * 255 + b"\xff" + b"p" * 255, "u" * 255, "p" * 255),
    _enters("at least 1 byte each: Java and curl send empty ones, and they are taken", b"\1\0\0", ""),
    _enters("an empty user name with the right password", b"\1\0\6secret", "", "secret"),
    _enters("UTF-8", b"\1\5Jos\xc3\xa9\4w\xc3\xa9t", "José", "wét"),
    _enters("ISO 8859-1, which Java sends", b"\1\4Jos\xe9\3w\xe9t", "José", "wét"),
    _stays_out("the version is 1: not 5", b"\5\4user\3any"),
    _stays_out("nor 0", b"\0\4user\3any"),
    _stays_out("a wrong password: any status but 0, and closed", b"\1\4user\5wrong", "secret"),
    _stays_out("the beginning of the right one", b"\1\4user\5secre", "secret"),
    _stays_out("more than the right one", b"\1\4user\7secret!", "secret"),
    _stays_out("none", b"\1\4user\0", "secret"),
    _stays_out("the password as the user name", b"\1\6secret\0", "secret"),
    Row("1929 2", "both methods and a wrong password", b"\5\2\0\2\1\1u\1p", b"\5\2\1\1", password="secret"),
)


@dataclass(frozen=True)
class DatagramRow:
    """A sentence of RFC 1928, section 7.

    Args:
        says: in a few words.
        datagram: what the program sends.
        sent: what the tunnel is given; None when it is dropped.
        dropped: under which word that is counted.
    """

    says: str
    datagram: bytes
    sent: tuple[str, int, bytes] | None = None
    dropped: str = ""

    def __str__(self) -> str:
        return self.says


UDP: Final = (
    DatagramRow("IPv4", V4 + b"data", ("198.51.100.7", 53, b"data")),
    DatagramRow("IPv6", V6 + b"data", ("2001:db8::1", 53, b"data")),
    DatagramRow("a name", named("Site.Example", 53, b"data"), ("site.example", 53, b"data")),
    DatagramRow("a name of 255 bytes", named("a" * 255, 53, b"data"), ("a" * 255, 53, b"data")),
    DatagramRow("no data", V4, ("198.51.100.7", 53, b"")),
    DatagramRow("most data", V4 + bytes(MAX_DATAGRAM_BYTES), ("198.51.100.7", 53, bytes(MAX_DATAGRAM_BYTES))),
    DatagramRow("more than travels", V4 + bytes(MAX_DATAGRAM_BYTES + 1), dropped="lost"),
    DatagramRow("as much as UDP holds", V4 + bytes(60_000), dropped="lost"),
    DatagramRow("RSV is 0: the first byte is not", b"\1\0\0" + V4[3:] + b"data", dropped="malformed"),
    DatagramRow("RSV is 0: the second byte is not", b"\0\1\0" + V4[3:] + b"data", dropped="malformed"),
    DatagramRow("who puts no fragments together must drop them: the first", b"\0\0\1" + V4[3:], dropped="malformed"),
    DatagramRow("a later one", b"\0\0\x7f" + V4[3:], dropped="malformed"),
    DatagramRow("the last one, with the high bit", b"\0\0\x82" + V4[3:], dropped="malformed"),
    DatagramRow("type of address 0", b"\0\0\0\0" + V4[4:], dropped="malformed"),
    DatagramRow("type of address 2", b"\0\0\0\2" + V4[4:], dropped="malformed"),
    DatagramRow("a name of no bytes", b"\0\0\0\3\0\0\x35data", dropped="malformed"),
    DatagramRow("a name that is not ASCII", b"\0\0\0\3\2\xc3\xa9\0\x35data", dropped="malformed"),
    DatagramRow("a name with a NUL", named("a\0", 53), dropped="malformed"),
    DatagramRow("port 0", V4[:-2] + b"\0\0", dropped="malformed"),
    DatagramRow("nothing", b"", dropped="malformed"),
    DatagramRow("cut off in the type", b"\0\0\0", dropped="malformed"),
    DatagramRow("cut off behind the type of a name", b"\0\0\0\3", dropped="malformed"),
    DatagramRow("cut off in the address", V4[:7], dropped="malformed"),
    DatagramRow("cut off in the port", V6[:-1], dropped="malformed"),
)

ASSOCIATE: Final = (
    ("the client does not know yet where it will send from", ANY),
    ("nor does it with IPv6", b"\4" + bytes(18)),
    ("a name, as PySocks sends", by_name("0", 0)),
    ("a name that is none: programs behind NAT name all sorts of hosts", by_name("not a host", 0)),
)
"""What programs say of themselves in an ASSOCIATE (RFC 1928, section 4), all of which is taken."""
