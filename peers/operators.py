"""Whom a peer says that it is run by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from peers.descriptor import Descriptor

OPERATOR_TAG: Final = 11
MAX_OPERATOR_BYTES: Final = 32


def operator_of(descriptor: Descriptor) -> bytes:
    """Return the operator that a descriptor names, 1 to 32 bytes; empty when it names none, or not properly."""
    value = next((value for tag, value in descriptor.unknown if tag == OPERATOR_TAG), b"")
    return value if len(value) <= MAX_OPERATOR_BYTES else b""
