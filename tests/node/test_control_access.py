"""Who is let in at the control interface: programs, paired extensions and pages of the dashboard, and nobody else."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from node.control import pairing, server
from node.control.access import MAX_PAGES
from node.control.pairing import MAX_PAIRINGS, MAX_TRIES
from tests.node.test_control import Rig, rig

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["rig"]

CHROMIUM = "chrome-extension://" + "abcdefghijklmnop" * 2
OTHER = "chrome-extension://" + "ponmlkjihgfedcba" * 2
FIREFOX = "moz-extension://01234567-89ab-cdef-0123-456789abcdef"
WRONG = "0000-0000"


async def paired(rig: Rig, origin: str = CHROMIUM) -> dict[str, Any]:
    """Pair an extension."""
    status, answer = await rig.trade("/v1/pair", await rig.code("extension"), origin)
    assert status == 200, answer
    return answer


async def page(rig: Rig) -> str:
    """Open a page of the dashboard; returns its token."""
    status, answer = await rig.trade("/v1/session", await rig.code("page"), rig.origin)
    assert status == 200, answer
    return str(answer["token"])


def bearing(token: str, origin: str | None = None) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {token}"}
    return headers if origin is None else headers | {"Origin": origin}


async def status_of(rig: Rig, headers: dict[str, str], method: str = "GET", path: str = "/v1/status") -> int:
    return (await rig.ask(method, path, headers))[0]


@pytest.mark.parametrize("origin", [CHROMIUM, FIREFOX])
async def test_a_paired_extension_asks_from_where_it_was_paired(rig: Rig, origin: str) -> None:
    token = (await paired(rig, origin))["token"]
    assert await status_of(rig, bearing(token, origin)) == 200
    assert await status_of(rig, bearing(token)) == 200, "browsers send no origin with GET"
    assert await status_of(rig, bearing(token, origin), "POST", "/v1/hop") == 200
    assert rig.node.hops == 1
    for wrong in (None, OTHER, "https://example.org", "null", rig.origin, f"{origin}/"):
        assert await status_of(rig, bearing(token, wrong), "POST", "/v1/hop") == 403, wrong
    assert rig.node.hops == 1
    assert await status_of(rig, bearing(token, OTHER)) == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/stop"),
        ("POST", "/v1/codes"),
        ("POST", "/v1/rules"),
        ("POST", "/v1/wallet/claim"),
        ("POST", "/v1/trust/confirm"),
        ("GET", "/v1/invite"),
        ("GET", "/v1/pairings"),
        ("DELETE", "/v1/pairings"),
    ],
)
async def test_an_extension_may_not_do_everything(rig: Rig, method: str, path: str) -> None:
    token = (await paired(rig))["token"]
    assert await status_of(rig, bearing(token, CHROMIUM), method, path) == 403
    assert not rig.node.stops
    assert not rig.node.orders


async def test_an_extension_changes_few_settings(rig: Rig) -> None:
    token = (await paired(rig))["token"]

    async def change(**changes: Any) -> int:
        body = json.dumps({name.replace("__", "."): value for name, value in changes.items()}).encode()
        return (await rig.ask("PATCH", "/v1/settings", bearing(token, CHROMIUM), body))[0]

    assert await change(tunnel__regions=["NL"], tunnel__mode="speed") == 200
    assert await change(tunnel__regions=[], proxy__listen="0.0.0.0:1080") == 403
    assert rig.node.changes == [{"tunnel.regions": ["NL"], "tunnel.mode": "speed"}]


@pytest.mark.parametrize(
    "origin", ["https://example.org", "null", "", "chrome-extension://x", "moz-extension://" + "A" * 36, "{own}"]
)
async def test_a_page_cannot_imitate_an_extension(rig: Rig, origin: str) -> None:
    code = await rig.code("extension")
    assert (await rig.trade("/v1/pair", code, origin.format(own=rig.origin)))[0] == 403
    without, _ = await rig.ask("POST", "/v1/pair", {"Authorization": ""}, json.dumps({"code": code}).encode())
    assert without == 403
    assert (await rig.trade("/v1/pair", code, CHROMIUM))[0] == 200, "none of them used the code up"


async def test_a_node_proves_that_it_is_the_one(rig: Rig, tmp_path: Path) -> None:
    answer, nonce = await paired(rig), "5e" * 16
    key = hashlib.sha256(answer["token"].encode()).digest()

    async def proof(asked: Rig, origin: str, name: str) -> str:
        body = json.dumps({"id": name, "nonce": nonce}).encode()
        _, text = await asked.ask("POST", "/v1/hello", {"Authorization": "", "Origin": origin}, body)
        return str(json.loads(text).get("proof", ""))

    right = hmac.digest(key, f"{rig.port}:{nonce}".encode(), "sha256").hex()
    assert await proof(rig, CHROMIUM, answer["id"]) == right
    assert await proof(rig, OTHER, answer["id"]) == ""
    assert await proof(rig, CHROMIUM, "00000000") == ""
    other = Rig(rig.home)  # on another port, as after one that was taken: who asks at the first one learns nothing
    await other.control.start(0)
    assert await proof(other, CHROMIUM, answer["id"]) not in ("", right)
    await other.control.stop()


async def test_a_code_counts_once(rig: Rig) -> None:
    code = await rig.code("extension")
    assert (await rig.trade("/v1/pair", code, CHROMIUM))[0] == 200
    status, answer = await rig.trade("/v1/pair", code, CHROMIUM)
    assert (status, "macrovpn pair" in answer["error"]) == (403, True)


async def test_of_two_codes_the_newer_counts(rig: Rig) -> None:
    older, newer = await rig.code("extension"), await rig.code("extension")
    assert (await rig.trade("/v1/pair", older, CHROMIUM))[0] == 403
    assert (await rig.trade("/v1/pair", newer, CHROMIUM))[0] == 200


async def test_guesses_end_a_code(rig: Rig) -> None:
    code = await rig.code("extension")
    for _ in range(MAX_TRIES):
        assert (await rig.trade("/v1/pair", WRONG, OTHER))[0] == 403
    assert (await rig.trade("/v1/pair", code, CHROMIUM))[0] == 403
    code = await rig.code("extension")
    for _ in range(MAX_TRIES - 1):
        assert (await rig.trade("/v1/pair", WRONG, OTHER))[0] == 403
    assert (await rig.trade("/v1/pair", code, CHROMIUM))[0] == 200


async def test_codes_of_one_kind_are_not_of_the_other(rig: Rig) -> None:
    extension, own = await rig.code("extension"), await rig.code("page")
    assert (await rig.trade("/v1/session", extension, rig.origin))[0] == 403
    assert (await rig.trade("/v1/pair", own, CHROMIUM))[0] == 403
    assert (await rig.trade("/v1/pair", extension, CHROMIUM))[0] == 200
    assert (await rig.trade("/v1/session", own, rig.origin))[0] == 200


async def test_a_revoked_pairing_is_over(rig: Rig) -> None:
    one, two = await paired(rig), await paired(rig, FIREFOX)
    listed = json.loads((await rig.ask("GET", "/v1/pairings"))[1])
    assert listed == {"pairings": [{"id": one["id"], "origin": CHROMIUM}, {"id": two["id"], "origin": FIREFOX}]}
    status, text = await rig.ask("DELETE", "/v1/pairings", data=json.dumps({"id": one["id"]}).encode())
    assert (status, json.loads(text)) == (200, {"pairings": [{"id": two["id"], "origin": FIREFOX}]})
    assert await status_of(rig, bearing(one["token"], CHROMIUM)) == 401
    assert await status_of(rig, bearing(two["token"], FIREFOX)) == 200
    assert (await rig.ask("DELETE", "/v1/pairings", data=json.dumps({"id": one["id"]}).encode()))[0] == 404


async def test_pairings_are_bounded(rig: Rig) -> None:
    for _ in range(MAX_PAIRINGS):
        await paired(rig)
    status, answer = await rig.trade("/v1/pair", await rig.code("extension"), CHROMIUM)
    assert (status, "revoke one" in answer["error"]) == (409, True)


async def test_pairings_and_the_port_outlive_the_node(rig: Rig) -> None:
    token, port = (await paired(rig))["token"], rig.port
    page_token = await page(rig)
    await rig.control.stop()
    await rig.control.start(0)
    assert rig.port == port
    assert await status_of(rig, bearing(token, CHROMIUM)) == 200
    assert await status_of(rig, bearing(page_token)) == 401, "a page's token ends with the node"


async def test_a_port_that_is_taken_is_left(rig: Rig, tmp_path: Path) -> None:
    port = rig.port
    other = Rig(tmp_path / "other")
    other.home.mkdir()
    for remembered in (str(port), "0", "70000", "-1", "x", ""):
        (other.home / "control.port").write_text(remembered)
        await other.control.start(0)
        assert other.port != port
        assert (other.home / "control.port").read_text() == f"{other.port}\n"
        await other.control.stop()


async def test_a_page_of_the_dashboard_asks_from_its_own_origin(rig: Rig) -> None:
    token = await page(rig)
    for origin in (rig.origin, f"http://localhost:{rig.port}"):
        assert await status_of(rig, bearing(token, origin), "POST", "/v1/hop") == 200
    assert await status_of(rig, bearing(token)) == 200
    wrong = (
        None,
        "null",
        "https://example.org",
        CHROMIUM,
        f"http://127.0.0.1:{rig.port ^ 1}",
        rig.origin.replace("http", "https"),
    )
    for other in wrong:
        assert await status_of(rig, bearing(token, other), "POST", "/v1/hop") == 403, other
    assert rig.node.hops == 2
    for method, path in (("POST", "/v1/stop"), ("POST", "/v1/codes")):
        assert await status_of(rig, bearing(token, rig.origin), method, path) == 403
    export = await rig.ask("POST", "/v1/wallet/export", bearing(token, rig.origin), b'{"path": "/tmp/x"}')
    assert (export[0], rig.node.orders) == (403, [])


async def test_what_other_ports_get_to_see_is_of_no_use(rig: Rig) -> None:
    """Cookies of a host go to all its ports, so there is none, and none counts."""
    token = await page(rig)
    code = await rig.code("page")
    headers = {"Authorization": "", "Origin": rig.origin}
    async with rig.session() as session:
        body = json.dumps({"code": code}).encode()
        async with session.post(f"{rig.control.url}/v1/session", headers=headers, data=body) as answer:
            assert (answer.status, "Set-Cookie" in answer.headers) == (200, False)
    for cookie in (f"token={token}", f"session={token}", f"macrovpn={token}"):
        assert await status_of(rig, {"Authorization": "", "Cookie": cookie}) == 401


async def test_the_oldest_page_makes_room(rig: Rig) -> None:
    tokens = [await page(rig) for _ in range(MAX_PAGES + 1)]
    assert [await status_of(rig, bearing(token)) for token in tokens] == [401] + [200] * MAX_PAGES


async def test_dns_rebinding_gets_nothing(rig: Rig) -> None:
    """A page's own name leads here now: the browser sends that name, and no foreign origin."""
    code = await rig.code("page")
    for host in ("rebound.example", f"rebound.example:{rig.port}", f"127.0.0.1.example:{rig.port}"):
        headers = {"Authorization": "", "Host": host, "Origin": f"http://{host}"}
        body = json.dumps({"code": code}).encode()
        assert (await rig.ask("POST", "/v1/session", headers, body))[0] == 403
        assert (await rig.ask("POST", "/v1/session", headers | {"Origin": rig.origin}, body))[0] == 403
    assert (await rig.trade("/v1/session", code, rig.origin))[0] == 200


async def test_the_programs_token_is_of_no_use_to_a_browser(rig: Rig) -> None:
    for origin in (CHROMIUM, rig.origin, "https://example.org"):
        assert await status_of(rig, bearing(rig.token, origin)) == 403


async def test_connections_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    async with rig.session() as session:
        headers = bearing(rig.token)
        held = [await session.get(f"{rig.control.url}/v1/events", headers=headers) for _ in range(3)]
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"{rig.control.url}/v1/status", headers=headers)
        for answer in held:
            answer.close()


async def test_who_only_holds_connections_keeps_nobody_out(rig: Rig) -> None:
    """Another user of this machine holds all of them: some are silent, some begin a request and never end it."""
    async with rig.session() as session:
        listening = await session.get(f"{rig.control.url}/v1/events", headers=bearing(rig.token))
        held = []
        for number in range(2 * server.MAX_CONNECTIONS):
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            held.append((reader, writer))
            if number % 2:
                writer.write(b"GET /v1/status HTTP/1.1\r\nHost: ")
        assert await status_of(rig, bearing(rig.token)) == 200
        async with asyncio.timeout(10):
            assert await held[0][0].read() == b"", "the oldest made room"
            assert b"second" in await listening.content.readuntil(b"event: second")
        listening.close()
        for _, writer in held:
            writer.close()


async def test_a_code_dies(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "CODE_LIFE_S", 0.0)
    assert (await rig.trade("/v1/pair", await rig.code("extension"), CHROMIUM))[0] == 403
