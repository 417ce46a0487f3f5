"""What a user wants of one site, by rules in a network of processes: where its connections leave, and with whom."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.harness.demo import Demo, command, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.origin import NameServer, Origin

pytestmark = pytest.mark.system

NL, DE = "127.22.0.1", "127.22.0.2"
"""Where the exits leave from."""
OPTIONS: Final = [
    *("--relays", "3", "--exits", "2", "--find", "gossip", "--allow-destination", "127.0.0.0/8"),
    *("--exit-region", "NL", "--exit-region", "DE", "--region", "NL", "--set", "client:tunnel.spread=1"),
]
RULES: Final = [
    ".german.test region=DE",
    ".dutch.test region=NL mode=balanced max_tariff=7",
    ".speed.test mode=speed",
    ".privacy.test mode=privacy",
    ".alone.test isolated",
    "block .blocked.test",
]


class Client:
    """The client of a demo, and what it is told by a site that goes by many names."""

    def __init__(self, demo: Demo, port: int) -> None:
        self._demo = demo
        self._port = port

    def get(self, name: str) -> str:
        """The answer to a request for a page of a site, with its head."""
        return self._demo.curl("-i", f"http://{name}.test:{self._port}/", way="-x").stdout

    def left_from(self, name: str) -> str:
        return self.get(name).partition("id=who>")[2].partition("<")[0]

    def circuits(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._demo.node.route()["circuits"]
        return found

    def used_for(self, **options: Any) -> list[int]:
        """The hops of each circuit that carries sites with these options."""
        return [len(each["hops"]) for each in self.circuits() if each["options"] == options and each["in_use"]]


def test_a_site_has_what_its_user_wants_and_nothing_else(tmp_path: Path, origin: Origin, names: NameServer) -> None:
    with Demo(*OPTIONS, "--resolver", names.endpoint, log=tmp_path / "log") as demo:

        def regions() -> set[str]:
            return {peer["region"] for peer in demo.node.peers()["peers"]}

        until("word of both exits", lambda: {"NL", "DE"} <= regions())
        command("bypass", "add", *RULES, home=demo.home)
        client = Client(demo, origin.http)

        assert client.left_from("site") == client.left_from("www.dutch") == NL
        assert client.left_from("www.german") == DE
        assert client.used_for() == client.used_for(regions=["DE"]) == [3]
        for mode, hops in (("speed", 2), ("privacy", 3)):
            assert client.left_from(mode) == NL
            assert client.used_for(mode=mode) == [hops]
        for name in ("alone", "www.alone", "alone"):
            assert client.left_from(name) == NL
        assert client.used_for(isolated=True) == [3]
        assert len({each["hops"][0]["peer_id"] for each in client.circuits()}) <= 2, "guards"

        before = len(origin.seen)
        assert "X-MacroVPN-Reason: blocked" in client.get("www.blocked")
        assert len(origin.seen) == before

        os.kill(demo.pids("exit")[1], signal.SIGKILL)
        until("the reason", lambda: "X-MacroVPN-Reason: site_options" in client.get("german"), 30)
        assert client.left_from("site") == NL
        assert DE not in {source for source, _ in origin.seen[before:]}
