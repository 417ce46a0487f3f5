"""What a site sees: the dashboard's section, in browsers that are closed, and in one that is not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from node.client import NodeClient, RefusedError
from tests.harness.dashboard import browsers, dashboard, go
from tests.harness.demo import Demo
from tests.harness.origin import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.system

OPTIONS: Final = (
    *("--relays", "1", "--exits", "1", "--hops", "2", "--exit-region", "NL"),
    *("--allow-destination", "127.0.0.0/8"),
)
NOWHERE: Final = "--host-resolver-rules=MAP *.macro-vpn.invalid ~NOTFOUND"
"""So that a browser without the proxy asks this machine's name server nothing."""
SHUT: Final = "--webrtc-ip-handling-policy=disable_non_proxied_udp"
SECTION: Final = "what a site sees"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with Demo(*OPTIONS, log=tmp_path_factory.mktemp("seen") / "log") as found:
        yield found


@pytest.fixture(scope="module")
def both() -> Iterator[list[Browser]]:
    with browsers([NOWHERE, SHUT], [NOWHERE]) as found:
        yield found


@pytest.fixture
def shut(both: list[Browser]) -> Browser:
    return both[0]


def through(demo: Demo, scheme: str) -> dict[str, Any]:
    """A context that uses the proxy, and not for the page itself."""
    return {"proxy": {"server": f"{scheme}://{demo.facts['proxy']}", "bypass": "127.0.0.1"}}


def checked(page: Page) -> list[str]:
    """Let the section look at the browser; return what it says."""
    go(page, SECTION)
    page.get_by_role("button", name="Check this browser").click()
    page.locator(".checked li").nth(2).wait_for()
    return page.locator(".checked li").all_inner_texts()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_browser_that_is_closed(demo: Demo, shut: Browser, scheme: str) -> None:
    with dashboard(shut, demo.home, **through(demo, scheme)) as page:
        http, https, webrtc = checked(page)
        assert http.startswith("Good: what it asks for over http://")
        assert https.startswith("Good: what it asks for over https://")
        assert webrtc == "Good: WebRTC finds no way past the proxy."


def test_a_browser_that_goes_direct(demo: Demo, both: list[Browser]) -> None:
    with dashboard(both[1], demo.home) as page:
        http, https, webrtc = checked(page)
        assert http.startswith("Not protected: what it asks for over http:// does not go")
        assert https.startswith("Not protected: what it asks for over https:// does not go")
        assert webrtc.startswith("Not protected: WebRTC is open")


def test_what_is_known_without_asking(demo: Demo, shut: Browser) -> None:
    with dashboard(shut, demo.home, locale="fi-FI", timezone_id="Europe/Helsinki") as page:
        asked: list[str] = []
        page.on("request", lambda made: asked.append(made.url))
        go(page, SECTION)
        text = page.locator("#main").inner_text()
        assert f"{demo.node.url}/v1/health" in asked
        assert all(url.startswith(f"{demo.node.url}/") for url in asked), "opening it asks the node, and nobody else"
        assert "Netherlands" in text or "Alankomaat" in text
        (exit_address,) = demo.node.health()["exit"]["addresses"]
        assert exit_address in text
        for each in (page.evaluate("navigator.userAgent"), "fi-FI", "Europe/Helsinki"):
            assert each in text


def test_a_site_is_asked_through_the_tunnel(
    demo: Demo, shut: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Origin(tmp_path_factory.mktemp("origin")) as origin, dashboard(shut, demo.home) as page:
        go(page, SECTION)
        address = page.get_by_label("Address of a site")
        address.fill(f"http://127.0.0.1:{origin.http}/<b>x</b>")
        address.press("Enter")
        page.get_by_text("It answered 200").wait_for()
        (source,) = {source for source, _ in origin.seen}
        assert source.startswith("127.22.0.")
        assert source in page.locator("pre").inner_text()
        assert not page.locator("pre b").count()
        before = len(origin.seen)
        demo.node.call("POST", "bypass", arguments={"rule": f"127.0.0.1:{origin.http}"})
        page.get_by_role("button", name="Ask").click()
        page.get_by_role("alert").filter(has_text="sends this site past the tunnel").wait_for()
        demo.node.call("DELETE", "bypass", arguments={"rule": f"127.0.0.1:{origin.http}"})
        assert len(origin.seen) == before
        address.fill("file:///etc/passwd")
        address.press("Enter")
        page.get_by_role("alert").filter(has_text="no address of a site").wait_for()


def test_another_page_learns_nothing_from_the_names(demo: Demo, shut: Browser) -> None:
    """What a page of another origin sees of a name that was made, of one that was not, and of any that is not there."""
    script = """async (names) => {
        const found = [];
        for (const name of names)
            for (const scheme of ["http", "https"])
                for (const mode of ["cors", "no-cors"])
                    found.push(await fetch(`${scheme}://${name}/`, { mode, cache: "no-store" })
                        .then((answer) => answer.type + answer.status, () => "failed"));
        return found;
    }"""
    made = demo.node.new_probe()
    other = f"{'0' * 32}.macro-vpn.invalid"
    with shut.new_context(**through(demo, "http")) as context:
        page = context.new_page()
        page.route("http://elsewhere.example/", lambda route: route.fulfill(body="x", content_type="text/html"))
        page.goto("http://elsewhere.example/")
        of_made, of_other = page.evaluate(script, [made]), page.evaluate(script, [other])
    assert of_made == of_other
    assert demo.node.probe_came(made)
    assert not demo.node.probe_came(other)


def test_who_serves_others_has_no_browser(demo: Demo) -> None:
    home = next(process["home"] for process in demo.facts["processes"] if process["role"] == "relay")
    relay = NodeClient(Path(home))
    assert relay.health()["exit"] is None
    with pytest.raises(RefusedError, match="has no proxy"):
        relay.new_probe()
