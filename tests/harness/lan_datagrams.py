"""Send a datagram to each of some hosts, as a process, and print whose servers sent it back.

    python -m tests.harness.lan_datagrams WAY PORT HOST…

`WAY` is a SOCKS5 proxy's `HOST:PORT`, or `direct`. Through a proxy it waits for the echo of the last host, and keeps
its association until its input ends; then it prints what else has come. It prints a host a line.
"""

from __future__ import annotations

import socket
import sys
from typing import Final

from tests.harness.associations import pysocks

DIRECT: Final = "direct"
LIMIT_S: Final = 5.0


def directly(port: int, hosts: list[str]) -> None:
    for host in hosts:
        family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as sock:
            sock.settimeout(LIMIT_S)
            sock.sendto(host.encode(), where)
            _print(sock)


def through(proxy: str, port: int, hosts: list[str]) -> None:
    with pysocks(proxy) as sock:
        for host in hosts:
            sock.sendto(host.encode(), (host, port))
        while _print(sock) != hosts[-1]:
            pass
        sys.stdin.read()
        sock.settimeout(0)
        try:
            while True:
                _print(sock)
        except BlockingIOError:
            pass


def _print(sock: socket.socket) -> str:
    """Print, and return, to whom the next datagram that comes back had been sent.

    Raises:
        OSError: none has come.
    """
    host = sock.recvfrom(2048)[0].decode()
    print(host, flush=True)
    return host


def main(way: str, port: str, *hosts: str) -> None:
    if way == DIRECT:
        directly(int(port), list(hosts))
    else:
        through(way, int(port), list(hosts))


if __name__ == "__main__":
    main(*sys.argv[1:])
