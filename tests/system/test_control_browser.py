"""The control interface in Chromium: pages of others get nothing, even if they know all secrets; its own page works."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect, sync_playwright

from node.client import NodeClient
from node.control.routes import TABLE
from tests.harness.chromium import CHROMIUM, QUIET
from tests.node.test_cli import running
from tests.node.test_control import Node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Route

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which(CHROMIUM) is None, reason="Debian's package chromium is not installed"),
]

UNGUARDED = "--disable-features=LocalNetworkAccessChecks"
"""Chromium asks before pages of the Internet reach this machine. Not all browsers do, so the node relies on none."""
RESOLVER = "--host-resolver-rules=MAP evil.test 127.0.0.1, MAP rebound.test 127.0.0.1"
ATTACK = """
async ([own, routes, token, code]) => {
  const got = [];
  const bodies = {"/v1/pair": {code}, "/v1/session": {code}, "/v1/codes": {purpose: "page"},
                  "/v1/settings": {"tunnel.mode": "speed"}, "/v1/bypass": {rule: "evil.test"}};
  for (const [method, path] of routes) {
    const body = method === "GET" ? undefined : JSON.stringify(bodies[path] ?? {});
    for (const headers of [{}, {Authorization: `Bearer ${token}`}])
      for (const mode of ["cors", "no-cors"])
        try {
          const answer = await fetch(own + path, {method, headers, body, mode, credentials: "include"});
          if (answer.type !== "opaque") got.push([method, path, answer.status, await answer.text()]);
        } catch {}
  }
  const tried = (make) => new Promise((done) => {
    const thing = make();
    thing.onload = thing.onopen = thing.onmessage = () => done(true);
    thing.onerror = () => done(false);
    if (thing instanceof HTMLElement) document.body.append(thing);
  });
  const element = (name, address) => () => Object.assign(document.createElement(name), {src: own + address});
  return {
    got,
    alive: await fetch(location.href).then((answer) => answer.status),
    script: await tried(element("script", "/page.js")),
    picture: await tried(element("img", "/v1/status")),
    socket: await tried(() => new WebSocket(own.replace("http", "ws") + "/v1/events")),
    events: await tried(() => new EventSource(own + "/v1/events")),
    beacon: (navigator.sendBeacon(own + "/v1/stop"), navigator.sendBeacon(own + "/v1/off"), true),
  };
}
"""
INDEX = '<!doctype html><p id="state"></p><p id="second"></p><script type="module" src="page.js"></script>'
SCRIPT = """
const ask = async (method, path, body, token) => fetch(path, {method, body: body && JSON.stringify(body),
                                                      headers: token ? {Authorization: `Bearer ${token}`} : {}});
const code = location.hash.slice(1);
history.replaceState(null, "", "/");
const {token} = await (await ask("POST", "/v1/session", {code})).json();
localStorage.token = token;
await ask("POST", "/v1/hop", null, token);
document.querySelector("#state").textContent = (await (await ask("GET", "/v1/status", null, token)).json()).state;
const stream = (await ask("GET", "/v1/events", null, token)).body.pipeThrough(new TextDecoderStream()).getReader();
for (let text = ""; !text.includes("event: second"); ) text += (await stream.read()).value;
document.querySelector("#second").textContent = "told";
"""
VIOLATION = """
() => new Promise((done) => {
  document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective), {once: true});
  const address = "http://evil.test/";
  ATTEMPT;
})
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, RESOLVER, UNGUARDED])
        yield found
        found.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    folder = tmp_path / "dashboard"
    folder.mkdir()
    (folder / "index.html").write_text(INDEX)
    (folder / "page.js").write_text(SCRIPT)
    node = Node()
    with running(tmp_path / "home", node, folder):
        yield node


def untouched(node: Node) -> bool:
    return not (node.hops or node.stops or node.reloads or node.orders or node.changes) and node.facts["state"] == "up"


def attack(page: Page, client: NodeClient, token: str, code: str) -> dict[str, Any]:
    """Ask everything in every way that a page has, with secrets that no page has."""
    routes = [[route.method, route.path.replace("{what}", "claim")] for route in TABLE if "events" not in route.path]
    found: dict[str, Any] = page.evaluate(ATTACK, [client.url, routes, token, code])
    return found


def test_a_page_of_another_site_neither_reads_nor_changes_anything(
    browser: Browser, node: Node, tmp_path: Path
) -> None:
    client = NodeClient(tmp_path / "home")
    token = (tmp_path / "home" / "control.token").read_text().strip()
    code = client.code("extension")["code"]
    page = browser.new_page()
    page.route("http://evil.test/", lambda route: route.fulfill(body="<!doctype html><body>", content_type="text/html"))
    page.goto("http://evil.test/")
    found = attack(page, client, token, code)
    assert found.pop("alive") == 200
    assert found == {"got": [], "script": False, "picture": False, "socket": False, "events": False, "beacon": True}
    assert untouched(node)
    assert client.pairings() == []


def test_a_name_that_was_made_to_lead_here_gets_nothing(browser: Browser, node: Node, tmp_path: Path) -> None:
    """The page's own requests go to the node now, and its answers may be read: all of them refuse."""
    client = NodeClient(tmp_path / "home")
    token = (tmp_path / "home" / "control.token").read_text().strip()
    code = client.code("page")["code"]
    page = browser.new_page()
    own = client.url.replace("127.0.0.1", "rebound.test")

    def first(route: Route) -> None:
        if route.request.url == f"{own}/":
            route.fulfill(body="<!doctype html><body>", content_type="text/html")
        else:
            route.continue_()

    page.route("**/*", first)
    page.goto(f"{own}/")
    client.url, real = own, client.url
    found = attack(page, client, token, code)
    assert len(found["got"]) > 50
    assert {(status, *json.loads(text)) for _, _, status, text in found["got"]} == {(403, "error")}
    assert not any(found[what] for what in ("script", "picture", "socket", "events"))
    assert untouched(node)
    client.url = real
    assert client.status() == {"state": "up"}


def test_the_page_of_the_interface_itself_trades_its_code(browser: Browser, node: Node, tmp_path: Path) -> None:
    client = NodeClient(tmp_path / "home")
    page = browser.new_page()
    page.goto(f"{client.url}/#{client.code('page')['code']}")
    expect(page.locator("#second")).to_have_text("told", timeout=10_000)
    assert page.inner_text("#state") == "up"
    assert page.url == f"{client.url}/"
    assert node.hops == 1
    assert page.context.cookies() == []
    for attempt, rule in (("fetch(address)", "connect-src"), ("new Image().src = address", "img-src")):
        assert page.evaluate(VIOLATION.replace("ATTEMPT", attempt)) == rule, "it asks nobody else"
