"""Which functions a thread was in, out of the stacks that `py-spy` sampled."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_STARTED: Final = "Sampling process"


def program() -> str | None:
    """Where py-spy is; it comes with the development tools."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


def parse(text: str) -> dict[int, Counter[tuple[str, ...]]]:
    """Read collapsed stacks, outermost frame first, and how often each was seen.

    Args:
        text: lines of frames with `;` between them, the first `thread (NUMBER)` and perhaps a name, and a count at
            the end.

    Returns:
        By the system's number of each thread.
    """
    threads: dict[int, Counter[tuple[str, ...]]] = {}
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        first, *rest = frames.split(";")
        number = int(first.partition("(")[2].partition(")")[0])
        threads.setdefault(number, Counter())[tuple(rest)] += int(count)
    return threads


def top(stacks: Mapping[tuple[str, ...], int], count: int) -> list[dict[str, Any]]:
    """The functions with most time of their own, and their share of all samples alone and with what they called."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for frames, seen in stacks.items():
        own[frames[-1] if frames else "?"] += seen
        whole.update(dict.fromkeys(frames, seen))
    total = max(1, sum(stacks.values()))
    return [
        {
            "function": name,
            "own_percent": round(100 * seen / total, 1),
            "all_percent": round(100 * whole[name] / total, 1),
        }
        for name, seen in own.most_common(count)
    ]


def samples_in(stacks: Mapping[tuple[str, ...], int], files: tuple[str, ...], carriers: tuple[str, ...] = ()) -> int:
    """How many samples were in some files, or in what those called.

    Args:
        stacks: as `parse` gives them.
        files: how their paths begin.
        carriers: the same of files that do other work when they are called by `files`.
    """
    return sum(seen for frames, seen in stacks.items() if _is_in([_path(frame) for frame in frames], files, carriers))


def _path(frame: str) -> str:
    return frame.rpartition("(")[2]


def _is_in(paths: list[str], files: tuple[str, ...], carriers: tuple[str, ...]) -> bool:
    entered = next((place for place, path in enumerate(paths) if path.startswith(files)), None)
    return entered is not None and not any(path.startswith(carriers) for path in paths[entered:])


class Recording:
    """Samples of several processes, by name; filled when the recording has ended.

    Attributes:
        stacks: of main threads.
        beside: of all other threads that run Python, by the system's number of each.
    """

    def __init__(self) -> None:
        self.stacks: dict[str, Counter[tuple[str, ...]]] = {}
        self.beside: dict[str, dict[int, Counter[tuple[str, ...]]]] = {}


@contextmanager
def recorded(pids: Mapping[str, int], per_s: int) -> Iterator[Recording]:
    """Sample the threads of processes while the block runs.

    Args:
        pids: processes by name.
        per_s: samples per second. Each stops the process for a moment.

    Raises:
        SystemExit: py-spy is missing, or may not look into these processes.
    """
    spy = program()
    if spy is None:
        raise SystemExit("py-spy is not installed; `make setup` installs it on Linux")
    made = Recording()
    with TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in pids}
        running = [_spy(spy, pid, files[name], per_s) for name, pid in pids.items()]
        try:
            yield made
        finally:
            for process in running:
                process.send_signal(signal.SIGINT)
            for process in running:
                process.communicate()
        for name, file in files.items():
            if file.exists():
                threads = parse(file.read_text())
                made.stacks[name] = threads.pop(pids[name], Counter())  # a main thread has the process's number
                made.beside[name] = threads
    if len(made.stacks) < len(pids):
        raise SystemExit("py-spy gave no samples; it needs the right to trace these processes (root, for instance)")


def _spy(spy: str, pid: int, file: Path, per_s: int) -> subprocess.Popen[str]:
    """Start py-spy and wait until it samples, or has ended."""
    options = ["--format", "raw", "--function", "--threads", "--rate", str(per_s), "--output", str(file)]
    process = subprocess.Popen(
        [spy, "record", "--pid", str(pid), *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if _STARTED in line:
            break
    return process
