"""Rules for sites in a real browser: the PAC script decides as the rules do, and is for no web page."""

from __future__ import annotations

import random
import shutil
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest
from playwright.async_api import Error, async_playwright

from pac.rules import Action, Rule, RuleSet
from tests.harness.chromium import QUIET
from tests.harness.demo import command
from tests.pac import oracle
from tests.pac.many import World
from tests.proxy.harness import LoopbackDialer, Stage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from playwright.async_api import Page

    from tests.harness.demo import Demo
    from tests.harness.origin import Origin

pytestmark = pytest.mark.system
needs_chromium = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="Debian's package chromium is not installed"
)

VISITS: Final = 200
ONLY_HTTPS: Final = ("1.0.0.1", "1.1.1.1")
"""Addresses for which Chromium makes https of http. Source: its `net/http/transport_security_state_static.json`."""

FETCH_ALL: Final = """
async (urls) => {
  for (let attempt = 0; attempt < 3 && urls.length; attempt++) {
    const failed = [];
    const get = (url) => fetch(url, {mode: "no-cors", cache: "no-store"}).catch(() => failed.push(url));
    await Promise.all(urls.map(get));
    urls = failed;
  }
  return urls;
}
"""

STEAL: Final = """
async (url) => {
  const ended = (element) => new Promise((end) => { element.onload = element.onerror = () => end(); });
  const add = async (tag, source) => {
    const element = document.createElement(tag);
    Object.assign(element, source);
    const end = ended(element);
    document.body.append(element);
    await end;
    return element;
  };
  const told = [];
  await fetch(url).then(async (answer) => told.push(await answer.text()), () => {});
  await fetch(url, {mode: "no-cors"}).then(async (answer) => told.push(await answer.text()), () => {});
  await add("script", {src: url});
  await add("script", {src: url, type: "module"});
  await add("img", {src: url});
  await add("link", {rel: "stylesheet", href: url});
  const frame = await add("iframe", {src: url});
  try { told.push(frame.contentDocument.documentElement.textContent); } catch (error) {}
  await import(url).catch(() => {});
  return [told.join(""), typeof FindProxyForURL];
}
"""


class Site:
    """Answers every request, and remembers the last part of its path."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.add(head.split()[1].decode().rpartition("/")[2])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\n")
        writer.write(b"Connection: close\r\n\r\n<p>")


@asynccontextmanager
async def chromium(*arguments: str) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=[*QUIET, *arguments])
        try:
            yield await browser.new_page()
        finally:
            await browser.close()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with Stage() as stage:
        yield stage


@needs_chromium
async def test_chromium_goes_where_the_rules_say(stage: Stage) -> None:
    seed = random.randrange(1 << 32)
    print(f"{seed=}")
    rng = random.Random(seed)
    worlds = [World.make(rng) for _ in range(8)]
    name = worlds[0].name()
    texts = [f".{name}", f"block x.{name}", *(text for world in worlds for text in world.rules(8))]
    rules = RuleSet(map(Rule.parse, texts))
    outside, tunnel = Site(), Site()
    direct = await stage.site(outside)
    front = await stage.front(LoopbackDialer((await stage.site(tunnel)).port), rules)
    urls: list[str] = []
    expected: dict[str, Action] = {}
    hosts = iter([name, f"x.{name}"])
    while len(urls) < VISITS:
        host, port = next(hosts, None) or rng.choice(worlds).host(), rng.choice((80, 8080, 8443))
        plain = oracle.plain(host)
        local = not isinstance(plain, str) and plain.is_link_local
        if local or str(plain).startswith(("0.", "127.", "255.", "::")) or str(plain) in ("0", *ONLY_HTTPS):
            continue  # a browser reaches these without a proxy, in another way, or not at all
        rule = oracle.decide(rules.rules, plain, port, "http")
        expected[str(len(urls))] = Action.TUNNEL if rule is None else rule.action
        shown = f"[{plain}]" if ":" in str(plain) else host
        urls.append(f"http://{shown}{'' if port == 80 else f':{port}'}/{len(urls)}")
    mapped = f"--host-resolver-rules=MAP * 127.0.0.1:{direct.port}, EXCLUDE 127.0.0.1"
    async with chromium(f"--proxy-pac-url={front.pac_url}", mapped) as page:
        await page.goto(f"http://127.0.0.1:{direct.port}/page")
        assert await page.evaluate(FETCH_ALL, urls) == []
    found = dict.fromkeys(expected, Action.BLOCK)
    found |= {number: Action.BYPASS for number in outside.asked & set(expected)}
    found |= {number: Action.TUNNEL for number in tunnel.asked}
    wrong = {urls[int(number)]: found[number] for number in expected if found[number] != expected[number]}
    assert not wrong, list(map(str, rules.rules))
    assert not outside.asked & tunnel.asked
    assert front.counters["blocked"] >= sum(action is Action.BLOCK for action in expected.values())
    assert len(set(expected.values())) > 1


@needs_chromium
async def test_no_page_reads_runs_or_frames_the_script(stage: Stage) -> None:
    site = await stage.site(Site())
    front = await stage.front(LoopbackDialer(site.port), RuleSet([Rule.parse(".secret.example")]))
    at_own_name = front.pac_url.replace("127.0.0.1", "rebound.example")
    async with chromium("--host-resolver-rules=MAP *.example 127.0.0.1") as page:
        for place in (f"http://127.0.0.1:{site.port}", f"http://page.example:{site.port}"):
            for url in (front.pac_url, front.pac_url.replace("127.0.0.1", "localhost"), at_own_name):
                await page.goto(f"{place}/page")
                told, kind = await page.evaluate(STEAL, url)
                assert kind == "undefined"
                assert "secret" not in told
        forbidden = front.counters["forbidden"]
        assert forbidden >= 2 * 3 * 6
        assert front.counters["pac"] == 0
        await page.goto(f"http://page.example:{site.port}/page")
        async with page.expect_navigation():
            await page.evaluate("(url) => { location.href = url; }", front.pac_url)
        assert "secret" not in await page.content()
        assert front.counters["pac"] == 0
        # The browser itself may have it: what is asserted above does not come from an address that is wrong.
        with pytest.raises(Error, match="Download is starting"):
            await page.goto(front.pac_url)
        assert front.counters["pac"] == 1


def test_a_running_node_obeys_new_rules_at_once(demo: Demo, origin: Origin) -> None:
    url = f"http://blocked.test:{origin.http}/page"
    assert "127.22.0." in demo.curl(url).stdout
    before = command("bypass", "list", home=demo.home)
    assert command("bypass", "add", "block .blocked.test", "tunnel www.blocked.test", home=demo.home)["running"] is True
    try:
        refused = demo.curl("-i", url, way="-x").stdout
        assert refused.startswith("HTTP/1.1 403 ")
        assert "X-MacroVPN-Reason: blocked" in refused
        assert demo.curl(url).returncode == 97  # curl: a SOCKS reply that is no success
        assert "127.22.0." in demo.curl(url.replace("//", "//www.")).stdout
        found = command("bypass", "test", url, home=demo.home)
        assert (found["action"], found["agree"]) == ("block", True)
        assert found["node"] == "the one that runs obeys these rules"
        pac = urllib.request.urlopen(demo.pac, timeout=5).read().decode()
        assert "blocked" not in pac, "what is not bypassed need not be in the script"
    finally:
        command("bypass", "remove", ".blocked.test", "www.blocked.test", home=demo.home)
    assert "127.22.0." in demo.curl(url).stdout
    assert command("bypass", "list", home=demo.home) == before
