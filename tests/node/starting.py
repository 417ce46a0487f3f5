"""A program that starts children in one way and prints as JSON how each ended and what it said.

Arguments: `forks` or `programs`. Children get `child` and what to do. A module of its own, since a fork of the tests'
own process would take along what runs there.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import ssl
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from node.config import PARENT_FD_ENV
from node.starters import Forks, Programs, Starter
from peers.identity import Identity

ROOT = Path(__file__).resolve().parents[2]
CHILDREN = ("tells", "tells again", "returns", "ends with 7", "raises", "is killed", "is let go")


def child(arguments: list[str]) -> None:
    match arguments[-1]:
        case "tells" | "tells again":
            print(json.dumps(_facts()))
        case "ends with 7":
            sys.exit(7)
        case "raises":
            raise ValueError("a mistake")
        case "is killed":
            os.abort()
        case "is let go":
            sys.exit(len(os.read(int(os.environ[PARENT_FD_ENV]), 1)) or 5)


def _facts() -> dict[str, object]:
    return {
        "leads": [os.getpid() == os.getsid(0), os.getpid() == os.getpgid(0)],
        "input": sys.stdin.read(),
        "folder": os.getcwd(),
        "settings": [name for name in os.environ if name.startswith("MACROVPN_")],
        "kept": os.environ.get("KEPT", ""),
        "files": len(os.listdir("/proc/self/fd")) - 1,  # without that of the list
        "chance": [random.random(), ssl.RAND_bytes(8).hex(), Identity.ephemeral().peer_id],
    }


async def _run(starter: Starter) -> dict[str, object]:
    with TemporaryDirectory() as folder:
        logs = {name: Path(folder, name) for name in CHILDREN}
        processes = {}
        for name, log in logs.items():
            with log.open("wb") as output:
                processes[name] = await starter.start([name], output.fileno())
        last = processes.pop(CHILDREN[-1])
        codes = {name: await process.wait() for name, process in processes.items()}
        running = last.returncode is None
        starter.let_go()
        codes[CHILDREN[-1]] = await last.wait()
        try:
            last.send_signal(signal.SIGTERM)
        except ProcessLookupError:
            said = {name: log.read_text() for name, log in logs.items()}
            return {"codes": codes, "running": running, "said": said}
        raise AssertionError("a signal went to a process that is gone")


def main() -> None:
    how, *what = sys.argv[1:]
    if how == "child":
        child(what)
        return
    os.chdir("/")
    program = [sys.executable, "-m", "tests.node.starting", "child"]
    starter = Programs(program, ROOT) if how == "programs" else Forks(len(CHILDREN) + 1, child, ROOT)
    print(json.dumps(asyncio.run(_run(starter))), flush=True)
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("none is left")


if __name__ == "__main__":
    main()
