"""The control interface, over real HTTP: who is answered, and what."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio

from core.errors import CircuitError, ConfigError, MacroVpnError, PaymentError, Reason
from node.control.server import Control
from node.trust.watch import NothingToConfirmError
from node.wallet_orders import WalletOrder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Node:
    """A node that answers constants and notes what it is told."""

    def __init__(self) -> None:
        self.stops = 0
        self.hops = 0
        self.invite_text = "macrovpn1:x"
        self.pac_text = "function FindProxyForURL(url, host) {}"
        self.hop_error: MacroVpnError | None = None
        self.trust_error: MacroVpnError | None = None
        self.reloads = 0
        self.digest = "5e"
        self.reload_error: MacroVpnError | None = None
        self.wallet_error: MacroVpnError | None = None
        self.wallet_facts: dict[str, Any] = {"settlement": "off"}
        self.orders: list[WalletOrder] = []
        self.facts: dict[str, Any] = {"state": "up"}
        self.changes: list[dict[str, Any]] = []
        self.change_error: MacroVpnError | None = None
        self.switch_error: MacroVpnError | None = None
        self.left = 0
        self.health_facts: dict[str, Any] = {
            "clock": {"behind_s": 0, "ahead_s": 0, "peers": 4},
            "links": 2,
            "guards": {"kept": 2, "linked": 2},
            "exit": None,
        }

    def status(self) -> dict[str, Any]:
        return self.facts

    def route(self) -> dict[str, Any]:
        return {"circuits": [{"id": "c1"}]}

    def explain(self) -> dict[str, Any]:
        return {"circuits": [{"id": "c1", "hops": []}]}

    def second(self) -> dict[str, Any]:
        return {"forth_bytes_s": 1, "back_bytes_s": 2, "flows": 3, "first_byte_ms": 4.5, "rtt_ms": None}

    def peers(self) -> dict[str, Any]:
        return {"peers": []}

    def health(self) -> dict[str, Any]:
        return self.health_facts

    def new_probe(self) -> str:
        return f"{'0' * 32}.macro-vpn.invalid"

    def probe_came(self, name: str) -> bool:
        return name.startswith("0")

    async def ask_site(self, url: str) -> dict[str, Any]:
        return {"status": 200, "text": url, "cut": False}

    def regions(self) -> list[dict[str, Any]]:
        return [{"region": "NL", "exits": 3, "wanted": True}]

    def settings(self) -> dict[str, Any]:
        return {"settings": []}

    async def change(self, changes: dict[str, Any]) -> dict[str, Any]:
        if self.change_error:
            raise self.change_error
        self.changes.append(changes)
        return {"applied": sorted(changes), "for_new": [], "after_restart": []}

    async def switch(self, on: bool) -> None:
        if self.switch_error:
            raise self.switch_error
        self.facts["state"] = "up" if on else "down"

    def invite(self) -> str:
        return self.invite_text

    def pac(self) -> str:
        return self.pac_text

    def request_stop(self) -> float:
        self.stops += 1
        return 7.0

    async def confirm_trust(self) -> dict[str, Any]:
        if self.trust_error:
            raise self.trust_error
        return {"state": "trusted", "name": "home", "confirmed": True}

    async def reload_trust(self) -> None:
        if self.trust_error:
            raise self.trust_error
        self.reloads += 1

    def rules(self) -> dict[str, Any]:
        return {"count": 11, "digest": self.digest}

    async def reload_rules(self) -> None:
        if self.reload_error:
            raise self.reload_error
        self.reloads += 1

    async def wallet(self) -> dict[str, Any]:
        return self.wallet_facts

    async def wallet_do(self, order: WalletOrder) -> dict[str, Any]:
        if self.wallet_error:
            raise self.wallet_error
        self.orders.append(order)
        return {"claimed": 7, "left": self.left, "closing": 1, "deposit": 2_500_000}

    async def hop(self) -> None:
        if self.hop_error:
            raise self.hop_error
        self.hops += 1


class Rig:
    """A node, its control interface, and a client that has the token."""

    def __init__(self, home: Path, folder: Path | None = None) -> None:
        self.home = home
        self.node = Node()
        self.control = Control(self.node, home, folder)

    @property
    def port(self) -> int:
        return int(self.control.url.rpartition(":")[2])

    @property
    def origin(self) -> str:
        """That of the interface's own pages."""
        return self.control.url

    @property
    def token(self) -> str:
        return (self.home / "control.token").read_text().strip()

    async def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None, data: bytes | None = None
    ) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {self.token}"} | (headers or {})
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.control.url + path, headers=headers, data=data) as answer,
        ):
            assert "Access-Control-Allow-Origin" not in answer.headers
            return answer.status, await answer.text()

    @staticmethod
    def session() -> aiohttp.ClientSession:
        """A client that says nothing by itself."""
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10))

    async def code(self, purpose: str) -> str:
        """A new code, as a command gets it."""
        status, text = await self.ask("POST", "/v1/codes", data=json.dumps({"purpose": purpose}).encode())
        assert status == 200, text
        return str(json.loads(text)["code"])

    async def trade(self, path: str, code: str, origin: str) -> tuple[int, dict[str, Any]]:
        """Trade a code for a token, as an extension or a page does."""
        body = json.dumps({"code": code}).encode()
        status, text = await self.ask("POST", path, {"Authorization": "", "Origin": origin}, body)
        return status, json.loads(text)


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "home")
    await rig.control.start(0)
    yield rig
    await rig.control.stop()


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/status", {"state": "up"}),
        ("/v1/route", {"circuits": [{"id": "c1"}]}),
        ("/v1/peers", {"peers": []}),
    ],
)
async def test_answers(rig: Rig, path: str, answer: dict[str, Any]) -> None:
    status, text = await rig.ask("GET", path)
    assert (status, json.loads(text)) == (200, answer)


async def test_invite(rig: Rig) -> None:
    assert json.loads((await rig.ask("GET", "/v1/invite"))[1]) == {"invite": "macrovpn1:x"}
    rig.node.invite_text = ""
    assert (await rig.ask("GET", "/v1/invite"))[0] == 404


async def test_pac(rig: Rig) -> None:
    assert await rig.ask("GET", "/v1/pac") == (200, rig.node.pac_text)
    rig.node.pac_text = ""
    assert (await rig.ask("GET", "/v1/pac"))[0] == 404


async def test_one_site_is_asked_at_a_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(url: str) -> dict[str, Any]:
        asked.set()
        await may_answer.wait()
        return {"status": 200, "text": url, "cut": False}

    monkeypatch.setattr(rig.node, "ask_site", slow)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(rig.ask("POST", "/v1/ask", data=b'{"url": "https://a.example/"}'))
        await asked.wait()
        status, text = await rig.ask("POST", "/v1/ask", data=b'{"url": "https://b.example/"}')
        assert (status, "being asked already" in text) == (409, True)
        may_answer.set()
    assert first.result()[0] == 200
    assert (await rig.ask("POST", "/v1/ask", data=b'{"url": "https://b.example/"}'))[0] == 200


@pytest.mark.parametrize("name", ["x", f"{'0' * 32}.macro-vpn.invalid.", f"{'g' * 32}.macro-vpn.invalid"])
async def test_only_names_of_one_form_are_asked_about(rig: Rig, name: str) -> None:
    assert (await rig.ask("POST", "/v1/probed", data=json.dumps({"name": name}).encode()))[0] == 400
    right = {"name": f"{'0' * 32}.macro-vpn.invalid"}
    assert await rig.ask("POST", "/v1/probed", data=json.dumps(right).encode()) == (200, '{"came": true}')


async def test_the_wallet_does_what_it_is_told(rig: Rig) -> None:
    assert await rig.ask("GET", "/v1/wallet") == (200, '{"settlement": "off"}')
    assert (await rig.ask("POST", "/v1/wallet/claim"))[0] == 200
    assert (await rig.ask("POST", "/v1/wallet/cap", data=b'{"units": null}'))[0] == 200
    body = b'{"units": 5, "channel": "00ff"}'
    assert (await rig.ask("POST", "/v1/wallet/deposit", data=body))[0] == 200
    assert rig.node.orders == [
        WalletOrder("claim"),
        WalletOrder("cap"),
        WalletOrder("deposit", channel="00ff", units=5),
    ]
    rig.node.wallet_error = PaymentError(Reason.NO_FUNDS)
    sentence = json.dumps({"error": Reason.NO_FUNDS.sentence})
    assert await rig.ask("POST", "/v1/wallet/deposit", data=body) == (409, sentence)
    assert (await rig.ask("POST", "/v1/wallet/claim", {"Authorization": "Bearer 0"}))[0] == 401


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("steal", b""),
        ("deposit", b""),
        ("deposit", b'{"units": 0}'),
        ("deposit", b'{"units": -1}'),
        ("deposit", b'{"units": 1.5}'),
        ("deposit", b'{"units": true}'),
        ("deposit", b'{"units": 9223372036854775808}'),
        ("cap", b'{"units": "5"}'),
        ("cap", b'{"unit": 5}'),
        ("cap", b"[5]"),
        ("cap", b"{"),
        ("cap", b"\xff"),
        ("close", b'{"channel": "xyz"}'),
        ("close", b'{"channel": "012"}'),
        ("close", b'{"what": "claim"}'),
        ("export", b""),
    ],
)
async def test_what_is_no_order_changes_nothing(rig: Rig, what: str, body: bytes) -> None:
    status, text = await rig.ask("POST", f"/v1/wallet/{what}", data=body)
    assert status == 400, text
    assert not rig.node.orders


async def test_rules_are_read_again(rig: Rig) -> None:
    assert await rig.ask("GET", "/v1/rules") == (200, '{"count": 11, "digest": "5e"}')
    assert rig.node.reloads == 0
    assert await rig.ask("POST", "/v1/rules") == (200, '{"count": 11, "digest": "5e"}')
    assert rig.node.reloads == 1
    rig.node.reload_error = ConfigError("config.toml, line 2", "a port is a number from 1 to 65535")
    assert await rig.ask("POST", "/v1/rules") == (
        409,
        '{"error": "config.toml, line 2: a port is a number from 1 to 65535."}',
    )
    assert (await rig.ask("POST", "/v1/rules", {"Authorization": "Bearer 0"}))[0] == 401
    assert rig.node.reloads == 1


async def test_stop_and_hop(rig: Rig) -> None:
    assert (await rig.ask("POST", "/v1/stop", data=b"{}"))[0] == 200
    assert rig.node.stops == 1
    assert (await rig.ask("POST", "/v1/hop"))[0] == 200
    assert rig.node.hops == 1
    rig.node.hop_error = CircuitError(Reason.NO_PATH)
    status, text = await rig.ask("POST", "/v1/hop")
    assert status == 409
    assert json.loads(text) == {"error": Reason.NO_PATH.sentence}


async def test_trusted_networks(rig: Rig) -> None:
    status, text = await rig.ask("POST", "/v1/trust/confirm")
    assert (status, json.loads(text)) == (200, {"state": "trusted", "name": "home", "confirmed": True})
    assert (await rig.ask("POST", "/v1/trust/reload"))[0] == 200
    assert rig.node.reloads == 1
    rig.node.trust_error = NothingToConfirmError()
    for path in ("/v1/trust/confirm", "/v1/trust/reload"):
        status, text = await rig.ask("POST", path)
        assert (status, json.loads(text)) == (409, {"error": str(rig.node.trust_error)})
        assert (await rig.ask("POST", path, {"Authorization": "Bearer x"}))[0] == 401
    assert rig.node.reloads == 1


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer " + "0" * 64, "Basic {token}", "{token}", "Bearer {token}0", "Bearer  {token}"],
)
async def test_no_answer_without_the_token(rig: Rig, authorization: str) -> None:
    headers = {"Authorization": authorization.format(token=rig.token)}
    assert (await rig.ask("POST", "/v1/stop", headers))[0] == 401
    assert (await rig.ask("GET", "/v1/nothing", headers))[0] == 401
    assert rig.node.stops == 0


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1", "127.0.0.1:1", "localhost", "localhost.example:{port}", ""]
)
async def test_no_answer_to_another_host_name(rig: Rig, host: str) -> None:
    port = rig.control.url.rpartition(":")[2]
    assert (await rig.ask("POST", "/v1/stop", {"Host": host.format(port=port)}))[0] == 403
    assert rig.node.stops == 0


async def test_localhost_is_a_right_host_name(rig: Rig) -> None:
    port = rig.control.url.rpartition(":")[2]
    assert (await rig.ask("GET", "/v1/status", {"Host": f"localhost:{port}"}))[0] == 200


@pytest.mark.parametrize("origin", ["https://example.org", "null", "", "http://127.0.0.1"])
async def test_no_answer_to_a_page(rig: Rig, origin: str) -> None:
    assert (await rig.ask("POST", "/v1/stop", {"Origin": origin}))[0] == 403
    assert (await rig.ask("OPTIONS", "/v1/stop", {"Origin": origin}))[0] == 403
    assert rig.node.stops == 0


async def test_what_is_not_there(rig: Rig) -> None:
    for method, path, status in (("GET", "/v1/nothing", 404), ("GET", "/v1/stop", 405), ("POST", "/v1/status", 405)):
        found, text = await rig.ask(method, path)
        assert found == status
        assert set(json.loads(text)) == {"error"}
    assert rig.node.stops == 0


@pytest.mark.parametrize(("size", "status"), [(64 << 10, 200), ((64 << 10) + 1, 413)])
async def test_bodies_are_limited(rig: Rig, size: int, status: int) -> None:
    assert (await rig.ask("POST", "/v1/stop", data=bytes(size)))[0] == status
    assert rig.node.stops == (1 if status == 200 else 0)


async def test_files(tmp_path: Path) -> None:
    control = Control(Node(), tmp_path)
    await control.start(0)
    facts = json.loads((tmp_path / "control.json").read_text())
    assert facts == {"url": control.url, "token_file": str(tmp_path / "control.token"), "pid": os.getpid()}
    for name in ("control.json", "control.token"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    token = (tmp_path / "control.token").read_text()
    assert len(bytes.fromhex(token.strip())) == 32
    await control.stop()
    await control.stop()
    assert not (tmp_path / "control.json").exists()

    await control.start(0)
    assert (tmp_path / "control.token").read_text() == token, "programs that were given the token keep it"
    await control.stop()


@pytest.mark.parametrize("spoil", ["mode", "text", "binary"])
async def test_a_spoilt_token_is_replaced(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "control.token"
    path.write_bytes({"mode": b"a" * 64, "text": b"short", "binary": b"\xff" * 64}[spoil])
    path.chmod(0o644 if spoil == "mode" else 0o600)
    control = Control(Node(), tmp_path)
    await control.start(0)
    await control.stop()
    assert len(bytes.fromhex(path.read_text().strip())) == 32
    assert path.read_text().strip() != "a" * 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_taken_port_is_told(rig: Rig, tmp_path: Path) -> None:
    other = Control(Node(), tmp_path / "other")
    with pytest.raises(MacroVpnError, match="The control interface cannot start"):
        await other.start(int(rig.control.url.rpartition(":")[2]))
    assert not (tmp_path / "other" / "control.json").exists()
