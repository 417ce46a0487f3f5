"""A laptop whose node is put to sleep as a machine is: it does nothing, and by its own clock no time passes.

What a sleeping machine has of it and a stopped process has not is the clock: CLOCK_MONOTONIC, by which a node waits,
stands still, while its peers wait on. `asleep.c` does that to the node. The rest of the machine is awake, so programs
connect to its port meanwhile.
"""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.harness.demo import ROOT, status_of, until
from tests.harness.namespaces import inside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.roaming import Journey

NET: Final = ("--network", "home")
START_S: Final = 40.0
_SOURCE: Final = Path(__file__).with_name("asleep.c")


def compiled(folder: Path) -> Path:
    """Make the library in a folder, and return its file."""
    library = folder / "asleep.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE)], check=True)
    return library


class Sleeper:
    """The laptop's node, one hop from the exit on the Internet.

    Args:
        journey: where the laptop is.
        folder: for files.
    """

    def __init__(self, journey: Journey, folder: Path) -> None:
        self._journey = journey
        self._folder = folder
        self._slept = folder / "slept"
        self._slept_ns = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.proxy = ""

    def __enter__(self) -> Self:
        self._slept.write_bytes(struct.pack("q", 0))
        exit_, laptop = self._journey.internet, self._journey.laptop
        where = ("--address", exit_.address, "--port", "4433", "--allow-destination", f"{exit_.address}/32")
        exit_.command("network", "create", "home")
        exit_.command("share", *NET, "--role", "exit", *where, "--background")
        laptop.command("network", "join", exit_.command("network", "invite", "home")["invite"])
        up = (sys.executable, "-m", "node", "up", *NET, "--hops", "1", "--foreground", "--home", str(laptop.home))
        clock = {"LD_PRELOAD": str(compiled(self._folder)), "ASLEEP_FILE": str(self._slept)}
        self._process = subprocess.Popen(
            laptop.inside("env", *(f"{name}={value}" for name, value in clock.items()), *up),
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        home = laptop.home / "networks" / "home"
        self.proxy = until("the node", lambda: inside(laptop.name, partial(status_of, home)).get("proxy"), START_S)
        self.until_it_works(START_S)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGCONT)
            self._process.terminate()
            self._process.wait(20)

    def until_it_works(self, limit_s: float) -> float:
        """Ask for the page until it comes through the tunnel; returns after how many seconds that was."""
        began, journey = time.monotonic(), self._journey
        until("the tunnel", lambda: journey.laptop.curl(journey.page, self.proxy) == journey.internet.address, limit_s)
        return time.monotonic() - began

    @contextmanager
    def fetching(self, path: str) -> Iterator[subprocess.Popen[bytes]]:
        """Ask for a page through the node, and do not wait for it."""
        page = f"{self._journey.page}{path}"
        command = self._journey.laptop.inside("curl", "-sN", "--proxy", f"socks5h://{self.proxy}", page)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def asleep(self, seconds: float) -> Iterator[None]:
        """Sleep; what is done inside is done meanwhile, and belongs to these seconds."""
        assert self._process is not None
        began = time.monotonic()
        os.kill(self._process.pid, signal.SIGSTOP)
        yield
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        self._slept_ns += int((time.monotonic() - began) * 1e9)
        self._slept.write_bytes(struct.pack("q", self._slept_ns))
        os.kill(self._process.pid, signal.SIGCONT)
