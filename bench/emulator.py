"""Runs `emulator.c`: namespaces joined over a network that is far away. Needs root and gcc."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DEVICE: Final = "far0"
_SOURCE: Final = Path(__file__).with_name("emulator.c")
_STOP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Emulation:
    """What lies between two namespaces.

    Args:
        delay_ms: one way.
        rate_mbit: of each namespace's line, each way; 0 for no limit.
        queue_ms: what would wait longer for a line is dropped.
        loss: share of packets that get lost, 0 to 1.
        seed: decides which.
    """

    delay_ms: float = 20.0
    rate_mbit: float = 100.0
    queue_ms: float = 100.0
    loss: float = 0.0
    seed: int = 1

    @property
    def words(self) -> list[str]:
        """As `emulator.c` takes it."""
        return [str(value) for value in (self.delay_ms, self.rate_mbit, self.queue_ms, self.loss, self.seed)]


@contextmanager
def joined(emulation: Emulation, places: Iterable[tuple[str, str]]) -> Iterator[None]:
    """Give each namespace a device, called `DEVICE`, and carry packets between them.

    Args:
        emulation: what lies between them.
        places: namespace and IPv4 address of each.
    """
    with TemporaryDirectory() as folder:
        program = Path(folder) / "emulator"
        subprocess.run(["gcc", "-O2", "-o", str(program), str(_SOURCE)], check=True)
        words = [*emulation.words, DEVICE, *(f"{namespace}={address}" for namespace, address in places)]
        with subprocess.Popen([program, *words], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                if process.stdout.readline() != "ready\n":
                    raise SystemExit("the emulator did not get ready")
                yield
            finally:
                process.terminate()
                process.wait(_STOP_S)
