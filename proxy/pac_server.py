"""Serve the PAC script to the browser, and to nobody who asks on behalf of a web page.

The script holds the user's bypass list. A page must not learn it: neither by embedding the script, which is why
`Sec-Fetch-Site` and `Origin` are looked at, nor under a name of its own that resolves to this machine, which is why
`Host` is, nor by guessing the address, which is why its path is random. Browsers that send neither header obey what the
answer says: no page may run it, since its type is none of JavaScript's, or frame it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import DecodeError
from pac.hosts import read_host
from pac.pac import MEDIA_TYPE
from proxy.answers import Form, http_complaint
from proxy.ask import Answer
from proxy.target import read_authority

if TYPE_CHECKING:
    from collections.abc import Callable

    import h11

MAX_AGE_S = 60


@dataclass(frozen=True, slots=True, repr=False)
class PacSite:
    """What this node serves under its own address.

    Args:
        port: of this node, as it must stand in `Host`.
        path: of the script; it holds a random part.
        text: makes the script as it is now.
    """

    port: int
    path: str
    text: Callable[[], str]


def answer(request: h11.Request, site: PacSite, form: Form) -> Answer:
    """Answer a request whose target is a path; with a page of this form when it is not answered with the script."""
    hosts = [value for name, value in request.headers if name == b"host"]
    if len(hosts) != 1 or not _is_own_host(hosts[0], site.port):
        return http_complaint(403, "forbidden", form)
    if any(name == b"origin" or (name == b"sec-fetch-site" and value != b"none") for name, value in request.headers):
        return http_complaint(403, "forbidden", form)
    if not hmac.compare_digest(request.target, site.path.encode()):
        return http_complaint(404, "not_found", form)
    if request.method not in (b"GET", b"HEAD"):
        return http_complaint(405, "malformed", form)
    body = site.text().encode("ascii")
    head = (
        "HTTP/1.1 200 OK\r\n"
        f"Content-Type: {MEDIA_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Cache-Control: max-age={MAX_AGE_S}\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"
        "Connection: close\r\n\r\n"
    )
    return Answer(head.encode("ascii") + (b"" if form is Form.HEAD else body), "pac")


def _is_own_host(value: bytes, port: int) -> bool:
    """Accept `localhost` and loopback addresses with our port; any other name may belong to a web page."""
    try:
        host, named = read_authority(value.decode("ascii"), default_port=80)
    except (DecodeError, UnicodeDecodeError):
        return False
    if named != port:
        return False
    if host == "localhost":
        return True
    address = read_host(host)
    return address is not None and not isinstance(address, str) and address.is_loopback
