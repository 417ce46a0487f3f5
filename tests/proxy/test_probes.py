"""Names by which a page finds out whether its browser comes to the local port: heard, refused, and told to nobody."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from core.errors import Reason
from pac.rules import RuleSet, parse_rules
from proxy.probes import MAX_PROBES, SUFFIX, Probes
from proxy.trusted import TrustedWay
from tests.proxy.harness import FailingDialer, LoopbackDialer, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.front import Front

UNMADE = f"{'0' * 32}{SUFFIX}"
DATE = re.compile(rb"Date: [^\r]+\r\n")


def plain(host: str) -> bytes:
    return f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def connect(host: str) -> bytes:
    return f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode()


def test_names_are_new_each_time_and_heard_by_themselves() -> None:
    known = Probes()
    one, other = known.make(), known.make()
    assert re.fullmatch(r"[0-9a-f]{32}\.macro-vpn\.invalid", one)
    assert one != other
    assert known.hear(f"{one.upper()}.")
    assert (known.came(one), known.came(other), known.came(UNMADE)) == (True, False, False)
    assert known.hear(UNMADE)
    assert not known.came(UNMADE), "who did not make it cannot have it remembered"
    for host in ("macro-vpn.invalid", f"{one}.example", one.replace(".", "-"), "127.0.0.1", ""):
        assert not known.hear(host)


def test_names_are_forgotten_when_there_are_many() -> None:
    known = Probes()
    names = [known.make() for _ in range(MAX_PROBES + 1)]
    for name in names:
        known.hear(name)
    assert [known.came(name) for name in names] == [False] + [True] * MAX_PROBES


@pytest.mark.parametrize("way", ["socks", "plain", "connect"])
async def test_a_name_is_heard_and_goes_nowhere(stage: Stage, way: str) -> None:
    dialer = LoopbackDialer((await stage.site()).port)
    front = await stage.front(dialer)
    name = front.probes.make()
    client = await stage.client(front)
    if way == "socks":
        assert await client.socks(name, 443) == 2
    else:
        assert (await client.asks({"plain": plain, "connect": connect}[way](name))).startswith(b"HTTP/1.1 403 ")
    assert front.probes.came(name)
    assert not dialer.requests


@pytest.mark.parametrize("ask", [plain, connect])
async def test_the_answer_is_that_to_any_name_that_is_not_on_the_internet(
    stage: Stage, ask: Callable[[str], bytes]
) -> None:
    front = await stage.front(FailingDialer(Reason.INSIDE))
    made = front.probes.make()
    answers = {DATE.sub(b"", await (await stage.client(front)).asks(ask(host))) for host in (made, UNMADE, "x.invalid")}
    assert len(answers) == 1
    codes = [await (await stage.client(front)).socks(host, 80) for host in (made, UNMADE, "x.invalid")]
    assert codes == [2, 2, 2]


def usual(front: Front) -> None:
    """Leave it as it is."""


def closed(front: Front) -> None:
    front.switch(on=False)


def trusted(front: Front) -> None:
    front.trusted.open("lo")


@pytest.mark.parametrize(
    "rules", [[], ["invalid"], ["*.macro-vpn.invalid"], ["block .macro-vpn.invalid"], ["*.invalid"]]
)
@pytest.mark.parametrize("state", [usual, closed, trusted])
async def test_no_rule_and_no_state_sends_it_anywhere(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, rules: list[str], state: Callable[[Front], None]
) -> None:
    """Nothing of it is looked up on this machine, whatever the user chose; and it is heard in each case."""

    async def direct(*arguments: object) -> None:
        raise AssertionError("it went direct")

    monkeypatch.setattr("proxy.front.connect_direct", direct)
    monkeypatch.setattr(TrustedWay, "reach", direct)
    monkeypatch.setattr("proxy.trusted.check_device", lambda device: None)
    front = await stage.front(FailingDialer(Reason.NO_PATH), RuleSet(parse_rules(rules)))
    state(front)
    name = front.probes.make()
    assert await (await stage.client(front)).socks(name, 443) in (1, 2)
    assert front.probes.came(name)
