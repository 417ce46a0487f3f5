"""What the local port does about rules that block, and those that want circuits of a kind."""

from __future__ import annotations

import pytest

from core.errors import Reason
from core.flow import NO_OPTIONS, SiteOptions
from pac.pac import build_pac
from pac.rules import Rule, RuleSet
from proxy.intake import Intake
from tests.proxy.harness import FailingDialer, LoopbackDialer, Stage

RULES = RuleSet(
    map(
        Rule.parse, ["block .ads.example", "tunnel ok.ads.example", ".bank.example region=NL,DE isolated", "10.0.0.0/8"]
    )
)


@pytest.mark.parametrize("here", [True, False])
async def test_what_a_rule_blocks_is_refused_by_name(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, *, here: bool
) -> None:
    monkeypatch.setattr(Intake, "is_from_this_machine", lambda intake: here)
    tunnel = await stage.site()
    dialer = LoopbackDialer(tunnel.port)
    front = await stage.front(dialer, RULES)
    for request in (b"GET http://x.ads.example/ HTTP/1.1\r\n", b"CONNECT ads.example:443 HTTP/1.1\r\n"):
        page = await (await stage.client(front)).asks(request + b"Host: x\r\n\r\n")
        assert page.startswith(b"HTTP/1.1 403 ")
        assert b"X-MacroVPN-Reason: blocked\r\n" in page
        assert b"You block this site by a rule" in page
        assert b"ads.example" not in page
    assert await (await stage.client(front)).socks("x.ads.example", 80) == 2
    assert front.counters == {"blocked": 3}
    assert (dialer.requests, tunnel.connections) == ([], 0)
    assert await (await stage.client(front)).socks("ok.ads.example", 80) == 0
    assert [request.host for request in dialer.requests] == ["ok.ads.example"]


@pytest.mark.parametrize("here", [True, False])
async def test_options_reach_the_dialer(stage: Stage, monkeypatch: pytest.MonkeyPatch, *, here: bool) -> None:
    monkeypatch.setattr(Intake, "is_from_this_machine", lambda intake: here)
    dialer = LoopbackDialer((await stage.site()).port)
    front = await stage.front(dialer, RULES)
    assert await (await stage.client(front)).socks("www.bank.example", 443, "me") == 0
    assert await (await stage.client(front)).socks("other.example", 443) == 0
    assert [(request.host, request.isolation, request.options) for request in dialer.requests] == [
        ("www.bank.example", "me", SiteOptions(("NL", "DE"), isolated=True)),
        ("other.example", "", NO_OPTIONS),
    ]


async def test_new_rules_are_obeyed_at_once(stage: Stage) -> None:
    dialer = LoopbackDialer((await stage.site()).port)
    front = await stage.front(dialer, RULES)
    assert await (await stage.client(front)).socks("new.example", 80) == 0
    assert front.pac_text == build_pac(RULES, f"127.0.0.1:{front.address[1]}")
    rules = RuleSet([Rule.parse("block new.example"), Rule.parse("direct.example")])
    await front.obey(rules)
    assert await (await stage.client(front)).socks("new.example", 80) == 2
    assert front.pac_text == build_pac(rules, f"127.0.0.1:{front.address[1]}")


@pytest.mark.parametrize(
    "header",
    [
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        "Sec-Fetch-Site: same-origin",
        "Origin: null",
        "Origin:",
    ],
)
async def test_the_script_is_not_for_pages(stage: Stage, header: str) -> None:
    front = await stage.front(FailingDialer(Reason.NO_PATH), RULES)
    path = "/" + front.pac_url.split("/", 3)[3]
    ask = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{front.address[1]}\r\n{{}}\r\n"
    answer = await (await stage.client(front)).asks(ask.format(header + "\r\n").encode())
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"FindProxyForURL" not in answer
    answer = await (await stage.client(front)).asks(ask.format("").encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body.decode() == front.pac_text
    for line in (
        b"X-Content-Type-Options: nosniff",
        b"frame-ancestors 'none'",
        b"max-age=60",
        b"x-ns-proxy-autoconfig",
    ):
        assert line in head
