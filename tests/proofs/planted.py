"""Secrets that somebody forgot, each in a place of its own: a search that misses one proves nothing."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import subprocess
import sys
import zlib
from base64 import b64encode
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_from_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

_ABORTS: Final = """
import os, resource, signal, sys
_, hard = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
held = bytes(byte ^ 1 for byte in bytes.fromhex(sys.argv[1]))
os.kill(os.getpid(), signal.SIGABRT)
"""
_WAITS: Final = _ABORTS.rpartition("os.kill")[0] + "print(flush=True)\nsys.stdin.read()"


def freed_page(path: Path, secret: bytes) -> None:
    """A row of a database which overwrites nothing, and was deleted."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA secure_delete = OFF; CREATE TABLE t (x BLOB); CREATE TABLE u (x BLOB)")
        connection.execute("INSERT INTO t VALUES (?)", (bytes(5000) + secret,))
        connection.commit()
        connection.execute("DROP TABLE t")
        connection.commit()


def write_ahead_log(path: Path, secret: bytes) -> None:
    """A row that is in no page of a database any more, but still in its log."""
    live = path.with_name(f"{path.name}.live")
    with closing(sqlite3.connect(live)) as connection:
        connection.executescript("PRAGMA secure_delete = ON; PRAGMA journal_mode = WAL; CREATE TABLE t (x BLOB)")
        connection.execute("INSERT INTO t VALUES (?)", (secret,))
        connection.commit()
        connection.execute("UPDATE t SET x = NULL")
        connection.commit()
        path.with_name(f"{path.name}-wal").write_bytes(live.with_name(f"{live.name}-wal").read_bytes())
    live.unlink()


def core_dump(path: Path, secret: bytes) -> None:
    """The memory of a process that holds the secret and was ended by SIGABRT; where the kernel writes none into the
    folder, a copy of it."""
    path.mkdir()
    given = bytes(byte ^ 1 for byte in secret).hex()
    subprocess.run([sys.executable, "-c", _ABORTS, given], cwd=path, check=False)
    if any(path.iterdir()):
        return
    with subprocess.Popen(
        [sys.executable, "-c", _WAITS, given], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        spans = [
            line.split()[0].split("-")
            for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines()
            if "rw-p" in line
        ]
        with Path(f"/proc/{process.pid}/mem").open("rb", 0) as memory, (path / "core").open("wb") as dump:
            for begin, end in ((int(begin, 16), int(end, 16)) for begin, end in spans):
                memory.seek(begin)
                dump.write(memory.read(end - begin))
        process.communicate()


def attribute(path: Path, secret: bytes) -> None:
    """A file with nothing in it, and an attribute."""
    path.touch()
    os.setxattr(path, "user.note", secret)


def name(path: Path, secret: bytes) -> None:
    path.with_name(f"{path.name} {secret.decode()}").touch()


def link(path: Path, secret: bytes) -> None:
    path.symlink_to(f"/nowhere/{secret.decode()}")


def written(change: Callable[[bytes], bytes]) -> Callable[[Path, bytes], None]:
    """A file with something before and after."""

    def write(path: Path, secret: bytes) -> None:
        path.write_bytes(b"\0before " + change(secret) + b" after\n")

    return write


def base64_after(before: int) -> Callable[[bytes], bytes]:
    return lambda secret: b64encode(bytes(range(1, 1 + before)) + secret + b"!")


PLACES: Final[dict[str, Callable[[Path, bytes], None]]] = {
    "node.log": written(lambda secret: b"INFO node.app: asked for " + secret.upper()),
    "a freed page.db": freed_page,
    "a log.db": write_ahead_log,
    ".guards.abcdefgh": written(bytes),
    "core": core_dump,
    "an attribute": attribute,
    "a name": name,
    "a link": link,
    "UTF-16": written(lambda secret: secret.decode().encode("utf-16-le")),
    "UTF-16 big-endian": written(lambda secret: secret.decode().encode("utf-16-be")),
    "digits": written(lambda secret: secret.hex().encode()),
    "percent": written(lambda secret: "".join(f"%{byte:02X}" for byte in secret).encode()),
    "quoted": written(lambda secret: quote_from_bytes(secret, safe="").encode()),
    "numbers": written(lambda secret: json.dumps([*secret]).encode()),
    "base64": written(base64_after(0)),
    "base64, one on": written(base64_after(1)),
    "base64, two on": written(base64_after(2)),
    "gzip": written(lambda secret: gzip.compress(b"x" * 100 + secret + bytes(100))),
    "zlib": written(lambda secret: zlib.compress(bytes(100) + secret, 9)),
    "zlib, cut off": written(lambda secret: zlib.compress(secret + os.urandom(20_000))[:9_000]),
    "gzip in zlib": written(lambda secret: zlib.compress(b"y" + gzip.compress(secret))),
}
"""Where, and how it comes there."""

ADDRESSES: Final[dict[str, Callable[[str], bytes]]] = {
    "text": str.encode,
    "bytes": lambda text: ip_address(text).packed,
    "backwards": lambda text: ip_address(text).packed[::-1],
    "number": lambda text: str(int(ip_address(text))).encode(),
    "digits": lambda text: ip_address(text).packed.hex().encode(),
    "name": lambda text: ip_address(text).reverse_pointer.encode(),
    "UTF-16": lambda text: text.encode("utf-16-le"),
    "base64": lambda text: b64encode(b"ip=" + text.encode()),
}
"""How an address is written."""


def plant(folder: Path, secret: str) -> list[str]:
    """Put a secret into every place, below a folder that is made; returns their names, which files begin with."""
    folder.mkdir()
    for place, put in PLACES.items():
        put(folder / place, secret.encode())
    return list(PLACES)


def plant_addresses(folder: Path, *addresses: str) -> list[str]:
    """Put addresses into files, in all ways to write one; returns the names of the files."""
    folder.mkdir()
    names = []
    for address in addresses:
        for way, write in ADDRESSES.items():
            names.append(f"{way} {ip_address(address).version}")
            (folder / names[-1]).write_bytes(b"\xff " + write(address) + b" \xff")
    return names
