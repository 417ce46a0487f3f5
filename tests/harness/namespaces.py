"""Network namespaces: made, entered and removed by the `ip` command. Needs Linux and root."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


def why_not(*programs: str) -> str:
    """Say what is missing here, in words; empty if nothing is.

    Args:
        programs: what is needed beside `ip`.
    """
    missing = [program for program in ("ip", *programs) if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    name = f"probe{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
        return "network namespaces cannot be made here (needs root)"
    delete(name)
    return ""


def run(*command: str, text: str = "") -> str:
    """Run a command to its end, at most 10 s, and return what it printed.

    Raises:
        AssertionError: it failed.
    """
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def ip(*arguments: str) -> None:
    """Run `ip`, which must succeed."""
    run("ip", *arguments)


def enter(namespace: str) -> tuple[str, ...]:
    """The words before a command that runs in a namespace."""
    return ("ip", "netns", "exec", namespace)


def inside[Result](name: str, work: Callable[[], Result]) -> Result:
    """Do something, for at most 10 s, in a thread of this process that stands in a namespace.

    A socket that is made there stays there, and can be used from anywhere.

    Raises:
        AssertionError: it failed, or took longer.
    """
    done: list[Result] = []

    def enter_and_work() -> None:
        handle = os.open(f"/run/netns/{name}", os.O_RDONLY)
        os.setns(handle, os.CLONE_NEWNET)
        os.close(handle)
        done.append(work())

    thread = threading.Thread(target=enter_and_work)
    thread.start()
    thread.join(10)
    assert done, "it failed, or did not end"
    return done[0]


def add(name: str) -> None:
    """Make a namespace in which loopback works."""
    ip("netns", "add", name)
    ip("-n", name, "link", "set", "lo", "up")


def delete(name: str) -> None:
    """Remove a namespace, if there is one of this name."""
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def put_up(namespace: str, device: str, address: str) -> None:
    """Give a device of a namespace an address, and switch it on.

    Args:
        namespace: where the device is.
        device: its name.
        address: with the length of the prefix.
    """
    ip("-n", namespace, "address", "add", address, "dev", device)
    ip("-n", namespace, "link", "set", device, "up")


class Built(ABC):
    """What stands in namespaces. It is removed when its context is left, and when building it fails."""

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._tear_down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tear_down()

    @abstractmethod
    def _build(self) -> None: ...

    @abstractmethod
    def _tear_down(self) -> None:
        """Remove what there is, which may be a part."""
