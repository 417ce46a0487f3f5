"""Why something did not work: one word for the wire and for counters, one sentence for people."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Reason(IntEnum):
    """Why a flow, a circuit or a link ended or was refused. The number is one byte on the wire."""

    DONE = 0
    REFUSED = 1
    HOST_UNREACHABLE = 2
    NETWORK_UNREACHABLE = 3
    NOT_ALLOWED = 4
    TIMED_OUT = 5
    NO_NAME = 6
    BUSY = 7
    CLOSED = 8
    PROTOCOL = 9
    NO_PATH = 10
    NEXT_HOP = 11
    UNKNOWN_PEER = 12
    RESET = 13
    LOCAL = 14
    LIMIT = 15
    LEAVING = 16
    NOT_SERVED = 17
    INSIDE = 18
    SITE_OPTIONS = 19
    UNPAID = 20
    PRICE = 21
    NO_CHANNEL = 22
    SPENDING_CAP = 23
    COUNTS_DIFFER = 24
    BAD_VOUCHER = 25
    NO_FUNDS = 26
    NOT_OPEN = 27
    TOO_EARLY = 28
    SETTLEMENT = 29

    @property
    def word(self) -> str:
        """The lower-case word that counters and logs use."""
        return self.name.lower()

    @property
    def sentence(self) -> str:
        """What happened, in words for the user."""
        return _SENTENCES[self]

    @classmethod
    def from_wire(cls, code: int) -> Reason:
        """Read a byte from a peer; a code that this version does not know is `PROTOCOL`."""
        try:
            return cls(code)
        except ValueError:
            return cls.PROTOCOL


_SENTENCES: Final = {
    Reason.DONE: "The connection ended.",
    Reason.REFUSED: "The destination refused the connection.",
    Reason.HOST_UNREACHABLE: "The destination cannot be reached from the exit.",
    Reason.NETWORK_UNREACHABLE: "The exit has no route to the destination's network.",
    Reason.NOT_ALLOWED: "The exit does not allow this destination.",
    Reason.TIMED_OUT: "The destination did not answer in time.",
    Reason.NO_NAME: "The exit could not find this host name.",
    Reason.BUSY: "A peer on the path is at its limit.",
    Reason.CLOSED: "The path was closed.",
    Reason.PROTOCOL: "A peer on the path broke the protocol.",
    Reason.NO_PATH: "No path to an exit could be built, so nothing was sent.",
    Reason.NEXT_HOP: "A peer on the path could not reach the next one.",
    Reason.UNKNOWN_PEER: "A peer on the path does not know the next one.",
    Reason.RESET: "The destination reset the connection.",
    Reason.LOCAL: "The program on this machine closed the connection.",
    Reason.LIMIT: "A peer on the path has shared as much as its operator allows.",
    Reason.LEAVING: "A peer on the path is about to stop.",
    Reason.NOT_SERVED: "None of the known exits serves this port, so none was asked.",
    Reason.INSIDE: "This is no address of the public Internet, so no exit was asked.",
    Reason.SITE_OPTIONS: "No path meets what your rules want for this site, so nothing was sent.",
    Reason.UNPAID: "A peer on the path was not paid for it, so it carried nothing more.",
    Reason.PRICE: "A peer on the path asks more than it was offered.",
    Reason.NO_CHANNEL: "A peer on the path has no payment channel to the next one yet.",
    Reason.SPENDING_CAP: "Your spending cap is reached, so nothing was sent.",
    Reason.COUNTS_DIFFER: "A peer counts far more bytes than came, so it is paid nothing more.",
    Reason.BAD_VOUCHER: "The voucher is not signed by who must sign it.",
    Reason.NO_FUNDS: "The wallet does not hold what the channel needs; on a chain, gas comes on top.",
    Reason.NOT_OPEN: "The payment channel is closing or closed.",
    Reason.TOO_EARLY: "The payee still has time to claim.",
    Reason.SETTLEMENT: "The ledger that holds the payment channels does not answer.",
}


class MacroVpnError(Exception):
    """Root of every error that this project raises on purpose. `str()` is fit for a person to read."""


class ConfigError(MacroVpnError):
    """A setting is wrong.

    Args:
        where: the setting's name, or file and line.
        problem: what is wrong and what would be right, without a full stop.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}.")
        self.where = where
        self.problem = problem


class DecodeError(MacroVpnError):
    """Bytes from outside do not have the form they must have.

    Args:
        what: the thing that was being read, such as `descriptor`.
        problem: a short constant phrase; never a value out of the bytes.
    """

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(f"{what}: {problem}")
        self.what = what
        self.problem = problem


class _ReasonError(MacroVpnError):
    """An error at one place of the path, with its `Reason`."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.sentence)
        self.reason = reason


class LinkError(_ReasonError):
    """A link to a neighbour could not be made, or ended."""


class CircuitError(_ReasonError):
    """A circuit could not be built, or ended.

    Args:
        reason: why.
        hop: the place on the path that reports it, 0 for the guard, -1 for this node itself; None when unknown.
    """

    def __init__(self, reason: Reason, hop: int | None = None) -> None:
        super().__init__(reason)
        self.hop = hop


class NotYetError(CircuitError):
    """No path is drawn now, because more peers are about to be heard of. Whoever can wait may ask again."""

    def __init__(self) -> None:
        super().__init__(Reason.NO_PATH)


class PaymentError(_ReasonError):
    """Something about money is refused; nothing was changed.

    Args:
        reason: why.
        sentence: the same in words, from whoever knows more than the reason says.
    """

    def __init__(self, reason: Reason, sentence: str = "") -> None:
        super().__init__(reason)
        if sentence:
            self.args = (sentence,)


class StoreError(MacroVpnError):
    """What must be kept of payments could not be written, so nothing of it may be acknowledged.

    Args:
        problem: what happened and what to do, without a full stop; no amount and no path.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(f"Payments cannot be stored: {problem}.")


class FlowError(_ReasonError):
    """A flow could not be opened, or was reset."""
