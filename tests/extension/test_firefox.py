"""What the extension answers when Firefox asks where a request goes: its own code, with a browser that a test plays."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import quickjs

from pac.pac import build_pac
from pac.rules import RuleSet, parse_rules
from scripts import extension

PROXY = "127.0.0.1:1080"
PAC = build_pac(RuleSet(parse_rules(["direct.test", "https://only.test"])), PROXY)
ON = {"on": True, "pac": PAC, "proxy": PROXY}
THROUGH = {"type": "http", "host": "127.0.0.1", "port": 1080}
NOWHERE = {"type": "http", "host": "127.0.0.1", "port": 9}
DIRECT = {"type": "direct"}

_BROWSER = """
var stored = null, asked = null, answered = "nothing yet";
var event = { addListener() {} };
var api = {
  proxy: { onRequest: { addListener(listener) { asked = listener; } }, onError: event },
  permissions: { onAdded: event, onRemoved: event },
};
function kept() { return stored === null ? Promise.reject(new Error("broken")) : Promise.resolve(stored); }
function URL(text) {
  var found = /^[a-z]+:\\/\\/(\\[[^\\]]*\\]|[^/:]*)/.exec(text);
  if (!found) throw new TypeError("no URL");
  this.hostname = found[1];
}
"""


class Browser:
    """Firefox with the extension's background page.

    Args:
        stored: what the extension kept; None: it cannot be read.
    """

    def __init__(self, stored: dict[str, Any] | None) -> None:
        self._context = quickjs.Context()
        self._context.eval(_BROWSER + f"stored = {json.dumps(stored)};")
        for name in ("closed.js", "rules.js", "firefox.js"):
            text = (extension.SOURCE / name).read_text()
            self._context.eval(re.sub(r"^import .*$|^export ", "", text, flags=re.MULTILINE))
        self._context.eval((extension.SOURCE / "failures.js").read_text().replace("export ", ""))
        self._context.eval("listen(() => {}, () => {})")

    def asks(self, url: Any) -> Any:
        """Where a request goes; None: as without the extension."""
        self._context.eval(f"asked({{ url: {json.dumps(url)} }}).then((answer) => {{ answered = answer ?? null; }})")
        self._finish()
        return json.loads(self._context.eval("JSON.stringify(answered)"))

    def keeps(self, stored: dict[str, Any]) -> None:
        """Keep something else, and go by it."""
        self._context.eval(f"stored = {json.dumps(stored)}; apply().catch(() => {{}})")
        self._finish()

    def blames_the_proxy(self, error: str) -> bool:
        """Whether it takes an error of a page for one of the proxy."""
        return bool(self._context.eval(f"isFromProxy({json.dumps(error)})"))

    def _finish(self) -> None:
        while self._context.execute_pending_job():
            pass


@pytest.mark.parametrize(
    ("url", "answer"),
    [
        ("https://site.test/", THROUGH),
        ("wss://site.test/", THROUGH),
        ("https://direct.test/", DIRECT),
        ("https://www.direct.test/", THROUGH),
        ("https://only.test/", DIRECT),
        ("http://only.test/", THROUGH),
        ("http://127.0.0.1:41081/", DIRECT),
        ("http://127.1.2.3/", DIRECT),
        ("http://[::1]/", DIRECT),
        ("http://localhost/", DIRECT),
        ("http://a.localhost/", DIRECT),
        ("http://127.0.0.1.test/", THROUGH),
        ("http://notlocalhost/", THROUGH),
        ("http://localhost.test/", THROUGH),
        ("http://[::2]/", THROUGH),
        ("http://10.0.0.1/", THROUGH),
    ],
)
def test_where_requests_go(url: str, answer: dict[str, Any]) -> None:
    assert Browser(ON).asks(url) == answer


def test_while_it_is_off_firefox_goes_its_own_way() -> None:
    browser = Browser(ON | {"on": False})
    assert browser.asks("https://site.test/") is None
    browser.keeps(ON)
    assert browser.asks("https://site.test/") == THROUGH
    browser.keeps(ON | {"on": False})
    assert browser.asks("https://site.test/") is None


@pytest.mark.parametrize(
    "stored",
    [
        None,
        ON | {"pac": "", "proxy": ""},
        ON | {"pac": "<html>"},
        ON | {"proxy": "192.0.2.1:1080"},
        ON | {"proxy": "127.0.0.1:99999"},
        ON | {"proxy": "127.0.0.1:1080; DIRECT"},
    ],
    ids=["unreadable", "nothing known", "no PAC", "elsewhere", "no port", "more than a port"],
)
def test_what_is_not_understood_goes_nowhere(stored: dict[str, Any] | None) -> None:
    browser = Browser(stored)
    assert browser.asks("https://site.test/") == NOWHERE
    if stored is not None and stored["pac"] == "<html>":
        assert browser.asks("https://direct.test/") == NOWHERE


@pytest.mark.parametrize("url", ["", "nonsense", None, 7])
def test_a_request_without_an_address_goes_nowhere(url: Any) -> None:
    assert Browser(ON).asks(url) == NOWHERE


def test_a_pac_that_is_none_closes_what_was_open() -> None:
    browser = Browser(ON)
    assert browser.asks("https://direct.test/") == DIRECT
    browser.keeps(ON | {"pac": "<html>"})
    assert browser.asks("https://direct.test/") == NOWHERE
    assert browser.asks("https://site.test/") == NOWHERE


@pytest.mark.parametrize(
    ("number", "blamed"),
    [
        (2152398920, True),  # nobody listens at the proxy's port
        (2152400251, True),  # 403
        (2152400350, True),  # 502
        (2152398861, True),  # 503
        (2152400352, True),  # 504
        (2152398878, True),  # 400
        (2152398850, False),  # the user went elsewhere
        (2152398862, False),  # NS_ERROR_NET_TIMEOUT
        (2152398919, False),  # NS_ERROR_NET_INTERRUPT
    ],
)
def test_errors_that_come_from_the_proxy(number: int, *, blamed: bool) -> None:
    """The numbers are what Firefox 153 ESR gave for a proxy with such answers."""
    assert Browser(ON).blames_the_proxy(f"Error code {number}") is blamed


@pytest.mark.parametrize(
    ("name", "blamed"),
    [
        ("PROXY_CONNECTION_FAILED", True),
        ("TUNNEL_CONNECTION_FAILED", True),
        ("SOCKS_CONNECTION_FAILED", True),
        ("NAME_NOT_RESOLVED", False),
        ("CONNECTION_REFUSED", False),
        ("ABORTED", False),
    ],
)
def test_chromium_names_them(name: str, *, blamed: bool) -> None:
    assert Browser(ON).blames_the_proxy(f"net::ERR_{name}") is blamed
