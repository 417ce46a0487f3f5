"""What can be asked: one table, from which both the server and its description are made."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from aiohttp import web

from core.errors import ConfigError, MacroVpnError
from node import bypass_edit
from node.control import shapes, shapes_health
from node.control.access import Who
from node.control.events import MAX_LISTENERS, Events
from node.control.pairing import CODE_LIFE_S, Codes
from node.control.refused import RefusedError
from node.wallet_orders import WalletOrder
from pac.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from node.control.access import Access, Caller
    from node.control.controlled import Controlled

HOP_LIMIT_S: Final = 30.0
SETTLEMENT_LIMIT_S: Final = 300.0
HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
PAC_TYPE: Final = "application/x-ns-proxy-autoconfig"
EVENTS_TYPE: Final = "text/event-stream"

EXTENSION_SETTINGS: Final = frozenset({"tunnel.mode", "tunnel.regions", "tunnel.excluded_regions"})
"""Settings that an extension may change: they cost nothing and open nothing."""

_EVERYBODY: Final = Who.PROGRAM | Who.EXTENSION | Who.PAGE
_PEOPLE: Final = Who.PROGRAM | Who.PAGE
_NO_CODE: Final = "This code is wrong, or was used, or is older than two minutes. Ask for a new one: `macrovpn {}`."

Changes = Annotated[dict[str, Any], msgspec.Meta(min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that may be answered.

    Args:
        request: as it came.
        caller: who asks.
        body: of the route's shape; None where it has none.
    """

    request: web.Request
    caller: Caller
    body: Any


@dataclass(frozen=True, slots=True)
class Route:
    """A line of the table.

    Args:
        method: of HTTP.
        path: may have the parameter `{what}`.
        summary: what it does.
        who: who may ask.
        do: answers; a JSON object, or a whole response.
        answer: the answer's shape, or its media type.
        body: the shape of what goes with the request.
        refusals: statuses beside those that all routes have, with what they mean.
    """

    method: str
    path: str
    summary: str
    who: Who
    do: Callable[[Desk, Asked], Awaitable[dict[str, Any] | web.StreamResponse]]
    answer: Any
    body: Any = None
    refusals: dict[int, str] | None = None


class Desk:
    """Answers for one node.

    Args:
        node: which.
        home: its folder.
        access: knows who may ask.
        describe: makes the description.
    """

    def __init__(self, node: Controlled, home: Path, access: Access, describe: Callable[[], dict[str, Any]]) -> None:
        self.node = node
        self.events = Events(node, access.knows)
        self._home = home
        self._access = access
        self._describe = describe
        self._codes = Codes()
        self._editing = asyncio.Lock()
        """Of the settings file: who changes a list must have read it after the last change."""
        self._asking = asyncio.Lock()

    # -- getting in

    async def post_code(self, asked: Asked) -> dict[str, Any]:
        return {"code": self._codes.make(asked.body.purpose, _now()), "valid_s": int(CODE_LIFE_S)}

    async def post_pair(self, asked: Asked) -> dict[str, Any]:
        if not self._codes.trade("extension", asked.body.code, _now()):
            raise RefusedError(403, _NO_CODE.format("pair"))
        name, token = self._access.pairings.add(asked.caller.origin)
        return {"token": token, "id": name}

    async def post_hello(self, asked: Asked) -> dict[str, Any]:
        body, access = asked.body, self._access
        proof = access.pairings.prove(body.id, asked.caller.origin, access.port, body.nonce)
        if proof is None:
            raise RefusedError(404, "This node knows no such pairing. Pair the browser again: `macrovpn pair`.")
        return {"proof": proof}

    async def post_session(self, asked: Asked) -> dict[str, Any]:
        if not self._codes.trade("page", asked.body.code, _now()):
            raise RefusedError(403, _NO_CODE.format("dashboard"))
        return {"token": self._access.new_page()}

    async def get_pairings(self, asked: Asked) -> dict[str, Any]:
        return {"pairings": [{"id": paired.id, "origin": paired.origin} for paired in self._access.pairings]}

    async def delete_pairing(self, asked: Asked) -> dict[str, Any]:
        if not self._access.pairings.revoke(asked.body.id):
            raise RefusedError(404, "No browser is paired under this id. `macrovpn pair --list` shows them.")
        return await self.get_pairings(asked)

    # -- what is

    async def get_status(self, asked: Asked) -> dict[str, Any]:
        return self.node.status()

    async def get_events(self, asked: Asked) -> web.StreamResponse:
        return await self.events.listen(asked.request, asked.caller, HEADERS)

    async def get_route(self, asked: Asked) -> dict[str, Any]:
        return self.node.route()

    async def get_explain(self, asked: Asked) -> dict[str, Any]:
        return self.node.explain()

    async def get_peers(self, asked: Asked) -> dict[str, Any]:
        return self.node.peers()

    async def get_regions(self, asked: Asked) -> dict[str, Any]:
        return {"regions": self.node.regions()}

    async def get_health(self, asked: Asked) -> dict[str, Any]:
        return self.node.health()

    async def post_probe(self, asked: Asked) -> dict[str, Any]:
        return {"name": self.node.new_probe()}

    async def post_probed(self, asked: Asked) -> dict[str, Any]:
        return {"came": self.node.probe_came(asked.body.name)}

    async def post_ask(self, asked: Asked) -> dict[str, Any]:
        if self._asking.locked():
            raise RefusedError(409, "A site is being asked already. Wait for its answer.")
        async with self._asking:
            return await self.node.ask_site(asked.body.url)

    async def get_invite(self, asked: Asked) -> dict[str, Any]:
        text = self.node.invite()
        if not text:
            raise RefusedError(404, "This node is in the public network, to which nobody is invited.")
        return {"invite": text}

    async def get_pac(self, asked: Asked) -> web.Response:
        text = self.node.pac()
        if not text:
            raise RefusedError(404, "This node has no proxy, so it has no PAC.")
        return web.Response(text=text, content_type=PAC_TYPE, headers=HEADERS)

    async def get_description(self, asked: Asked) -> dict[str, Any]:
        return self._describe()

    # -- what shall be

    async def post_hop(self, asked: Asked) -> dict[str, Any]:
        try:
            async with asyncio.timeout(HOP_LIMIT_S):
                await self.node.hop()
        except TimeoutError as error:
            raise RefusedError(409, "No other path could be built in time. Try again.") from error
        return self.node.route()

    async def post_on(self, asked: Asked) -> dict[str, Any]:
        await self.node.switch(True)
        return self.node.status()

    async def post_off(self, asked: Asked) -> dict[str, Any]:
        await self.node.switch(False)
        return self.node.status()

    async def post_stop(self, asked: Asked) -> dict[str, Any]:
        return {"stopping": True, "drain_s": self.node.request_stop()}

    async def post_confirm(self, asked: Asked) -> dict[str, Any]:
        return await self.node.confirm_trust()

    async def post_reload(self, asked: Asked) -> dict[str, Any]:
        await self.node.reload_trust()
        return {"reloaded": True}

    # -- rules and settings

    async def get_rules(self, asked: Asked) -> dict[str, Any]:
        return self.node.rules()

    async def post_rules(self, asked: Asked) -> dict[str, Any]:
        await self.node.reload_rules()
        return self.node.rules()

    async def get_bypass(self, asked: Asked) -> dict[str, Any]:
        return await asyncio.to_thread(bypass_edit.listing, self._home)

    async def post_bypass(self, asked: Asked) -> dict[str, Any]:
        rule = _rule(asked.body.rule)
        async with self._editing:
            await asyncio.to_thread(bypass_edit.add_rules, self._home, [rule])
            await self.node.reload_rules()
        return await self.get_bypass(asked)

    async def delete_bypass(self, asked: Asked) -> dict[str, Any]:
        rule = _rule(asked.body.rule)
        async with self._editing:
            try:
                await asyncio.to_thread(bypass_edit.remove_rule, self._home, rule)
            except bypass_edit.NoSuchRuleError as error:
                raise RefusedError(404, str(error)) from error
            await self.node.reload_rules()
        return await self.get_bypass(asked)

    async def get_settings(self, asked: Asked) -> dict[str, Any]:
        return self.node.settings()

    async def patch_settings(self, asked: Asked) -> dict[str, Any]:
        if asked.caller.who is Who.EXTENSION and not asked.body.keys() <= EXTENSION_SETTINGS:
            raise RefusedError(403, f"An extension may change {', '.join(sorted(EXTENSION_SETTINGS))}, nothing else.")
        async with self._editing:
            try:
                return await self.node.change(asked.body)
            except ConfigError as error:
                raise RefusedError(400, str(error)) from error

    # -- money

    async def get_wallet(self, asked: Asked) -> dict[str, Any]:
        return await self.node.wallet()

    async def post_wallet(self, asked: Asked) -> dict[str, Any]:
        try:
            order = WalletOrder.read(asked.request.match_info["what"], await asked.request.read())
        except ValueError as error:
            raise RefusedError(400, str(error)) from error
        if order.what == "export" and asked.caller.who is not Who.PROGRAM:
            raise RefusedError(403, "A wallet is exported by `macrovpn wallet export`: it writes a file.")
        try:
            async with asyncio.timeout(SETTLEMENT_LIMIT_S):
                return await self.node.wallet_do(order)
        except TimeoutError as error:
            sentence = "The settlement did not answer in time; what was asked may still happen."
            raise RefusedError(409, sentence) from error


def _now() -> float:
    return asyncio.get_running_loop().time()


def _rule(text: str) -> Rule:
    try:
        return Rule.parse(text, "rule")
    except MacroVpnError as error:
        raise RefusedError(400, str(error)) from error


_NO_TIME: Final = {409: "It is refused now, with the reason."}
_NONE: Final = {404: "There is none."}

TABLE: Final = (
    Route("POST", "/v1/codes", "Make a one-time code", Who.PROGRAM, Desk.post_code, shapes.GivenCode, shapes.NewCode),
    Route(
        "POST",
        "/v1/pair",
        "Trade a code for an extension's token",
        Who.NEW_EXTENSION,
        Desk.post_pair,
        shapes.PairedToken,
        shapes.Code,
        _NO_TIME,
    ),
    Route(
        "POST",
        "/v1/hello",
        "Prove to an extension that this is its node",
        Who.NEW_EXTENSION,
        Desk.post_hello,
        shapes.Proof,
        shapes.Hello,
        _NONE,
    ),
    Route(
        "POST",
        "/v1/session",
        "Trade a code for a page's token",
        Who.NEW_PAGE,
        Desk.post_session,
        shapes.Token,
        shapes.Code,
    ),
    Route("GET", "/v1/pairings", "Name the paired extensions", _PEOPLE, Desk.get_pairings, shapes.PairingList),
    Route(
        "DELETE",
        "/v1/pairings",
        "Revoke a pairing",
        _PEOPLE,
        Desk.delete_pairing,
        shapes.PairingList,
        shapes.PairingId,
        _NONE,
    ),
    Route("GET", "/v1/status", "State of now", _EVERYBODY, Desk.get_status, shapes.Status),
    Route(
        "GET",
        "/v1/events",
        "Live state, as server-sent events `status` and `second`",
        _EVERYBODY,
        Desk.get_events,
        EVENTS_TYPE,
        refusals={429: f"{MAX_LISTENERS} listen already."},
    ),
    Route("GET", "/v1/route", "Present circuits", _EVERYBODY, Desk.get_route, shapes.Route),
    Route("GET", "/v1/explain", "Present circuits, with reasons", _EVERYBODY, Desk.get_explain, shapes.ExplainedRoute),
    Route("GET", "/v1/peers", "Known peers", _EVERYBODY, Desk.get_peers, shapes.Peers),
    Route("GET", "/v1/regions", "Where exits are", _EVERYBODY, Desk.get_regions, shapes.Regions),
    Route(
        "GET",
        "/v1/health",
        "Clock, guards, and the exit that sites see",
        _PEOPLE,
        Desk.get_health,
        shapes_health.Health,
    ),
    Route(
        "POST",
        "/v1/probe",
        "Make a name by which a page finds out whether its browser uses the proxy",
        _PEOPLE,
        Desk.post_probe,
        shapes_health.ProbeName,
        refusals=_NO_TIME,
    ),
    Route(
        "POST",
        "/v1/probed",
        "Whether somebody asked the proxy for such a name",
        _PEOPLE,
        Desk.post_probed,
        shapes_health.Came,
        shapes_health.ProbeName,
        _NO_TIME,
    ),
    Route(
        "POST",
        "/v1/ask",
        "Ask a site through the tunnel",
        _PEOPLE,
        Desk.post_ask,
        shapes_health.SiteSaid,
        shapes_health.SiteUrl,
        _NO_TIME,
    ),
    Route(
        "GET",
        "/v1/invite",
        "An invite to the private network",
        _PEOPLE,
        Desk.get_invite,
        shapes.Invite,
        refusals=_NONE,
    ),
    Route("GET", "/v1/pac", "The PAC", _EVERYBODY, Desk.get_pac, PAC_TYPE, refusals=_NONE),
    Route("POST", "/v1/hop", "Change the route", _EVERYBODY, Desk.post_hop, shapes.Route, refusals=_NO_TIME),
    Route("POST", "/v1/on", "Switch on", _EVERYBODY, Desk.post_on, shapes.Status, refusals=_NO_TIME),
    Route("POST", "/v1/off", "Switch off", _EVERYBODY, Desk.post_off, shapes.Status, refusals=_NO_TIME),
    Route("POST", "/v1/stop", "Stop the node", Who.PROGRAM, Desk.post_stop, shapes.Stopping),
    Route(
        "POST",
        "/v1/trust/confirm",
        "Trust the present network until it changes",
        _PEOPLE,
        Desk.post_confirm,
        shapes.Trust,
        refusals=_NO_TIME,
    ),
    Route(
        "POST",
        "/v1/trust/reload",
        "Read the trusted networks again",
        Who.PROGRAM,
        Desk.post_reload,
        shapes.Reloaded,
        refusals=_NO_TIME,
    ),
    Route("GET", "/v1/rules", "The rules that are obeyed", _EVERYBODY, Desk.get_rules, shapes.RuleCount),
    Route(
        "POST",
        "/v1/rules",
        "Read the rules again",
        Who.PROGRAM,
        Desk.post_rules,
        shapes.RuleCount,
        refusals=_NO_TIME,
    ),
    Route("GET", "/v1/bypass", "Rules for sites", _EVERYBODY, Desk.get_bypass, shapes.Bypass, refusals=_NO_TIME),
    Route("POST", "/v1/bypass", "Add a rule", _EVERYBODY, Desk.post_bypass, shapes.Bypass, shapes.OneRule, _NO_TIME),
    Route(
        "DELETE",
        "/v1/bypass",
        "Remove a rule",
        _EVERYBODY,
        Desk.delete_bypass,
        shapes.Bypass,
        shapes.OneRule,
        _NONE | _NO_TIME,
    ),
    Route("GET", "/v1/settings", "All settings", _EVERYBODY, Desk.get_settings, shapes.SettingList),
    Route(
        "PATCH",
        "/v1/settings",
        "Change settings, all or none",
        _EVERYBODY,
        Desk.patch_settings,
        shapes.Changed,
        Changes,
        _NO_TIME,
    ),
    Route("GET", "/v1/wallet", "Money", _EVERYBODY, Desk.get_wallet, shapes.Wallet),
    Route(
        "POST",
        "/v1/wallet/{what}",
        "Do something with the money",
        _PEOPLE,
        Desk.post_wallet,
        shapes.Done,
        shapes.Order,
        _NO_TIME,
    ),
    Route("GET", "/v1/openapi.json", "This description", _EVERYBODY, Desk.get_description, dict),
)
