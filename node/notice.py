"""The page that an exit shows to whoever looks up where a connection came from."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from node.pages import Page

if TYPE_CHECKING:
    from collections.abc import Callable

    from node.pages import Asked

KIND: Final = "text/html; charset=utf-8"
_TEXT: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>This is an exit of a VPN</title>
<style>body {{ font: 1.05em/1.5 sans-serif; max-width: 40em; margin: 2em auto; padding: 0 1em }}</style>
<h1>This machine is an exit of Macro VPN</h1>
<p>It makes connections for people who use a peer-to-peer VPN. If a connection from this address brought you here,
<strong>this machine is not where it came from</strong>: it made the connection for somebody else.</p>
<h2>What is known about it</h2>
<p>No logs are kept: no destinations, no names, no times, no addresses. Its operator cannot find out who made a
connection, now or later, and there is nothing on this machine that would say so.</p>
<h2>What it refuses</h2>
<p>Its rules for ports are <code>{ports}</code> (<code>+</code>: these only; <code>-</code>: all but these). It does not
connect to private networks.</p>
<h2>If you want to be left out</h2>
<p>Name your addresses or host names to the operator, who can have this exit refuse them with one line of its
settings.</p>
<h2>Contact</h2>
<p>{contact}</p>
</html>
"""
_NO_CONTACT: Final = "The operator has named none. The provider of this address can pass a message on."


def notice(contact: str, ports: str) -> Callable[[Asked], Page]:
    """Make the page of an exit.

    Args:
        contact: whom to write to, as the operator put it; shown as text, never as markup.
        ports: summary of the policy, such as `-25`.
    """
    body = _TEXT.format(ports=escape(ports), contact=escape(contact) or _NO_CONTACT).encode()
    page = Page(body, KIND)
    missing = Page(b"There is one page here: /\n", status=404)
    return lambda asked: page if asked.path == "/" else missing
