"""A session with the real wireguard-go that lives longer than 120 s, in a process that runs beside the other tests.

`python -m tests.interop.aged` prints what happened, as JSON. `Aged` is that process, seen from the tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.interop.namespace import OUR_INNER, THEIR_INNER, Beside, icmp
from tunnel.wireguard.session import OVERHEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]
PINGS: Final = 560
PING_EVERY_S: Final = 0.2
"""Together 112 s, after 10 s of silence and what a busy machine adds; `beyond` makes sure that it is enough."""
LIMIT_S: Final = 170.0


@dataclass(frozen=True)
class Outcome:
    """What happened.

    Args:
        quiet_s: from a packet of ours that nothing answers to the keepalive of wireguard-go, in seconds.
        initiations_s: when its initiations came, in seconds after the first.
        sent: how many messages of each type we sent; the keys are the types.
        receivers: the indices that its type-4 messages named, each run of equal ones once.
        sessions: the indices that we gave out in our responses.
        pings: how many echo requests were sent and how many were answered.
        after: how many of them came over the last session.
        dropped: what our device refused.
    """

    quiet_s: float
    initiations_s: list[float]
    sent: dict[str, int]
    receivers: list[int]
    sessions: list[int]
    pings: tuple[int, int]
    after: int
    dropped: dict[str, int]


def _index_at(message: bytes, offset: int) -> int:
    return int.from_bytes(message[offset : offset + 4], "little")


class _Life:
    """One run: wireguard-go begins, waits, and goes on pinging until well after its own rekey."""

    def __init__(self, beside: Beside) -> None:
        self.beside = beside
        self.initiations_s: list[float] = []
        self._asked = self._answered = 0
        beside.lose = self._note

    def _note(self, way: str, message: bytes) -> bool:
        if (way, message[0]) == ("in", 1):
            self.initiations_s.append(time.monotonic())
        return False

    def run(self) -> Outcome:
        self._ping(3)
        quiet_s = self._silence()
        while not self._beyond():
            self._ping(PINGS if len(self.initiations_s) < 2 else 20)
        seen = self.beside.seen
        named = [_index_at(message, 4) for way, message in seen if (way, message[0]) == ("in", 4)]
        sent = Counter(str(kind) for kind in self.beside.kinds("out"))
        return Outcome(
            quiet_s,
            [round(one - self.initiations_s[0], 3) for one in self.initiations_s],
            dict(sent),
            [index for index, _ in groupby(named)],
            [_index_at(message, 4) for way, message in seen if (way, message[0]) == ("out", 2)],
            (self._asked, self._answered),
            sum(index == named[-1] for index in named),
            dict(self.beside.device.dropped),
        )

    def _beyond(self) -> bool:
        """Whether the second session has carried data for a while."""
        return len(self.initiations_s) > 1 and time.monotonic() - self.initiations_s[1] > 3

    def _ping(self, count: int) -> None:
        """Let the kernel in the namespace ping us and answer it; end early once it is clear what happens."""
        command = self.beside.inside("ping", "-c", str(count), "-i", str(PING_EVERY_S), "-W", "8", OUR_INNER)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            stopped = False

            def over() -> bool:
                nonlocal stopped
                self.beside.answer_echo()
                if self._beyond() and not stopped:
                    # Told so, ping ends with its summary.
                    process.send_signal(signal.SIGINT)
                    stopped = True
                return process.poll() is not None

            try:
                self.beside.until(over, LIMIT_S)
            finally:
                process.kill()
            assert process.stdout is not None
            self._count(process.stdout.read())

    def _count(self, printed: str) -> None:
        (line,) = (line for line in printed.splitlines() if "packets transmitted" in line)
        words = line.split()
        self._asked += int(words[0])
        self._answered += int(words[3])

    def _silence(self) -> float:
        """Send an echo reply that nobody asked for. The kernel says nothing to it, so a keepalive is due."""
        before = len(self.beside.seen)
        started = time.monotonic()
        self.beside.send(icmp(0, OUR_INNER, THEIR_INNER, bytes(8)))

        def keepalives() -> Iterator[bytes]:
            new = self.beside.seen[before:]
            return (message for way, message in new if way == "in" and len(message) == OVERHEAD_BYTES)

        self.beside.until(lambda: any(keepalives()), 20)
        return time.monotonic() - started


class Aged:
    """The process. Start it early and ask for its `outcome` late."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def outcome(self) -> Outcome:
        """Wait for its end, and read what it printed."""
        printed, errors = self._process.communicate(timeout=LIMIT_S)
        assert self._process.returncode == 0, errors
        return Outcome(**json.loads(printed))

    def stop(self) -> None:
        """End it if it still runs; it removes its namespace itself."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.communicate(timeout=20)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    signal.signal(signal.SIGALRM, lambda number, frame: sys.exit("not over in time"))
    signal.alarm(round(LIMIT_S))
    with Beside(os.getpid() % 1000, they_know_us=True) as beside:
        json.dump(asdict(_Life(beside).run()), sys.stdout)


if __name__ == "__main__":
    main()
