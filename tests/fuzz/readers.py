"""Every function of the project that reads bytes or text, found in its source, and why some of them have no target."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.fuzz.corpus import ROOT, SOURCES

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMED: Final = re.compile(
    r"_*(decode|parse|unpack|consume_|split_?|read(_|$)|hear(_|$)|feed$|open$|open_datagram$|check_host|"
    r"(datagram_|stream_|data_)?receive[d]?$)"
)
GIVEN: Final = re.compile(r"\b(bytes|str|memoryview|Buffer|StreamReader)\b")

UNTARGETED: Final = {
    # What it gets comes from this program or was checked before.
    "exits/egress.py:_read_source": "a setting that was checked",
    "exits/sources.py:_read_address": "what the system says of its own socket",
    "ledger/evm.py:EvmSettlement.open": "opens a channel",
    "ledger/local.py:LocalSettlement.open": "opens a channel",
    "ledger/local_books.py:Books.open": "opens a channel",
    "ledger/settlement.py:Settlement.open": "opens a channel",
    "node/cli_pair.py:_open": "opens a browser",
    "node/control/access.py:Access.open": "lets in who has a token that this node made",
    "node/peer_filter.py:read_hosts": "addresses of this node, which were read by others",
    "node/rule_test.py:split": "an address that the user types",
    "node/site_asking.py:_read": "an address that the user types",
    "pac/pac.py:_split": "a key of rules that were read",
    "peers/port_mapping/datagrams.py:Asker.open": "opens a socket",
    "proxy/probes.py:Probes.hear": "compares with names that this node made",
    "proxy/trusted.py:TrustedWay.open": "opens a way past the tunnel",
    # What it gets stands in the package, or in /proc.
    "peers/countries.py:Countries.parse": "data of this package",
    "peers/place_table.py:PlaceTable.decode": "data of this package",
    "peers/place_table.py:_unpack": "data of this package",
    "peers/port_mapping/gateway.py:parse_linux_routes": "the kernel's table",
    "peers/port_mapping/gateway.py:parse_route_command": "what `route` prints",
    # It reads nothing itself, but hands on what it gets, in pieces of bounded size, to what has a target.
    "exits/dns_encrypted.py:_Connection.read": "to `Framing.receive`",
    "exits/dns_framing.py:Framing.receive": "a protocol",
    "exits/outlet.py:FirstBytes.data_received": "to a flow",
    "node/chromium_settings.py:read_all": "to `parse_extensions` and its like",
    "node/cli_bypass.py:_parse": "to `Rule.parse`",
    "node/site_rules.py:read_rules": "to `parse_rules`",
    "pac/trusted.py:parse_networks": "to `TrustedNetwork.parse`",
    "peers/port_mapping/datagrams.py:Asker.datagram_received": "to the decoders of PCP and NAT-PMP",
    "peers/port_mapping/upnp.py:_Search.datagram_received": "to `decode_found`",
    "peers/port_mapping/upnp.py:_read": "to `describe` and `ask_host`",
    "proxy/front.py:Front._hear_again": "to `socks.hear` and `http.hear`",
    "proxy/intake.py:Intake._feed": "to `socks.hear` and `http.hear`",
    "tunnel/engines/aioquic.py:AioquicEngine._received": "to aioquic",
    "tunnel/engines/aioquic_connection.py:AioquicConnection.received": "to aioquic",
    "tunnel/engines/knock.py:Deaf.datagram_received": "to nobody",
    "tunnel/engines/knock.py:Deaf.stream_received": "to nobody",
    "tunnel/engines/seam.py:ConnectionHandler.datagram_received": "a protocol",
    "tunnel/engines/seam.py:ConnectionHandler.stream_received": "a protocol",
    "tunnel/observing.py:Observing.received": "to the decoders of messages about addresses",
    "tunnel/punch.py:Punch.received": "to the decoders of messages about addresses",
    # Its format is that of one regular expression or one length.
    "exits/quota.py:Quota._read": "a line that a regular expression matches",
    "peers/key_files.py:read_secret": "32 bytes, and nothing else",
}
"""Readers without a target, each with the reason."""


def readers() -> Iterator[str]:
    """Name the functions that look as if they read: by their names, and by what they are given."""
    for folder in SOURCES:
        for path in sorted(Path(folder).rglob("*.py")):
            yield from _in(ast.parse(path.read_text(encoding="utf-8")), path.relative_to(ROOT).as_posix(), "")


def _in(node: ast.AST, file: str, above: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        inside = (
            f"{above}{child.name}."
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            else above
        )
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and NAMED.match(child.name) and _is_given(child):
            yield f"{file}:{above}{child.name}"
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _in(child, file, inside)


def _is_given(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    given = function.args
    return any(
        one.annotation is not None and GIVEN.search(ast.unparse(one.annotation))
        for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)
    )
