"""A private Tor network with the public one's parameters: three authorities, two relays, two exits and a client."""

from __future__ import annotations

import re
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.far import CLIENT
from bench.network import wait_for
from bench.rivals.programs import Rival, await_port, programs, tell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bench.namespaces import Place

TOOLS: Final = ("tor", "tor-gencert")
PACKAGES: Final = "tor"
AUTHORITIES: Final = ("a1", "a2", "a3")
RELAYS: Final = ("r1", "r2")
EXITS: Final = ("x1", "x2")
PLACES: Final = (*AUTHORITIES, *RELAYS, *EXITS, CLIENT)

_PARAMETERS: Final = (
    "cc_alg=2 cc_cwnd_full_gap=4 cc_cwnd_full_minpct=25 cc_cwnd_inc=1 cc_cwnd_inc_rate=31 cc_cwnd_min=124 "
    "cc_sscap_exit=600 cc_vegas_alpha_exit=186 cc_vegas_beta_exit=248 cc_vegas_delta_exit=310 "
    "cc_vegas_gamma_exit=186 KISTSchedRunInterval=2"
)
"""Congestion control and scheduler as the public network's consensus sets them (2026). Without, it is slower here."""

_HERE: Final = "127.0.0.1"
_OR_PORT: Final = 25000
_DIRECTORY_PORT: Final = 25100
_SOCKS: Final = 25200
_BOOTSTRAP_S: Final = 180.0
_CIRCUIT_S: Final = 90.0

_ALL: Final = """TestingTorNetwork 1
DataDirectory {folder}
Nickname {name}
Address {address}
ShutdownWaitLength 0
Log notice file {folder}/notice.log
ControlSocket {folder}/control
PathsNeededToBuildCircuits 0.67
ServerDNSDetectHijacking 0
ServerDNSAllowBrokenConfig 1
"""
_SERVES: Final = """SocksPort 0
ORPort {address}:{port}
AssumeReachable 1
ExtendAllowPrivateAddresses 1
ExitPolicyRejectPrivate 0
PublishServerDescriptor v3
"""
_AUTHORITY: Final = f"""DirPort {{address}}:{{directory_port}}
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
ContactInfo bench@localhost
TestingV3AuthInitialVotingInterval 20
TestingV3AuthInitialVoteDelay 4
TestingV3AuthInitialDistDelay 4
V3AuthVotingInterval 20
V3AuthVoteDelay 4
V3AuthDistDelay 4
TestingDirAuthVoteGuard *
TestingMinExitFlagThreshold 0
ConsensusParams {_PARAMETERS}
"""
_ENDS: Final = {True: "ExitRelay 1\nExitPolicy accept *:*\n", False: "ExitRelay 0\nExitPolicy reject *:*\n"}


@dataclass(frozen=True, slots=True)
class Node:
    """One of the network, called by its place."""

    name: str
    folder: Path
    address: str
    port: int
    directory_port: int

    @property
    def words(self) -> dict[str, object]:
        return {
            "name": f"bench{self.name}",
            "folder": self.folder,
            "address": self.address,
            "port": self.port,
            "directory_port": self.directory_port,
        }


def settings(node: Node, authorities: str) -> str:
    """The configuration of one node.

    Args:
        node: which; what it does follows from its name.
        authorities: lines that name them.
    """
    text = _ALL.format(**node.words) + authorities
    if node.name == CLIENT:
        return f"{text}SocksPort {_HERE}:{_SOCKS}\nClientOnly 1\n"
    text += _SERVES.format(**node.words) + _ENDS[node.name in EXITS]
    return text + (_AUTHORITY.format(**node.words) if node.name in AUTHORITIES else "")


def _introduced(node: Node) -> str:
    """Make an authority's keys, and the line that tells others of it."""
    keys = node.folder / "keys"
    keys.mkdir(mode=0o700)
    files = [str(keys / f"authority_{what}") for what in ("identity_key", "signing_key", "certificate")]
    options = [word for pair in zip(("-i", "-s", "-c"), files, strict=True) for word in pair]
    where = f"{node.address}:{node.directory_port}"
    tell("tor-gencert", "--create-identity-key", "--passphrase-fd", "0", *options, "-m", "12", "-a", where, text="x\n")
    certificate = (keys / "authority_certificate").read_text()
    identity = re.search(r"^fingerprint (\w+)", certificate, re.MULTILINE)
    nobody = f"no v3ident={'F' * 40} {_HERE}:9 {'F' * 40}"
    alone = ["-f", "/dev/null", "--ignore-missing-torrc", "--list-fingerprint", "--quiet", "--SocksPort", "0"]
    own = ["--Nickname", f"bench{node.name}", "--DataDirectory", str(node.folder), "--ORPort", str(node.port)]
    said = tell("tor", *alone, *own, "--DirAuthority", nobody)
    fingerprint = re.search(rf"bench{node.name} ([0-9A-F ]+)", said)
    if identity is None or fingerprint is None:
        raise SystemExit("tor told no fingerprint of an authority")
    return (
        f"DirAuthority bench{node.name} orport={node.port} no-v2 v3ident={identity[1]} {where} "
        f"{fingerprint[1].replace(' ', '')}\n"
    )


def _ask(folder: Path, question: str) -> str:
    """What a node's control socket answers; nothing while there is none."""
    try:
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10)
            control.connect(str(folder / "control"))
            control.sendall(f"AUTHENTICATE\r\n{question}\r\nQUIT\r\n".encode())
            answer = b""
            while part := control.recv(1 << 16):
                answer += part
    except OSError:
        return ""
    return answer.decode()


@contextmanager
def running(places: Mapping[str, Place] | None = None) -> Iterator[Rival]:
    """Run it until there is a circuit to an exit: on loopback, or each node in a place of its own, as `PLACES`."""
    with programs() as made:
        nodes = []
        for number, name in enumerate(PLACES):
            folder = made.folder / name
            folder.mkdir(mode=0o700)
            address = places[name].address if places else _HERE
            nodes.append(Node(name, folder, address, _OR_PORT + number, _DIRECTORY_PORT + number))
        authorities = "".join(_introduced(node) for node in nodes if node.name in AUTHORITIES)
        for node in nodes:
            (node.folder / "torrc").write_text(settings(node, authorities))
            command = ["tor", "--quiet", "-f", str(node.folder / "torrc")]
            made.start(node.name, command, places[node.name] if places else None)
        client = nodes[-1].folder
        log = client / "notice.log"
        wait_for("Tor", lambda: log.exists() and "Bootstrapped 100%" in log.read_text(), _BOOTSTRAP_S, 0.5)

        def known() -> bool:
            return _ask(client, "GETINFO ns/all").count("\nr ") + 1 >= len(nodes) - 1

        def built() -> bool:
            return re.search(r" BUILT \S+~benchx\d BUILD_FLAGS", _ask(client, "GETINFO circuit-status")) is not None

        wait_for("Tor's client to know all relays", known, _CIRCUIT_S, 0.5)
        wait_for("a circuit of Tor's to an exit", built, _CIRCUIT_S, 0.5)
        await_port(_HERE, _SOCKS, places[CLIENT] if places else None)
        yield Rival(f"{_HERE}:{_SOCKS}", made.pids)
