"""All that clients need which nobody here wrote: a network to themselves, the demo, and servers to go to."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.harness.demo import ROOT, Demo
from tests.harness.namespaces import why_not
from tests.harness.origin import DatagramEcho, NameServer
from tests.harness.sealed import CLIENT_GROUP, Sealed, running_client
from tests.harness.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.harness.site import Visit

PASSWORD: Final = "secret"
NEEDED: Final = (
    *("nft", "curl", "wget", "git", "ssh", "ssh-keygen", "/usr/sbin/sshd", "nc", "proxychains4", "socksify"),
    *("chromium", "firefox-esr"),
)
"""Programs, by Debian's packages nftables, curl, wget, git, openssh-client, openssh-server, netcat-openbsd,
proxychains4, dante-client, chromium and firefox-esr."""
_PROXYCHAINS: Final = "strict_chain\nquiet_mode\nproxy_dns\n[ProxyList]\nsocks5 {host} {port}\n"
_DANTE: Final = """\
logoutput: /dev/null
resolveprotocol: fake
route {{
  from: 0.0.0.0/0 to: 0.0.0.0/0 via: {host} port = {port}
  proxyprotocol: socks_v5
  command: connect udpassociate
  protocol: tcp udp
  method: none
}}
"""
"""Without `logoutput`, dante's library ends the program."""


def why_no_clients() -> str:
    """Say what is missing here, in words; empty if nothing is."""
    return why_not(*NEEDED)


@dataclass(frozen=True)
class Clients:
    """Where clients run, and where they go.

    Attributes:
        folder: for files; clients have it for their home.
        network: the only one that they know.
        proxy, locked: `HOST:PORT` of a demo's proxy, and of one on ::1 that wants `PASSWORD`.
        pac: address of the first one's PAC script.
        exits: process numbers of the exits of both.
        site, names, echo: what the exits reach; `six.test` has but an IPv6 address.
    """

    folder: Path
    network: Sealed
    proxy: str
    locked: str
    pac: str
    exits: list[int]
    site: Site
    names: NameServer
    echo: DatagramEcho

    def run(self, command: str, *, text: str = "", limit_s: float = 20.0) -> subprocess.CompletedProcess[str]:
        """Run a line of shell as a client, to its end.

        Args:
            command: may use `$PROXY`, `$LOCKED` and `$PYTHON`.
            text: its standard input.
            limit_s: how long it may take, in seconds.
        """
        return subprocess.run(
            ["sh", "-c", command],
            input=text,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            cwd=ROOT,
            env=self._environment,
            group=CLIENT_GROUP,
            extra_groups=(),
        )

    def running(self, *command: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Run a program as a client, and end it and its children."""
        return running_client(*command, environment=self._environment)

    @property
    def _environment(self) -> dict[str, str]:
        """What clients find in their environment: nothing of the tests' own, and whom to trust."""
        trust = ("CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
        return {
            **dict.fromkeys(trust, str(self.site.ca)),
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "PROXY": self.proxy,
            "LOCKED": self.locked,
            "PYTHON": sys.executable,
            "SOCKS_CONF": str(self.folder / "dante.conf"),
        }

    def configure(self) -> None:
        """Write what those read who know no variables."""
        host, _, port = self.proxy.rpartition(":")
        self.file(".wgetrc", f"ca_certificate = {self.site.ca}\n")
        self.file(".proxychains/proxychains.conf", _PROXYCHAINS.format(host=host, port=port))
        self.file("dante.conf", _DANTE.format(host=host, port=port))

    def file(self, name: str, text: str) -> Path:
        """Write a file into the clients' home."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    def visit(self, path: str) -> Visit:
        """Return the one request for a path."""
        (visit,) = [visit for visit in self.site.seen if visit.path == path]
        return visit


@contextmanager
def entered(folder: Path) -> Iterator[Clients]:
    """Start everything, in a network of its own, which the calling thread is in meanwhile.

    Args:
        folder: for files.
    """
    with (
        Sealed() as network,
        network.entered(),
        Site(folder) as site,
        NameServer(others={"six.test": ["::1"]}) as names,
        DatagramEcho() as echo,
        ExitStack() as demos,
    ):
        reach = ("--allow-destination", "127.0.0.0/8", "--allow-destination", "::1/128", "--resolver", names.endpoint)
        three, one = ("--relays", "2", "--exits", "1"), ("--relays", "0", "--exits", "1", "--hops", "1")
        lock = ("--set", "client:proxy.listen=[::1]:0", "--set", f"client:proxy.password={PASSWORD}")
        demo = demos.enter_context(Demo(*reach, *three, log=folder / "demo.log"))
        locked = demos.enter_context(Demo(*reach, *one, *lock, log=folder / "locked.log"))
        for proxy in (demo.proxy, locked.proxy):
            network.open_door(int(proxy.rpartition(":")[2]))
        exits = [*demo.pids("exit"), *locked.pids("exit")]
        clients = Clients(folder, network, demo.proxy, locked.proxy, demo.pac, exits, site, names, echo)
        clients.configure()
        yield clients
