"""Ask one site what it sees, over the local port as a browser does, when the user clicks for it. Nothing is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import aiohttp
from yarl import URL

from core.errors import MacroVpnError
from node.findings import OwnProxy
from node.settings import join_endpoint
from pac.rules import Action

if TYPE_CHECKING:
    from node.applying import Parts
    from pac.rules import RuleSet
    from proxy.front import Front

LIMIT_S: Final = 20.0
"""For the whole of it; a path may have to be built first."""
MAX_URL_CHARACTERS: Final = 2048
MAX_TEXT_BYTES: Final = 4096
"""Of the answer. An address and some facts about it are a tenth of that."""
HEADERS: Final = {"Accept": "text/plain, application/json;q=0.9, */*;q=0.1", "Accept-Encoding": "identity"}
_OWN_PAGE: Final = "X-MacroVPN-Reason"
"""Only the local port's own pages have this header."""


class SiteAskError(MacroVpnError):
    """The site was not asked, or did not answer."""


def local_port(parts: Parts) -> Front:
    """Give a node's local port.

    Raises:
        SiteAskError: it has none.
    """
    if parts.front is None:
        raise SiteAskError("This node has no proxy, or is not up yet, so no browser comes to it.")
    return parts.front


async def ask_site(text: str, parts: Parts, password: str) -> dict[str, Any]:
    """Ask for a page as a program without cookies would, and follow no redirection.

    Args:
        text: a URL, `http:` or `https:`, of at most `MAX_URL_CHARACTERS`.
        parts: of the node, with its local port and rules.
        password: of the proxy; empty without one.

    Returns:
        `status`: of HTTP. `text`: what the site said, at most `MAX_TEXT_BYTES` of it, without control characters.
        `cut`: whether it said more.

    Raises:
        SiteAskError: it is no such URL, it would not be asked through the tunnel, or it did not answer.
    """
    url, front = _read(text), local_port(parts)
    _check(url, front, parts.rules)
    try:
        return await _ask(url, f"http://{join_endpoint(*OwnProxy(*front.address).reachable)}", password)
    except TimeoutError as error:
        raise SiteAskError(f"The site did not answer within {LIMIT_S:.0f} s.") from error
    except (aiohttp.ClientError, OSError) as error:
        sentence = "The site could not be reached through the tunnel. `macrovpn status` says how the node is."
        raise SiteAskError(sentence) from error


def _check(url: URL, front: Front, rules: RuleSet) -> None:
    """Refuse what the local port would not send through the tunnel: then the answer is known already."""
    decision = rules.decide(url.raw_host or "", url.port or 0, url.scheme)
    if decision.action is Action.BLOCK:
        raise SiteAskError("One of your rules blocks this site, so it sees nothing of you.")
    if decision.action is Action.BYPASS:
        raise SiteAskError("One of your rules sends this site past the tunnel: it sees your own address.")
    if decision.rule is None and front.trusted.is_open:
        raise SiteAskError("You trust this network, so sites are reached directly: they see your own address.")


async def _ask(url: URL, proxy: str, password: str) -> dict[str, Any]:
    # Without a user name it goes over the same circuits as a browser.
    login = {"Authorization": aiohttp.encode_basic_auth("", password, "utf-8")} if password else None
    session = aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=LIMIT_S),
        trust_env=False,
        auto_decompress=False,
        skip_auto_headers=("User-Agent",),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    async with (
        session,
        session.get(url, proxy=proxy, proxy_headers=login, allow_redirects=False, headers=HEADERS) as answer,
    ):
        if _OWN_PAGE in answer.headers:
            raise SiteAskError("The site could not be reached through the tunnel, or is not on the Internet.")
        text = await _some(answer.content)
    shown = text[:MAX_TEXT_BYTES].decode("utf-8", "replace")
    shown = "".join(each if each.isprintable() or each == "\n" else " " for each in shown)
    return {"status": answer.status, "text": shown, "cut": len(text) > MAX_TEXT_BYTES}


async def _some(content: aiohttp.StreamReader) -> bytes:
    """Read at most one byte more than is shown; asked for none, the reader gives none."""
    text = b""
    while more := await content.read(MAX_TEXT_BYTES + 1 - len(text)):
        text += more
    return text


def _read(text: str) -> URL:
    try:
        url = URL(text) if len(text) <= MAX_URL_CHARACTERS else URL()
        fits = url.scheme in ("http", "https") and bool(url.host) and url.port and url.user is None
    except ValueError:
        fits = False
    if not fits:
        raise SiteAskError("This is no address of a site. Write one such as https://www.example.com/.")
    return url
