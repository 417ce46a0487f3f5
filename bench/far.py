"""A network of ours whose nodes stand in namespaces, one in each."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from bench.network import STOP_S, wait_for
from node.config import CONFIG_NAME
from node.config_edit import format_file
from node.files import KEYS_NAME, make_home, write_private
from peers.addresses import format_address
from peers.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.namespaces import Place

CLIENT: Final = "client"
EXIT: Final = "exit"
ORIGIN: Final = "origin"
WEB_PORT: Final = 80
"""A port on which clients speak first, so that first bytes go as early as a browser's."""

PROXY: Final = "127.0.0.1:1080"
_ANY: Final = "0.0.0.0"
_ROOT: Final = Path(__file__).resolve().parent.parent
_PORT: Final = 4433
_READY_S: Final = 90.0
_ASK_S: Final = 30.0
_STEP_S: Final = 0.5
"""Each question starts a Python; more of them would slow down what is waited for."""


@dataclass(frozen=True, slots=True)
class FarNetwork:
    """Nodes that run.

    Args:
        places: where each stands, the origin too.
        origin: `http://ADDRESS:PORT`, far from all nodes.
        proxy: `ADDRESS:PORT` of the SOCKS5 proxy in the client's namespace.
        pids: their processes; none for a network that others run.
        home: the folder of the client; None for a network that others run.
    """

    places: dict[str, Place]
    origin: str
    proxy: str
    pids: dict[str, int] = field(default_factory=dict)
    home: Path | None = None

    def ask(self, what: str) -> dict[str, Any]:
        """What `macrovpn WHAT --json` says at the client."""
        assert self.home is not None
        return _ask(self.places[CLIENT], self.home, what) or {}


def names(relays: int) -> list[str]:
    """The places that a network with so many relays needs."""
    return [CLIENT, *(f"r{number + 1}" for number in range(relays)), EXIT, ORIGIN]


def settings(name: str, places: dict[str, Place], hops: int, engine: str, bootstrap: str) -> dict[str, dict[str, Any]]:
    """The settings of one node. Without diversity, as the places are neighbours in name.

    Args:
        name: of its place; it says what the node does.
        places: all places.
        hops: of the client's paths.
        engine: what carries links.
        bootstrap: multiaddr of the peer to begin with; empty for that peer itself.
    """
    roles = {CLIENT: "client", EXIT: "exit"}
    peers: dict[str, Any] = {
        "bootstrap": [bootstrap] if bootstrap else [],
        "allow_addresses": [f"{place.address}/32" for place in places.values()],
        "diversity": False,
    }
    tables = {"node": {"roles": [roles.get(name, "relay")], "engine": engine}, "peers": peers}
    allowed = [f"{places[ORIGIN].address}/32"]
    if name == CLIENT:
        tunnel = {"hops": hops, "allow_destinations": allowed}
        return tables | {"tunnel": tunnel, "proxy": {"listen": PROXY}, "bypass": {"presets": []}}
    peers |= {"port": _PORT, "address": places[name].address}
    if name == EXIT:
        tables["exit"] = {"allow_destinations": allowed}
    return tables


@contextmanager
def running(places: dict[str, Place], hops: int, engine: str) -> Iterator[FarNetwork]:
    """Run a node in every place and the origin in its own, until the client has circuits ready.

    Args:
        places: as `names` lists them.
        hops: of the client's paths; two fewer than there are places for the shortest network.
        engine: what carries links.
    """
    with TemporaryDirectory() as top, ExitStack() as stack:
        homes = {name: make_home(Path(top) / name) for name in places if name != ORIGIN}
        first = next(name for name in homes if name != CLIENT)
        identity = Identity.load(make_home(homes[first] / KEYS_NAME))
        bootstrap = format_address(places[first].address, _PORT, identity.peer)
        pids = {}
        for name, home in homes.items():
            tables = settings(name, places, hops, engine, "" if name == first else bootstrap)
            write_private(home / CONFIG_NAME, format_file(tables))
            command = ["node", "up" if name == CLIENT else "share", "--foreground", "--home", str(home)]
            pids[name] = _start(stack, places[name], command).pid
        origin = stack.enter_context(_origin(places))
        for name, home in homes.items():
            wait_for(f"{name} to get ready", partial(_ready, places, name, home), _READY_S, _STEP_S)
        yield FarNetwork(places, origin, PROXY, pids, homes[CLIENT])


@contextmanager
def foreign(places: dict[str, Place], proxy: str, pids: Mapping[str, int] | None = None) -> Iterator[FarNetwork]:
    """Run only the origin, for a proxy that others run in the client's namespace, with processes of theirs."""
    with _origin(places) as origin:
        yield FarNetwork(places, origin, proxy, dict(pids or {}))


@contextmanager
def _origin(places: dict[str, Place]) -> Iterator[str]:
    with ExitStack() as stack:
        address = places[ORIGIN].address
        process = _start(stack, places[ORIGIN], ["bench.origin", _ANY, str(WEB_PORT)])
        assert process.stdout is not None
        yield f"http://{address}:{int(process.stdout.readline())}"


def _start(stack: ExitStack, place: Place, command: Sequence[str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*place.enter, sys.executable, "-m", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
    )
    stack.callback(process.wait, STOP_S)
    stack.callback(process.terminate)
    return process


def _ready(places: dict[str, Place], name: str, home: Path) -> bool:
    status = _ask(places[name], home, "status") or {}
    if name == CLIENT:
        return status.get("state") == "up" and int(status["circuits"]) > 1
    others = len(places) - 3  # neither itself nor client nor origin
    return bool(status.get("peers") == others)


def _ask(place: Place, home: Path, what: str) -> dict[str, Any] | None:
    command = [*place.enter, sys.executable, "-m", "node", what, "--json", "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, check=False, cwd=_ROOT)
    if done.returncode:
        return None
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
