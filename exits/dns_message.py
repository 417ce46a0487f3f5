"""What is asked of a DNS server, and what is made of its answer: messages only, no network.

An answer comes from whoever runs the asked name, who may be hostile: reading one costs a few milliseconds at most,
whatever is in it, and only records on the way from the asked name are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, Final

import dns.exception
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from core.errors import Reason

if TYPE_CHECKING:
    from exits.addresses import Address

MAX_MESSAGE_BYTES: Final = 65535
"""Longest DNS message where its length stands before it in two bytes (RFC 1035, section 4.2.2)."""

MAX_FAMILY_ADDRESSES: Final = 8
"""Most addresses of one family that are kept of an answer, in the server's order."""

MAX_ANSWER_RECORDS: Final = 64
"""Records of an answer that are read. A full message holds 4,000; to read them all takes 0.1 to 0.6 s, during which the
event loop does nothing else."""

_MAX_OTHER_RECORDS: Final = 8
"""Records that are read of each section behind the answer: the SOA record that says how long "no" is true, EDNS."""

_UDP_BYTES: Final = 1232
"""Largest answer asked for over UDP: it is not cut into fragments (RFC 9715, section 3.1)."""

_PADDED_BYTES: Final = 128
"""Encrypted queries are padded to a multiple of so many bytes (RFC 8467, section 4.1)."""

_COUNTS: Final = Struct("!6xHHH")
"""How many records the answer, authority and additional sections hold, in a message's header."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became known of a name.

    Args:
        addresses: unchecked, as the server ordered them.
        ttl_s: how long it is true, in seconds, as the server says; 0 where nothing is known.
        reason: why there are no addresses; `DONE` if there are.
    """

    addresses: tuple[Address, ...] = ()
    ttl_s: float = 0.0
    reason: Reason = Reason.DONE

    @property
    def said_no(self) -> bool:
        """The server knows that there is no such address, which is more than that it could not tell."""
        return self.reason is Reason.NO_NAME and self.ttl_s > 0

    def has_family(self, version: int) -> bool:
        """Tell whether an address of this family, 4 or 6, is there."""
        return any(address.version == version for address in self.addresses)


def make_query(
    name: str, kind: dns.rdatatype.RdataType, number: int | None, *, padded: bool
) -> dns.message.QueryMessage:
    """Write a question.

    Nothing in it is about the client: no client subnet (RFC 7871), no cookie. Letters keep their case: what the mixed
    case of draft-vixie-dnsext-dns0x20 adds to a random id and port is not worth the servers that answer it wrongly.

    Args:
        name: an ASCII name without a trailing dot.
        kind: `A` or `AAAA`.
        number: the message id; None for a random one.
        padded: pad it, as encrypted queries are.
    """
    pad = _PADDED_BYTES if padded else 0
    return dns.message.make_query(f"{name}.", kind, use_edns=0, payload=_UDP_BYTES, id=number, pad=pad)


def read_response(wire: bytes, query: dns.message.QueryMessage) -> dns.message.QueryMessage | None:
    """Read a message.

    Returns:
        The response to the query; None for anything else, such as a forged one.

    Raises:
        dns.message.Truncated: it is the response, and was cut by its sender.
    """
    try:
        response = dns.message.from_wire(_cut(wire), raise_on_truncation=True, ignore_trailing=True)
    except dns.message.Truncated as error:
        if query.is_response(error.kwargs["message"]):
            raise
        return None
    except dns.exception.DNSException:
        return None
    if isinstance(response, dns.message.QueryMessage) and query.is_response(response):
        return response
    return None


def read_answer(response: dns.message.QueryMessage) -> Answer:
    """Take the addresses out of a response: those of the asked name, over at most 15 aliases.

    Raises:
        DNSException: the aliases are too many, or lead in a circle.
    """
    if response.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return Answer(reason=Reason.NO_NAME)
    chain = response.resolve_chaining()
    if chain.answer is None:
        return Answer(ttl_s=max(chain.minimum_ttl, 1), reason=Reason.NO_NAME)
    family = IPv6Address if response.question[0].rdtype == dns.rdatatype.AAAA else IPv4Address
    addresses = tuple(family(record.address) for record in islice(chain.answer, MAX_FAMILY_ADDRESSES))
    return Answer(addresses, chain.minimum_ttl)


def _cut(wire: bytes) -> bytes:
    """Let the header of a message announce no more records than are read; what is behind them is then ignored."""
    if len(wire) < 12:
        return wire
    answers, authority, additional = _COUNTS.unpack_from(wire)
    if answers > MAX_ANSWER_RECORDS:
        answers, authority, additional = MAX_ANSWER_RECORDS, 0, 0
    elif authority > _MAX_OTHER_RECORDS:
        authority, additional = _MAX_OTHER_RECORDS, 0
    counts = bytearray(12)
    _COUNTS.pack_into(counts, 0, answers, authority, min(additional, _MAX_OTHER_RECORDS))
    return wire[:6] + counts[6:] + wire[12:]
