"""Two ways to bring up a child: a fork of this process, which has everything imported, or a program of its own.

A fork is up with a small part of the work. It takes no thread along, and some libraries of macOS break in it. So forks
are made before this process has a thread, an event loop or an engine, and only where the kernel tells of their end.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from core.processes import environment_without_settings
from node.config import ENVIRONMENT_PREFIX, PARENT_FD_ENV

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import NoReturn

_ARGUMENTS_BYTES: Final = 65_536
"""More than arguments are: a few options and the path of a home, which Linux limits to 4,096 bytes."""


class Process(Protocol):
    """A process that was started, as `asyncio.subprocess.Process` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def returncode(self) -> int | None:
        """Exit code, negative signal number, or None while it runs."""

    def send_signal(self, signal: int) -> None:
        """Send it a signal.

        Raises:
            ProcessLookupError: it is gone.
        """

    async def wait(self) -> int:
        """Wait until it ends, and return its `returncode`."""


class Starter(Protocol):
    """What starts children.

    Each has no terminal, no settings of this process's environment, and in `MACROVPN_PARENT_FD` the number of a file
    descriptor that comes to its end when this process ends, however it ends, or lets go.
    """

    async def start(self, arguments: Sequence[str], log: int) -> Process:
        """Start one, whose output goes to a file descriptor.

        Raises:
            OSError: it cannot be started.
        """

    def let_go(self) -> None:
        """Bring to its end what every child can watch, and start no more. May be called again."""


class Programs:
    """Starts each child as a program.

    Args:
        program: the command, before arguments.
        folder: the folder that it starts in.
    """

    def __init__(self, program: Sequence[str], folder: Path) -> None:
        self._program = tuple(program)
        self._folder = folder
        self._read_fd, self._write_fd = os.pipe()
        self._environment = environment_without_settings()
        self._environment[PARENT_FD_ENV] = str(self._read_fd)

    async def start(self, arguments: Sequence[str], log: int) -> Process:
        return await asyncio.create_subprocess_exec(
            *self._program,
            *arguments,
            cwd=self._folder,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(self._read_fd,),
            start_new_session=True,
        )

    def let_go(self) -> None:
        if self._write_fd >= 0:
            os.close(self._write_fd)
            os.close(self._read_fd)
            self._write_fd = -1


class Forks:
    """Starts each child as a fork of this process. They are made here, and wait until they are told what to do.

    A fork ends when this process does before that.

    Args:
        count: how many children there will be.
        main: what each runs with its arguments; a number in its `SystemExit` is the exit code.
        folder: the folder that each starts in.

    Raises:
        OSError: there may not be so many.
    """

    def __init__(self, count: int, main: Callable[[list[str]], object], folder: Path) -> None:
        self._waiting: list[tuple[int, socket.socket]] = []
        self._lines: list[socket.socket] = []
        gc.freeze()  # so that no collection writes to what the processes share
        for _ in range(count):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._lines.append(ours)
            pid = os.fork()
            if pid == 0:
                for line in self._lines:
                    line.close()
                _become(theirs, main, folder)
            theirs.close()
            self._waiting.append((pid, ours))

    async def start(self, arguments: Sequence[str], log: int) -> Process:
        pid, line = self._waiting.pop(0)
        socket.send_fds(line, [json.dumps(list(arguments)).encode()], [log])
        return _Fork(pid)

    def let_go(self) -> None:
        for line in self._lines:
            line.close()
        for pid, _ in self._waiting:
            os.waitpid(pid, 0)
        self._waiting.clear()


class _Fork:
    """A child that was told what to do."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._watched_fd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._watched_fd, self._collect)

    def _collect(self) -> None:
        asyncio.get_running_loop().remove_reader(self._watched_fd)
        os.close(self._watched_fd)
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._ended.set()

    def send_signal(self, signal: int) -> None:
        if self.returncode is not None:
            raise ProcessLookupError  # its number may be another's
        os.kill(self.pid, signal)

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode


def can_fork() -> bool:
    """Whether this system is one for `Forks`: Linux from 5.3 on."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _become(line: socket.socket, main: Callable[[list[str]], object], folder: Path) -> NoReturn:
    """Be a child from here on: wait for arguments, run, and end without a return to what the parent was doing."""
    code = 1
    try:
        os.setsid()
        told, received, _, _ = socket.recv_fds(line, _ARGUMENTS_BYTES, 1)
        if told:
            _take_place(received[0], line.fileno(), folder)
            main(json.loads(told))
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def _take_place(log: int, line: int, folder: Path) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for place, fd in enumerate((null, log, log)):
        os.dup2(fd, place)
    os.close(null)
    os.close(log)
    os.chdir(folder)
    for name in filter(_is_setting, list(os.environ)):
        del os.environ[name]
    os.environ[PARENT_FD_ENV] = str(line)


def _is_setting(name: str) -> bool:
    return name.startswith(ENVIRONMENT_PREFIX)
