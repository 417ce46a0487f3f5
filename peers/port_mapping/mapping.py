"""A mapping, how it fails, and what can ask for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from core.errors import MacroVpnError

if TYPE_CHECKING:
    from peers.addresses import Address

LIFETIME_S: Final = 3600
"""What is asked for. RFC 6886 proposes two hours; with one, a port that a crash leaves open is closed sooner."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """What a gateway promises.

    Args:
        address: the external address and port.
        lifetime_s: for how many seconds, 1 or more.
    """

    address: Address
    lifetime_s: int


class MappingError(MacroVpnError):
    """The gateway does not map the port.

    Args:
        protocol: how it was asked.
        problem: a short constant phrase, without anything that came from the gateway but a number.
    """

    def __init__(self, protocol: str, problem: str) -> None:
        super().__init__(f"{protocol}: {problem}")
        self.protocol = protocol
        self.problem = problem


class Mapper(Protocol):
    """One way to ask one gateway for one port."""

    async def map(self) -> Mapping:
        """Ask for the mapping, or for more time for it.

        Raises:
            MappingError: it was refused, or nobody answered in time.
        """

    async def stands(self) -> bool:
        """Ask whether the gateway still knows the mapping, without changing anything there.

        Raises:
            MappingError: nobody answered in time.
        """

    async def unmap(self) -> None:
        """Delete the mapping.

        Raises:
            MappingError: it was refused, or nobody answered in time.
        """

    def close(self) -> None:
        """Let go of the socket. The mapping stays."""
