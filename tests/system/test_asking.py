"""Exits that serve different things: connections leave where they are served, and the client notices nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.harness.demo import Demo, command, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.origin import Origin

pytestmark = pytest.mark.system

WEB, RULED, OPEN = (f"127.22.0.{number}" for number in (1, 2, 3))
REFUSED_BY_ALL: Final = 9
TIMES: Final = 3
"""Keys of one test. Each holds a circuit or two, and a client holds 32 and begins two a second."""


@pytest.fixture(scope="module")
def exits(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Three exits: one for the web alone, one that refuses the origin's HTTP port by an address rule, which no summary
    tells, and one that refuses what all refuse."""
    options = ["--relays", "4", "--exits", "3", "--allow-destination", "127.0.0.0/8"]
    for policy in ("web", "default", "default"):
        options += ["--exit-policy", policy]
    for rule in ("", f"reject 127.0.0.0/8:{REFUSED_BY_ALL},{origin.http}", f"reject 127.0.0.0/8:{REFUSED_BY_ALL}"):
        options += ["--exit-rule", rule]
    with Demo(*options, log=tmp_path_factory.mktemp("exits") / "log") as demo:
        until("word of all exits", lambda: len(known_exits(demo)) == 3)  # a network is ready when it has one path
        yield demo


def known_exits(demo: Demo) -> list[dict[str, str]]:
    return [peer for peer in demo.node.peers()["peers"] if "exit" in peer["roles"]]


def left_from(demo: Demo, url: str, key: str, way: str) -> str:
    """From which exit a page is fetched; each key has circuits of its own."""
    done = demo.curl("--insecure", "--proxy-user", f"{key}:x", url, way=way)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("id=who>")[2].partition("<")[0]


def asked(demo: Demo) -> set[str]:
    """The exits that circuits of keys lead to, by the addresses that they leave from."""
    exits = [entry["peer_id"] for entry in demo.facts["processes"] if entry["role"] == "exit"]
    circuits = [circuit for circuit in demo.node.route()["circuits"] if circuit["in_use"]]
    return {f"127.22.0.{exits.index(circuit['hops'][-1]['peer_id']) + 1}" for circuit in circuits}


def test_an_exit_that_refuses_after_asking_is_replaced(exits: Demo, origin: Origin) -> None:
    url = f"http://127.0.0.1:{origin.http}/"
    for number in range(TIMES):
        for way in ("--socks5-hostname", "-x"):  # the one waits for the exit, the other does not
            assert left_from(exits, url, f"key {number} {way}", way) == OPEN
    assert asked(exits) == {RULED, OPEN}


def test_a_port_leaves_from_exits_that_serve_it(exits: Demo, origin: Origin) -> None:
    url = f"https://127.0.0.1:{origin.https}/"
    ends = {left_from(exits, url, f"other {number}", "--socks5-hostname") for number in range(TIMES)}
    assert ends <= {RULED, OPEN}


def test_a_large_request_is_sent_whole_to_the_exit_that_takes_it(exits: Demo, origin: Origin) -> None:
    """The bytes were on their way to the exit that refused."""
    url = f"http://127.0.0.1:{origin.http}/"
    for number in range(TIMES):
        user = f"post {number}:x"
        done = exits.curl("-H", "Expect:", "--data-binary", "x" * 100_000, "--proxy-user", user, url, way="-x")
        assert len(done.stdout) == 64, "a digest"


def test_what_all_refuse_has_a_reason(exits: Demo) -> None:
    done = exits.curl("-i", f"http://127.0.0.1:{REFUSED_BY_ALL}/", way="-x")
    assert "X-MacroVPN-Reason: not_allowed" in done.stdout
    done = exits.curl("-i", "http://127.0.0.1:25/", way="-x")
    assert "X-MacroVPN-Reason: not_served" in done.stdout


def test_what_exits_serve_is_shown(exits: Demo) -> None:
    def served() -> set[str]:
        return {peer["serves"] for peer in known_exits(exits)}

    until("all exits", lambda: len(served()) == 2)
    assert any(text.startswith("ports 80,443,") for text in served())
    assert any(text.startswith("all ports but 23,25,") for text in served())
    shown = {circuit["hops"][-1]["serves"] for circuit in command("route", "--explain", home=exits.home)["circuits"]}
    assert shown <= served()
    assert exits.status()["exit_serves"] in served()
