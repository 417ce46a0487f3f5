"""How an operator names the DNS server of an exit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

from core.errors import ConfigError

type Scheme = Literal["udp", "tls", "https"]

_PORTS: Final[dict[Scheme, int]] = {"udp": 53, "tls": 853, "https": 443}
"""The usual ports (RFC 1035, RFC 7858, RFC 8484)."""

_FORM: Final = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[0-9.]{7,15})(:(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[!-\"$-~]{0,255})?(#(?P<name>[0-9A-Za-z.-]{1,253}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class NameServer:
    """A DNS server.

    Args:
        scheme: how it is asked.
        host: its IP address, without brackets: the exit cannot resolve a name before it has a resolver.
        port: 1 to 65535.
        name: what its certificate must name: a host name or its address. Empty for `udp`.
        path: where on an HTTPS server. Empty for the others.
    """

    scheme: Scheme
    host: str
    port: int
    name: str = ""
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> NameServer:
        """Read `9.9.9.9:53`, `tls://9.9.9.9:853#dns.quad9.net` or `https://9.9.9.9/dns-query#dns.quad9.net`.

        A port may be left out behind `tls://` and `https://`, a name if the certificate names the address.

        Raises:
            ConfigError: it has another form.
        """
        schemes: dict[str, Scheme] = {"tls": "tls", "https": "https"}
        prefix, separator, rest = text.partition("://")
        scheme = schemes.get(prefix) if separator else "udp"
        match = _FORM.fullmatch(rest if separator else text)
        if scheme is None or match is None:
            raise _wrong()
        host, port = _read_host(match["host"]), int(match["port"] or (_PORTS[scheme] if separator else 0))
        if not 1 <= port <= 65535:
            raise _wrong()
        if scheme == "udp":
            if match["path"] or match["name"]:
                raise _wrong()
            return cls(scheme, host, port)
        if scheme == "tls" and match["path"]:
            raise _wrong()
        path = (match["path"] or "/dns-query") if scheme == "https" else ""
        return cls(scheme, host, port, match["name"] or host, path)


def _wrong() -> ConfigError:
    return ConfigError("exit.resolver", 'write "IP:PORT", "tls://IP:PORT#NAME" or "https://IP/PATH#NAME"')


def _read_host(text: str) -> str:
    try:
        return str(IPv6Address(text[1:-1])) if text.startswith("[") else str(IPv4Address(text))
    except ValueError:
        raise _wrong() from None
