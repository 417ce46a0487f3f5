"""The files of the dashboard: read once, and given to any browser of this machine, as nothing in them is secret."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Final

from proxy.probes import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

KINDS: Final = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "woff2": "font/woff2",
}
INDEX: Final = "index.html"
HEADERS: Final = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "font-src 'self'",
            f"connect-src 'self' http://*{SUFFIX} https://*{SUFFIX}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""A page of these files runs what stands in these files, asks this interface, and is part of no other page. The names
that it may ask for beside that exist nowhere; see `proxy.probes`."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.(?P<kind>[a-z0-9]+)")


def dashboard() -> Traversable:
    """Name the folder that the package ships."""
    return resources.files("node") / "dashboard"


def read_files(folder: Traversable) -> dict[str, tuple[str, bytes]]:
    """Read what may be given out: files of known kinds with plain names.

    Returns:
        For each path of an address its media type and content; none where there is no such folder.
    """
    if not folder.is_dir():
        return {}
    found = dict(_walk(folder, "/"))
    if (index := found.get(f"/{INDEX}")) is not None:
        found["/"] = index
    return found


def _walk(folder: Traversable, path: str) -> Iterator[tuple[str, tuple[str, bytes]]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{path}{entry.name}/")
        elif (name := _NAME.fullmatch(entry.name)) and name["kind"] in KINDS:
            yield f"{path}{entry.name}", (KINDS[name["kind"]], entry.read_bytes())


def may_have(headers: Mapping[str, str]) -> bool:
    """Whether a file is asked for by a page of these files, or by a person: else any web page could find out whether a
    node runs here, and which.

    Source: W3C, Fetch Metadata Request Headers, section 2. Old browsers and programs do not send them.
    """
    return headers.get("Sec-Fetch-Site", "none") in ("same-origin", "none") or (
        headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
    )
