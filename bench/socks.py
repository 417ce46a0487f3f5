"""Connections through a SOCKS5 proxy (RFC 1928, with RFC 1929's users), as blocking sockets."""

from __future__ import annotations

import socket
import struct


def connect(
    proxy: str, host: str, port: int, user: str = "", limit_s: float = 30.0, receive_bytes: int = 0
) -> socket.socket:
    """Connect to a host by name.

    Args:
        proxy: `ADDRESS:PORT` of the proxy.
        host: at most 255 ASCII characters; the proxy resolves it.
        port: 1 to 65535.
        user: name under which to come; empty for none.
        limit_s: the time limit of each step, and of what the caller does with the socket.
        receive_bytes: the kernel's buffer of what is not read yet; 0 for the kernel's own choice.

    Raises:
        OSError: the proxy cannot be reached, refuses, or took too long.
    """
    address, _, proxy_port = proxy.rpartition(":")
    made = socket.socket()
    try:
        made.settimeout(limit_s)
        if receive_bytes:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        made.connect((address, int(proxy_port)))
        made.sendall(b"\x05\x01\x02" if user else b"\x05\x01\x00")
        if _exactly(made, 2) == b"\x05\x02":
            name = user.encode()
            made.sendall(bytes([1, len(name)]) + name + b"\x01x")
            if _exactly(made, 2)[1]:
                raise ConnectionError("the proxy refused the user")
        name = host.encode("ascii")
        made.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + struct.pack(">H", port))
        _, code, _, kind = _exactly(made, 4)
        if code:
            raise ConnectionError(f"the proxy answered {code}")
        _exactly(made, {1: 4, 4: 16}[kind] + 2)
    except BaseException:
        made.close()
        raise
    return made


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = source.recv(count - len(data))
        if not part:
            raise ConnectionError("the proxy hung up")
        data += part
    return data
