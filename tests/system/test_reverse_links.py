"""Peers behind real routers that others reach all the same: over links that they made themselves."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from tests.harness.demo import until
from tests.harness.houses import House
from tests.harness.namespaces import why_not
from tests.harness.nat import PUBLIC, Machine, Mapping, Town

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

MB: Final = 1_000_000
SIZE: Final = 20 * MB
PORT: Final = 8080
ALLOWED: Final = [word for network in PUBLIC for word in ("--allow-address", network)]
KINDS: Final = [Mapping.SAME, Mapping.RANDOM]
VARIANTS: Final = [Mapping.SAME, pytest.param(Mapping.RANDOM, marks=pytest.mark.long)]
REGIONS: Final = dict(zip(("NL", "DE"), KINDS, strict=True))
NET: Final = ("--network", "home")
TRIES: Final = 20


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    if reason := why_not("nft", "curl"):
        pytest.skip(reason)


class Here:
    """A town with a web server, and nodes in it."""

    def __init__(self, town: Town, folder: Path, stack: ExitStack) -> None:
        self._town = town
        self._folder = folder
        self._stack = stack
        self.houses: list[House] = []
        self.file = folder / "site" / "file"
        self.page = ""

    def house(self, machine: Machine) -> House:
        self.houses.append(House(machine.name, machine.address, self._folder / machine.name))
        return self.houses[-1]

    def public(self) -> House:
        return self.house(self._town.public())

    def home(self, mapping: Mapping) -> House:
        return self.house(self._town.home(mapping))

    def serve(self) -> None:
        """Start the web server, on a public machine of its own."""
        self.file.parent.mkdir()
        self.file.write_bytes(random.Random(1).randbytes(SIZE))
        machine = self._town.public()
        site = str(self.file.parent)
        command = [sys.executable, "-m", "http.server", str(PORT), "--bind", machine.address, "-d", site]
        process = self._stack.enter_context(
            subprocess.Popen(machine.inside(*command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
        self._stack.callback(process.kill)
        self.page = f"http://{machine.address}:{PORT}/file"

    def download(self, house: House, proxy: str, *network: str) -> None:
        """Fetch the file through the proxy of a house's node in this network, and compare it."""
        into = self._folder / "fetched"
        into.unlink(missing_ok=True)
        command = house.inside(
            "curl", "-sS", "--max-time", "60", "--proxy", f"socks5h://{proxy}", "-o", str(into), self.page
        )
        done = subprocess.run(command, capture_output=True, text=True, timeout=70, check=False)
        if done.returncode:
            pytest.fail(f"{done.stderr} {house.command('status', *network)['counters']}")
        assert hashlib.sha256(into.read_bytes()).digest() == hashlib.sha256(self.file.read_bytes()).digest()


@contextmanager
def here(folder: Path, *network: str) -> Iterator[Here]:
    """Build a town. The nodes of this network end before it goes."""
    with Town() as town, ExitStack() as stack:
        built = Here(town, folder, stack)
        try:
            yield built
        finally:
            all_at_once(*(partial(house.try_command, "down", *network) for house in built.houses))


def through(house: House) -> int:
    """Bytes that a machine has received so far."""
    command = house.inside("cat", "/sys/class/net/up0/statistics/rx_bytes")
    return int(subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout)


def held(house: House, *network: str) -> int:
    count: int = house.command("status", *network)["via"]
    return count


def is_behind_a_router(house: House) -> bool:
    """Whether a node has found that out, for which it waits for dial-backs that do not come."""
    return house.command("status")["reachable"] in ("punched", "behind-nat")


def all_at_once(*tasks: Callable[[], object]) -> None:
    """Programs take long to start, mostly one after the other."""
    with ThreadPoolExecutor() as threads:
        for done in [threads.submit(task) for task in tasks]:
            done.result()


@pytest.mark.long
def test_clients_at_home_use_exits_at_home(tmp_path: Path) -> None:
    with here(tmp_path) as town:
        first, *others = [town.public() for _ in range(5)]
        town.serve()
        share = ("share", "--background", *ALLOWED)
        first.command(*share, "--role", "relay", "--address", first.address)
        status = first.command("status")
        bootstrap = ("--bootstrap", f"{status['address']}/p2p/{status['peer_id']}")
        ends = {region: town.home(kind) for region, kind in REGIONS.items()}
        for region, end in ends.items():
            end.command("config", "set", "node.region", region)
        all_at_once(
            *(
                partial(house.command, *share, *bootstrap, "--role", "relay", "--address", house.address)
                for house in others
            ),
            *(partial(house.command, *share, *bootstrap, "--role", "exit") for house in ends.values()),
        )
        until("links that relays hold", lambda: all(held(house) == 3 for house in ends.values()), 30)

        for region, end in ends.items():
            user = town.home(REGIONS[region])
            up = user.command("up", *ALLOWED, *bootstrap, "--region", region)
            before = through(end)
            town.download(user, up["proxy"])
            assert through(end) - before > SIZE

            (circuit, *_) = user.command("route")["circuits"]
            ids = [hop["peer_id"] for hop in circuit["hops"]]
            assert len(ids) == len(set(ids)) == 4
            assert ids[-1] == end.command("status")["peer_id"]
            until("word of how it is reached", partial(is_behind_a_router, end), 20)


@pytest.mark.parametrize("kind", VARIANTS)
def test_a_client_at_home_uses_a_relay_and_an_exit_at_home(tmp_path: Path, kind: Mapping) -> None:
    with here(tmp_path, *NET) as town:
        first, *others = publics = [town.public() for _ in range(5)][:3]
        town.serve()
        relay, end, user = (town.home(kind) for _ in range(3))

        def serve(house: House) -> None:
            where = ["--address", house.address] if house in publics else []
            house.command(
                "share", *NET, "--role", "exit" if house is end else "relay", "--background", *ALLOWED, *where
            )

        def join(house: House) -> None:
            house.command("network", "join", invite)
            serve(house)

        first.command("network", "create", "home")
        serve(first)
        invite = first.command("network", "invite", "home")["invite"]
        all_at_once(*(partial(join, house) for house in (*others, relay, end)))
        until("links that relays hold", lambda: held(relay, *NET) == held(end, *NET) == 3, 30)

        user.command("network", "join", invite)
        up = user.command("up", *NET, "--hops", "4", *ALLOWED)
        for _ in range(TRIES):
            before = [through(relay), through(end)]
            town.download(user, up["proxy"], *NET)
            after = [through(relay), through(end)]
            assert after[1] - before[1] > SIZE
            if after[0] - before[0] > SIZE:
                break
            user.command("hop", *NET)
        else:
            pytest.fail("no path went over the relay")
