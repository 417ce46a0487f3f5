"""Prove that nothing is kept: `python -m tests.proofs.no_logs` (`make prove-no-logs`).

First secrets are planted, and all of them must be found. Then a network of all roles carries canaries in every way that
works, in every way that does not, and through failures: defects that name a destination in an error, processes that are
killed and aborted while they carry something. Then everything that any process wrote is searched. It prints what was
searched and what was found, and fails if that is anything.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import click

from node.client import NodeClient
from node.config import CONFIG_NAME
from node.config_edit import format_file
from node.demo_plan import LEDGER_NAME
from node.files import make_home, write_private
from node.last_words import NO_CORE
from tests.harness.demo import ROOT, Demo, alive, command, status_of, udp_port, until
from tests.harness.origin import DatagramEcho, NameServer, Origin
from tests.proofs import faulty, used
from tests.proofs.forms import Canaries
from tests.proofs.kept import without_moments
from tests.proofs.listed import read_homes
from tests.proofs.page import unnamed
from tests.proofs.planted import plant, plant_addresses
from tests.proofs.search import Found, Searched, search, search_bytes
from tests.proofs.times import Times
from tests.proofs.used import BRIEFLY, CANARY, COMES, DESTINATION, DOWN_BYTES, HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

READY_S: Final = 100.0
"""A little more than a demo gives itself."""
SLOWLY: Final = ("--limit-rate", "200k", "--max-time", "30")
MACROVPN: Final = (sys.executable, "-m", "node")
PASSWORD: Final = "open sesame"
QUIET: Final = {"MACROVPN_PEERS_DHT": "false", "MACROVPN_PEERS_PORT_MAPPING": "false"}


class FailedError(Exception):
    """The proof does not hold, or proves nothing."""


@dataclass(slots=True)
class Proof:
    """What was looked at.

    Args:
        rows: of each part, what was searched.
        lines: what else was seen.
    """

    rows: dict[str, Searched] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def found(self) -> list[Found]:
        return [found for searched in self.rows.values() for found in searched.found]

    def text(self) -> Iterator[str]:
        yield f"{'searched':44}{'files':>8}{'bytes':>14}{'unpacked':>10}{'found':>7}"
        for name, row in self.rows.items():
            yield f"{name:44}{row.files:>8,}{row.bytes_:>14,}{row.streams:>10,}{len(row.found):>7,}"
        yield from self.lines
        yield from (f"FOUND in {found.where}: {found.what}" for found in self.found)


# -- that it would be found


def find_planted(folder: Path) -> str:
    """Plant, search, and see that nothing was missed; returns what to say of it."""
    secrets, addresses = folder / "secrets", folder / "addresses"
    places = plant(secrets, f"host=www.{CANARY}.test")
    files = plant_addresses(addresses, DESTINATION, used.REFUSED6)
    seen = {found.where for found in search(secrets, Canaries([CANARY])).found}
    missed = [place for place in places if not any(where.startswith(place) for where in seen)]
    seen = {found.where for found in search(addresses, Canaries([], addresses=used.ADDRESSES)).found}
    missed += [name for name in files if name not in seen]
    if missed:
        raise FailedError(f"what was planted is not found: {missed}")
    return f"planted and found: a secret in {len(places)} places, two addresses in {len(files)} forms"


# -- that something happens


class Network:
    """A demo, beside it a client that runs in the background and wants a password, and what they talk to.

    Args:
        folder: for all files; in it `elsewhere` for those that no node is told to write.
    """

    def __init__(self, folder: Path) -> None:
        self.home, self.guest, self.elsewhere = folder / "network", folder / "guest", folder / "elsewhere"
        self.elsewhere.mkdir()
        self._folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Network:
        enter = self._stack.enter_context
        self.origin = enter(Origin(self._folder, DESTINATION))
        self.echo, self.names = enter(DatagramEcho(DESTINATION)), enter(NameServer(DESTINATION))
        size = ["--relays", "5", "--exits", "3", "--engine", "mixed"]
        options = ["--home", str(self.home), *size, *used.settings(self.names.endpoint)]
        self.demo = enter(
            Demo(
                *options,
                log=self.elsewhere / "demo.log",
                environment=used.talkative(self.elsewhere),
                program="tests.proofs.faulty",
                ready_s=READY_S,
            )
        )
        self.homes = used.homes_of(self.demo)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run([*MACROVPN, "down", "--home", str(self.guest)], cwd=ROOT, check=False, capture_output=True)
        self._stack.close()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.origin.http}"

    def start_guest(self) -> str:
        """Start the other client, whose proxy wants a password; returns where that is."""
        first = self.demo.facts["processes"][0]
        tables: dict[str, dict[str, Any]] = {
            "node": {"log_level": "debug"},
            "proxy": {"listen": "127.0.0.1:0", "password": PASSWORD},
            "tunnel": {"allow_destinations": ["127.0.0.0/8"]},
            "peers": {
                "bootstrap": [f"{first['address']}/p2p/{first['peer_id']}"],
                "allow_addresses": ["127.0.0.0/8"],
                "dht": False,
                "port_mapping": False,
            },
            "payments": {"settlement": "local", "ledger": str(self.home / LEDGER_NAME)},
        }
        write_private(make_home(self.guest) / CONFIG_NAME, format_file(tables))
        # On a busy machine it says that it is blocked before it is up.
        subprocess.run([*MACROVPN, "up", "--home", str(self.guest)], cwd=ROOT, check=False, capture_output=True)
        until("the other client", lambda: status_of(self.guest).get("state") == "up", 60)
        return str(status_of(self.guest)["proxy"])

    def be_refused(self, proxy: str) -> None:
        """Come to the other client with names and passwords of all kinds."""
        right, wrong = f"user-{CANARY}:{PASSWORD}", f"user-{CANARY}:pass-{CANARY}"
        for way in (f"socks5h://{proxy}", f"http://{proxy}"):
            for user, well in ((right, True), (wrong, False), ("", False)):
                asking = ["curl", "-sf", "--noproxy", "", *COMES, "-x", way, *(["--proxy-user", user] if user else [])]
                done = subprocess.run([*asking, f"{self.url}/"], check=False, timeout=30)
                if (done.returncode == 0) != well:
                    raise FailedError(f"curl ended with {done.returncode} for {user!r} over {way}")

    def set_off_defects(self) -> None:
        """Ask for what makes the client and the exits fail."""
        for place in ("client", "exit"):
            for name in faulty.FAULTS:
                with suppress(subprocess.TimeoutExpired):
                    self.demo.curl(*COMES, *BRIEFLY, f"http://{place}-{name}.{CANARY}.test:{self.origin.http}/")

    def end_while_it_carries(self, role: str, number: signal.Signals) -> None:
        """Send a signal to a process over which something is being downloaded, and wait until that has ended."""
        self.origin.seen.clear()
        url = f"{self.url}/bytes/{DOWN_BYTES}"
        loading = subprocess.Popen(
            ["curl", "-s", "--noproxy", "", "--socks5-hostname", self.demo.proxy, *COMES, *SLOWLY, url]
        )
        until("a download", lambda: [host for _, host in self.origin.seen if host.startswith(HOST)], 30)
        pid = self._exit() if role == "exit" else self._guard()
        os.kill(pid, number)
        until(f"the end of a {role}", lambda: not alive(pid), 20)
        until("the end of the download", lambda: loading.poll() is not None, 60)

    def _exit(self) -> int:
        """The exit whose connection came last, by the address from which exits leave."""
        number = int(self.origin.seen[-1][0].rpartition(".")[2])
        return self.demo.pids("exit")[number - 1]

    def _guard(self) -> int:
        by_name = used.processes_of(self.demo)
        hops = NodeClient(self.home).route()["circuits"][0]["hops"]
        return int(by_name[hops[0]["peer_id"]]["pid"])

    def core_limits(self) -> set[tuple[int, int]]:
        """What all processes allow the system to keep of their memory."""
        return {resource.prlimit(pid, resource.RLIMIT_CORE) for pid in self.demo.pids() if alive(pid)}


def use(network: Network, proof: Proof) -> Canaries:
    """Use it in all ways, and end it; what it tells is searched meanwhile."""
    demo = network.demo
    if network.core_limits() != {(NO_CORE, NO_CORE)}:
        raise FailedError(f"core dumps are not forbidden: {network.core_limits()}")
    proof.lines.append(f"core dumps: forbidden in {len(demo.pids())} of {len(demo.pids())} processes")
    ports = [udp_port(pid) for pid in demo.pids("client")]
    used.browse(demo, network.origin, network.elsewhere.parent)
    ports.append(used.send(demo, network.echo, network.homes))
    used.disturb_all(demo, network.homes)
    network.be_refused(network.start_guest())
    network.set_off_defects()
    canaries = Canaries(
        [CANARY],
        texts=used.TEXTS,
        addresses=used.ADDRESSES,
        ports=ports,
        sizes=[DOWN_BYTES, used.UP_BYTES],
    )
    proof.rows["what the nodes answer"] = told = Searched()
    for what, answer in used.answers([network.guest, *network.homes]):
        told += search_bytes(what, answer, canaries)
    for home in (network.guest, network.home):
        report = subprocess.run(
            [*MACROVPN, "doctor", "--json", "--home", str(home)],
            cwd=ROOT,
            capture_output=True,
            check=False,
        )
        told += search_bytes(f"{home.name}: doctor", report.stdout + report.stderr, canaries)
    seen = used.counted_by_exits(network.homes)
    if not {"not_allowed", "refused", "no_name", "done"} <= seen:
        raise FailedError(f"not everything happened: exits counted {sorted(seen)}")
    network.end_while_it_carries("exit", signal.SIGKILL)
    network.end_while_it_carries("guard", signal.SIGABRT)
    network.end_while_it_carries("exit", signal.SIGSEGV)
    proof.rows["homes while the nodes run"] = search(network.home, canaries)
    if not command("down", home=network.guest)["stopped"]:
        raise FailedError("the other client did not run to the end")
    return canaries


def defects_said(home: Path) -> list[str]:
    """What the logs of a network lack of what they say of defects."""
    logs = [log.read_text() for log in home.rglob("node.log")]
    return [words for words, often in faulty.SAID if sum(log.count(words) for log in logs) < often]


def prove(folder: Path) -> Proof:
    proof, begin = Proof(), time.time()
    with Network(folder) as network:
        canaries = use(network, proof)
    proof.lines.append(f"canaries: {len(canaries)} forms; moments: {time.time() - begin:.0f} s in all forms")
    if missing := defects_said(network.home):
        raise FailedError(f"no log says {missing}")
    kept = read_homes([*network.homes, network.guest])
    if names := unnamed(kept):
        raise FailedError(f"docs/state.md does not say {sorted(names)}")
    fields = sum(len(one.fields) for one in kept)
    proof.lines.append(
        f"docs/state.md: {len(kept)} files in {len(network.homes) + 1} homes, {fields:,} fields, all listed"
    )
    times, allowed = Times(begin, time.time()), without_moments(kept)
    if not search(network.home, canaries, times).found:
        raise FailedError("the descriptors' own times are not found, so no others would be")
    proof.rows["homes after all, of which three were killed"] = search(network.home, canaries, times, allowed)
    proof.rows["the home of a node in the background"] = search(network.guest, canaries, times, allowed)
    proof.rows["temporary files, output, the user's home"] = search(network.elsewhere, canaries, times)
    return proof


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Keep everything here, in a folder that is new.")
def main(folder: Path | None) -> None:
    """Prove that a network keeps nothing of what it carried."""
    os.environ.update(QUIET)
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    with TemporaryDirectory(prefix="macrovpn-proof-") as temporary:
        where = folder or Path(temporary)
        where.mkdir(exist_ok=folder is None)
        try:
            click.echo(find_planted(where))
            (where / "nodes").mkdir()
            proof = prove(where / "nodes")
        except FailedError as error:
            sys.exit(f"This proves nothing: {error}")
        finally:
            resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    click.echo("\n".join(proof.text()))
    sys.exit(bool(proof.found))


if __name__ == "__main__":
    main()
