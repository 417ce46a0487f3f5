"""A terminal that a program draws on, and the frames that it has drawn."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
import threading
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

_ERASED: Final = "\x1b[2K"
"""Erases a line, which whoever draws anew does with each line of the frame before."""
_ORDERS: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudoterminal.

    Args:
        columns: its width.
        lines: its height.

    Attributes:
        output: the file descriptor for the program.
    """

    def __init__(self, columns: int, lines: int) -> None:
        self._own, self.output = pty.openpty()
        fcntl.ioctl(self.output, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._drawn = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        try:
            while data := os.read(self._own, 1 << 16):
                self._drawn += data
        except OSError:
            """Nobody has the other side open any more."""

    @property
    def text(self) -> str:
        """All that was drawn, without the orders to the terminal."""
        return _ORDERS.sub("", self._drawn.decode(errors="ignore"))

    @property
    def frame(self) -> list[str]:
        """The lines of the newest frame that is whole, since another was drawn over it; empty before there is one."""
        pieces = [_ORDERS.sub("", piece).strip() for piece in self._drawn.decode(errors="ignore").split(_ERASED)[:-1]]
        newest = next((piece for piece in reversed(pieces) if piece), "")
        return [line.rstrip() for line in newest.splitlines()]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.output)
        self._thread.join(5)
        os.close(self._own)
