"""A DNS server for `bench names` that answers every question at once, over UDP, TLS and HTTPS.

Usage: `python -m bench.name_server FOLDER [UDP-PORT]`. It writes its ports to standard output as JSON, and the
authority behind its certificate to `authority.pem` in the folder.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trustme
import uvloop
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded

if TYPE_CHECKING:
    from collections.abc import Callable

HOST: Final = "127.0.0.1"
NAME: Final = "dns.example.net"
_V4: Final = bytes([93, 184, 215, 14])
_V6: Final = bytes.fromhex("26064700000000000000000000000001")
_AAAA: Final = 28


def answer(query: bytes) -> bytes:
    """Answer with one address, whatever the name."""
    end = query.index(b"\0", 12) + 5
    kind = int.from_bytes(query[end - 4 : end - 2], "big")
    address = _V6 if kind == _AAAA else _V4
    record = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 300, len(address)) + address
    return query[:2] + b"\x81\x80" + struct.pack("!HHHH", 1, 1, 0, 0) + query[12:end] + record


def _over_udp(sock: socket.socket) -> None:
    query, sender = sock.recvfrom(4096)
    sock.sendto(answer(query), sender)


async def _over_stream(
    make: Callable[[], Callable[[bytes], bytes]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve one connection. `make` gives what turns what came into what is to be sent."""
    take = make()
    while data := await reader.read(65536):
        writer.write(take(data))
    writer.close()


def _over_tls() -> Callable[[bytes], bytes]:
    received = bytearray()

    def take(data: bytes) -> bytes:
        received.extend(data)
        replies = []
        while len(received) >= 2 and len(received) >= (end := 2 + int.from_bytes(received[:2], "big")):
            reply = answer(bytes(received[2:end]))
            replies.append(len(reply).to_bytes(2, "big") + reply)
            del received[:end]
        return b"".join(replies)

    return take


def _over_https() -> Callable[[bytes], bytes]:
    http = H2Connection(H2Configuration(client_side=False))
    http.initiate_connection()
    bodies: dict[int, bytes] = {}

    def take(data: bytes) -> bytes:
        for event in http.receive_data(data):
            if isinstance(event, DataReceived) and event.stream_id is not None:
                bodies[event.stream_id] = bodies.get(event.stream_id, b"") + (event.data or b"")
                http.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            elif isinstance(event, StreamEnded) and event.stream_id is not None:
                reply = answer(bodies.pop(event.stream_id))
                fields = [(":status", "200"), ("content-type", "application/dns-message")]
                http.send_headers(event.stream_id, fields)
                http.send_data(event.stream_id, reply, end_stream=True)
        return http.data_to_send()

    return take


async def _serve(folder: Path, udp_port: int) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, udp_port))
    loop.add_reader(sock, _over_udp, sock)
    ports = {"udp": sock.getsockname()[1]}
    for scheme, alpn, make in (("tls", "dot", _over_tls), ("https", "h2", _over_https)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(NAME).configure_cert(context)
        context.set_alpn_protocols([alpn])
        server = await asyncio.start_server(partial(_over_stream, make), HOST, 0, ssl=context)
        ports[scheme] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
