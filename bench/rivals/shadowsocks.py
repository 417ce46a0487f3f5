"""Three servers of shadowsocks-libev in a row, layered at the client.

It is like ours in its layers. It chooses no path, keeps no connection over a change, and opens each through all hops.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from bench.far import CLIENT, EXIT
from bench.rivals.programs import Rival, await_port, programs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.namespaces import Place

TOOLS: Final = ("ss-server", "ss-tunnel", "ss-local")
PACKAGES: Final = "shadowsocks-libev"
HOPS: Final = ("r1", "r2", EXIT)
PLACES: Final = (CLIENT, *HOPS)
_HERE: Final = "127.0.0.1"
_SERVERS: Final = 26000
_TUNNELS: Final = 26100
_SOCKS: Final = 26200
_OPTIONS: Final = ("-m", "chacha20-ietf-poly1305", "-t", "60")


@contextmanager
def running(places: Mapping[str, Place] | None = None) -> Iterator[Rival]:
    """Run them: on loopback, or each server and the client in a place of its own, as `PLACES` names them."""
    with programs() as made:
        at = [(name, places[name] if places else None) for name in HOPS]
        client = places[CLIENT] if places else None
        servers = []
        for number, (name, place) in enumerate(at):
            address, port = place.address if place else _HERE, _SERVERS + number
            made.start(name, ["ss-server", "-s", address, "-p", str(port), "-k", name, *_OPTIONS], place)
            await_port(address, port, place)
            servers.append((address, port))
        through = servers[0]
        for number, (name, _) in enumerate(at[:-1]):
            local, (address, port) = _TUNNELS + number, servers[number + 1]
            entry = ["-s", through[0], "-p", str(through[1]), "-k", name, "-b", _HERE, "-l", str(local)]
            made.start(f"tunnel-{number}", ["ss-tunnel", *entry, "-L", f"{address}:{port}", *_OPTIONS], client)
            await_port(_HERE, local, client)
            through = (_HERE, local)
        entry = ["-s", through[0], "-p", str(through[1]), "-k", EXIT, "-b", _HERE, "-l", str(_SOCKS)]
        made.start("local", ["ss-local", *entry, *_OPTIONS], client)
        await_port(_HERE, _SOCKS, client)
        yield Rival(f"{_HERE}:{_SOCKS}", made.pids)
