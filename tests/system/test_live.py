"""Settings of a client in a network of processes, changed while it carries something; and its switch."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from node.client import NodeClient, RefusedError
from node.settings import split_endpoint
from tests.harness.demo import Demo, command, until
from tests.harness.origin import content

if TYPE_CHECKING:
    from tests.harness.origin import NameServer, Origin

pytestmark = pytest.mark.system

NL, DE = "127.22.0.1", "127.22.0.2"
"""Where the exits leave from."""
OPTIONS: Final = [
    *("--relays", "3", "--exits", "2", "--find", "gossip", "--allow-destination", "127.0.0.0/8", "--mode", "speed"),
    *("--exit-region", "NL", "--exit-region", "DE", "--region", "NL", "--set", "client:tunnel.spread=1"),
]
FAST: Final = "1000"
"""A limit in Mbit/s that nothing here meets."""
SIZE: Final = 16_000_000
"""Bytes of a download that is read by and by: more than what waits in buffers on the way."""


class Download:
    """A download of which as much is read as the test wants."""

    def __init__(self, demo: Demo, port: int) -> None:
        self._socket = socket.create_connection(split_endpoint(demo.proxy), 20)
        head = f"GET http://site.test:{port}/bytes/{SIZE} HTTP/1.1\r\nHost: site.test:{port}\r\n\r\n"
        self._socket.sendall(head.encode())
        self._file = self._socket.makefile("rb")
        while self._file.readline() != b"\r\n":
            pass
        self._body = hashlib.sha256()
        self._left = SIZE

    def read(self, count: int) -> bool:
        """Read on; give whether there was so much."""
        part = self._file.read(min(count, self._left))
        self._body.update(part)
        self._left -= len(part)
        return len(part) == count

    def finish(self) -> bool:
        """Read the rest; give whether all of it came, and is right."""
        return self.read(self._left) and self._body.digest() == hashlib.sha256(content(SIZE)).digest()

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def left_from(demo: Demo, port: int) -> str:
    """From where a new connection leaves; what is refused leaves from nowhere."""
    page = demo.curl(f"http://site.test:{port}/", way="-x").stdout
    return page.partition("id=who>")[2].partition("<")[0]


def serving(demo: Demo, leaves_from: str) -> str:
    """The home of the exit whose connections leave from an address."""
    exits = [entry["home"] for entry in demo.facts["processes"] if entry["role"] == "exit"]
    return str(exits[(NL, DE).index(leaves_from)])


def home_of(demo: Demo, hop: dict[str, Any]) -> str:
    """The home of a hop of a circuit."""
    (home,) = [entry["home"] for entry in demo.facts["processes"] if entry["peer_id"] == hop["peer_id"]]
    return str(home)


def carrying(demo: Demo) -> list[dict[str, Any]]:
    return [circuit for circuit in demo.node.route()["circuits"] if circuit["flows"]]


def test_what_runs_moves_along_and_what_is_new_goes_by_the_new(
    tmp_path: Path, origin: Origin, names: NameServer
) -> None:
    with Demo(*OPTIONS, "--resolver", names.endpoint, log=tmp_path / "log") as demo:
        until("word of both exits", lambda: {"NL", "DE"} <= {peer["region"] for peer in demo.node.peers()["peers"]})
        assert left_from(demo, origin.http) == NL
        download = Download(demo, origin.http)
        assert download.read(SIZE // 8)
        assert [len(circuit["hops"]) for circuit in carrying(demo)] == [2]

        for hop in carrying(demo)[0]["hops"]:
            assert command("config", "set", "sharing.up_mbit", FAST, home=home_of(demo, hop))["effect"] == "for_new"

        assert command("config", "set", "tunnel.mode", "balanced", home=demo.home)["effect"] == "now"
        until("the move", lambda: [len(circuit["hops"]) for circuit in carrying(demo)] == [3], 20)
        assert download.read(SIZE // 8)
        assert demo.status()["mode"] == "balanced"

        answer = demo.node.change({"tunnel.regions": ["DE"], "node.operator": "me"})
        assert answer == {"applied": ["tunnel.regions"], "for_new": [], "after_restart": ["node.operator"]}
        until("the other country", lambda: left_from(demo, origin.http) == DE, 20)
        assert left_from(demo, origin.http) == DE
        assert NL not in {source for source, _ in origin.seen[-2:]}
        assert demo.status()["restart_to_apply"] == ["node.operator"]
        with pytest.raises(RefusedError, match=r"tunnel\.mode: it must be one of"):
            demo.node.change({"tunnel.regions": ["NL"], "tunnel.mode": "fast"})
        assert download.finish(), "what ran was broken"
        download.close()

        def limited() -> bool:
            return not NodeClient(Path(serving(demo, NL))).change({"sharing.up_mbit": float(FAST)})["for_new"]

        until("the end of what met no limit", limited)

        download = Download(demo, origin.http)
        assert demo.node.switch(on=False)["state"] == "down"
        with pytest.raises(ConnectionResetError):
            download.finish()
        download.close()
        before = len(origin.seen)
        assert (demo.status()["state"], demo.node.route()["circuits"]) == ("down", [])
        assert "X-MacroVPN-Reason: off" in demo.curl("-i", f"http://site.test:{origin.http}/", way="-x").stdout
        assert len(origin.seen) == before
        assert demo.node.switch(on=True)["state"] in ("connecting", "up")
        until("the way out", lambda: demo.status()["state"] == "up", 20)
        assert left_from(demo, origin.http) == DE
