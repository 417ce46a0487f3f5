"""Run a node in this process, or start and stop one in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.errors import MacroVpnError
from node.client import NodeClient, ask_status
from node.config import PARENT_FD_ENV
from node.files import HomeLock, HomeTakenError, lock_holder, make_home
from node.switch import is_left_off

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from node.settings import Settings
    from node.system_proxy import Held

START_LIMIT_S: Final = 30.0
STOP_LIMIT_S: Final = 10.0
KILL_LIMIT_S: Final = 5.0
PROMPT_S: Final = 1.0
"""A node for which nothing runs is gone within that time."""
_STEP_S: Final = 0.1
WATCH_S: Final = 1.0
LOG_NAME: Final = "node.log"
_LOG_TAIL_BYTES: Final = 4096


def program() -> tuple[list[str], Path]:
    """Name the program that runs this command line, and the folder to start it in.

    The folder is the one that holds these packages: `-m` looks there first, so that what lies in the folder of the
    user is never taken for them.
    """
    return [sys.executable, "-m", "node"], Path(__file__).resolve().parent.parent


def run_here(
    settings: Settings,
    home: Path,
    announce: Callable[[dict[str, Any]], None],
    watch: Callable[[dict[str, Any]], None] | None = None,
    *,
    overrides: Mapping[str, object] | None = None,
    system_proxy: bool = False,
) -> int:
    """Run the node until it is told to stop.

    Args:
        settings: its settings.
        home: its folder.
        announce: called once, from another thread, with the status when the node is up, blocked or switched off; its
            `pid` is added. Not called in a process that was started to be watched by its parent.
        watch: called every second after that with the status of then, also from the other thread.
        overrides: those settings that come from options of the command.
        system_proxy: the system's proxy settings shall point to this node meanwhile.

    Returns:
        The exit code.

    Raises:
        HomeTakenError: a node runs in this home already.
        MacroVpnError: the node cannot start, or the system's proxy settings cannot be set or put back.
    """
    home = make_home(home)
    lock = HomeLock(home)
    lock.acquire()
    try:
        # Nobody else can be running here, so what an earlier node left is not true any more.
        (home / "control.json").unlink(missing_ok=True)
        from node.app import run

        if PARENT_FD_ENV in os.environ:
            return run(settings, home, ready_fd=None, overrides=overrides)
        with (
            _system_proxy(settings, home) if system_proxy else nullcontext() as held,
            _announcing(home, announce, watch),
        ):
            return run(settings, home, ready_fd=None, overrides=overrides, system_proxy=held)
    finally:
        lock.release()


def _system_proxy(settings: Settings, home: Path) -> AbstractContextManager[Held]:
    from node.system_proxy import held

    return held(*settings.proxy.endpoint, taken=not is_left_off(home))


@contextmanager
def _announcing(
    home: Path, announce: Callable[[dict[str, Any]], None], watch: Callable[[dict[str, Any]], None] | None
) -> Iterator[None]:
    """Announce this process's node once it is up, show how it goes on, and have nothing of that left at the end: a
    thread that still runs while the process ends uses what is being taken down, and crashes it."""
    stopped = threading.Event()

    def wait() -> None:
        pid = os.getpid()
        while not stopped.is_set():
            status = ask_status(home, pid)
            if status is not None and status.get("state") in ("up", "blocked", "down"):
                announce(status | {"pid": pid})
                break
            stopped.wait(_STEP_S)
        while watch is not None and not stopped.wait(WATCH_S):
            if (status := ask_status(home, pid)) is not None:
                watch(status)

    thread = threading.Thread(target=wait, name="announce", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(STOP_LIMIT_S)


def start(arguments: Sequence[str], home: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Start a node in a process that outlives this one, and wait until it is up, or as far as one that is off comes.

    Args:
        arguments: the command and its options, without `--foreground` and `--home`.
        home: its folder; its log goes to `node.log` there.
        progress: told a line whenever the state changes.

    Returns:
        Its status, with its `pid` added.

    Raises:
        HomeTakenError: a node runs in this home already.
        MacroVpnError: it ended, is blocked, or is not up after half a minute.
    """
    home = make_home(home)
    holder = lock_holder(home)
    if holder is not None:
        raise HomeTakenError(home, holder)
    command, folder = program()
    log = os.open(home / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        child = subprocess.Popen(
            [*command, *arguments, "--foreground", "--home", str(home)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # addresses, secrets of the user's, and the network that the machine is on
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
    try:
        return _wait_until_up(child, home, progress) | {"pid": child.pid}
    finally:
        # It goes on without this process, which does not wait for its end.
        child.returncode = child.returncode or 0


def _wait_until_up(child: subprocess.Popen[bytes], home: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    shown = ""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if (code := child.poll()) is not None:
            raise MacroVpnError(f"The node ended with exit code {code}. {last_line(home)}")
        status = ask_status(home, child.pid) or {}
        state = str(status.get("state", "starting"))
        if state in ("up", "down"):
            return status
        if state == "blocked" and _looks_for_peers(status):
            state = "looking for peers"
        if state == "blocked":
            reason = str(status.get("reason") or "no reason was given").rstrip(".")
            raise MacroVpnError(f"The node runs and is blocked: {reason}.")
        if state != shown:
            progress(f"{state} …")
            shown = state
        time.sleep(_STEP_S)
    raise MacroVpnError(
        f"The node is not up after {START_LIMIT_S:.0f} s ({shown}). It goes on trying: see `macrovpn status`."
    )


def _looks_for_peers(status: dict[str, Any]) -> bool:
    """Whether a node knows nobody yet and asks the DHT, which takes longer than a node calls itself `connecting`."""
    return status.get("dht") == "on" and not status.get("peers")


def last_line(home: Path) -> str:
    """Return the last line of a node's log, for an error; empty without one."""
    try:
        with open(home / LOG_NAME, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def stop(home: Path, progress: Callable[[str], None] = lambda line: None) -> bool:
    """Ask the node of a home to stop, and wait until its process is gone.

    Args:
        home: its folder.
        progress: told a line when others still use the node.

    Returns:
        False when no node ran there.

    Raises:
        MacroVpnError: it is still there after being asked, then told, to stop.
    """
    pid = lock_holder(home)
    if pid is None:
        return False
    with suppress(MacroVpnError):
        drain_s = NodeClient(home).stop()
        if _gone(home, min(PROMPT_S, STOP_LIMIT_S)):
            return True
        if drain_s:
            progress(f"What runs for others may go on for {drain_s:.0f} s. Ask again to stop at once.")
        if _gone(home, drain_s + STOP_LIMIT_S):
            return True
    # The lock is held by a live process that wrote its id there: it is this home's node and no other process.
    # The first signal may begin what the second one ends.
    for limit_s in (min(PROMPT_S, KILL_LIMIT_S), KILL_LIMIT_S):
        pid = lock_holder(home)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if _gone(home, limit_s):
            return True
    raise MacroVpnError(f"The node in {home} (process {pid}) does not stop.")


def _gone(home: Path, limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if lock_holder(home) is None:
            return True
        time.sleep(_STEP_S)
    return False
