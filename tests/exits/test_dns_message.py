"""What a hostile server may write into an answer, and what becomes of it."""

from __future__ import annotations

import contextlib
import itertools
import struct
import time
from ipaddress import ip_address

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Reason
from exits.dns_message import MAX_FAMILY_ADDRESSES, Answer, make_query, read_answer, read_response

NAME = "www.example.org"
LONG_NAME = "a." * 120 + "org"
A, AAAA = dns.rdatatype.A, dns.rdatatype.AAAA
QUERY = make_query(NAME, A, 7, padded=False)


def respond(*records: str, query: dns.message.QueryMessage = QUERY, section: str = "answer") -> dns.message.Message:
    """Answer with records, each as in a zone file."""
    response = dns.message.make_response(query)
    for record in records:
        owner, ttl, kind, value = record.split(maxsplit=3)
        getattr(response, section).append(dns.rrset.from_text(owner, int(ttl), "IN", kind, value))
    return response


def read(response: dns.message.Message, query: dns.message.QueryMessage = QUERY) -> Answer:
    found = read_response(response.to_wire(max_size=65535), query)
    assert found is not None
    return read_answer(found)


def with_records(query: dns.message.QueryMessage, count: int, body: bytes) -> bytes:
    """Answer with `count` records that are written out in `body`."""
    wire = bytearray(
        dns.message.make_response(make_query(query.question[0].name.to_text(True), A, 7, padded=False)).to_wire()
    )
    wire = wire[: len(wire) - 11]  # the OPT record is the last one, of 11 bytes
    struct.pack_into("!HHH", wire, 6, count, 0, 0)
    return bytes(wire) + body


def test_queries_carry_nothing_but_the_question() -> None:
    plain = dns.message.from_wire(make_query(NAME, AAAA, None, padded=False).to_wire())
    assert plain.edns == 0
    assert plain.payload == 1232
    assert list(plain.options) == []
    assert plain.flags == dns.flags.RD
    assert plain.question[0].to_text() == f"{NAME}. IN AAAA"


@pytest.mark.parametrize("name", [NAME, "a.org", LONG_NAME])
def test_padding_hides_the_length_of_a_name(name: str) -> None:
    wire = make_query(name, A, 0, padded=True).to_wire()
    assert len(wire) % 128 == 0
    assert [option.otype.name for option in dns.message.from_wire(wire).options] == ["PADDING"]


def test_names_keep_their_case() -> None:
    assert NAME.split(".")[1].encode() in make_query(NAME, A, 7, padded=False).to_wire()


def test_addresses_and_the_shortest_ttl_of_the_chain() -> None:
    answer = read(respond(f"{NAME}. 300 CNAME a.example.net.", "a.example.net. 20 A 9.9.9.9"))
    assert answer == Answer((ip_address("9.9.9.9"),), 20)


def test_only_owners_on_the_way_count() -> None:
    other = respond("other.example.org. 60 A 127.0.0.1", "www.example.com. 60 A 127.0.0.2")
    assert read(other).addresses == ()
    mixed = respond("other.example.org. 60 A 127.0.0.1", f"{NAME}. 60 A 9.9.9.9")
    assert read(mixed).addresses == (ip_address("9.9.9.9"),)
    aside = respond(f"{NAME}. 60 CNAME a.example.net.", "b.example.net. 60 A 127.0.0.1")
    assert read(aside).addresses == ()


def test_records_elsewhere_in_the_message_do_not_count() -> None:
    for section in ("authority", "additional"):
        assert read(respond(f"{NAME}. 60 A 127.0.0.1", section=section)).addresses == ()


def test_other_kinds_do_not_count() -> None:
    assert read(respond(f"{NAME}. 60 AAAA ::1", f"{NAME}. 60 TXT 127.0.0.1")).addresses == ()


@pytest.mark.parametrize("length", [15, 16, 60])
def test_chain_is_bounded(length: int) -> None:
    names = [f"{NAME}.", *(f"n{number}.example.net." for number in range(length))]
    links = [f"{owner} 60 CNAME {target}" for owner, target in itertools.pairwise(names)]
    response = respond(*links, f"{names[-1]} 60 A 9.9.9.9")
    if length < 16:
        assert read(response).addresses == (ip_address("9.9.9.9"),)
    else:
        with pytest.raises(dns.exception.DNSException):
            read(response)


def test_circle_ends() -> None:
    circle = respond(f"{NAME}. 60 CNAME a.example.net.", f"a.example.net. 60 CNAME {NAME}.")
    with pytest.raises(dns.exception.DNSException):
        read(circle)


@pytest.mark.parametrize(("ttl", "kept"), [(0, 0), (1 << 31, 0), ((1 << 32) - 1, 0), ((1 << 31) - 1, (1 << 31) - 1)])
def test_time_to_live_at_its_ends(ttl: int, kept: int) -> None:
    """Source: RFC 2181, section 8: the top bit makes it zero."""
    record = b"\xc0\x0c" + struct.pack("!HHIH4s", A, 1, ttl, 4, bytes([9, 9, 9, 9]))
    found = read_response(with_records(QUERY, 1, record), QUERY)
    assert found is not None
    assert read_answer(found) == Answer((ip_address("9.9.9.9"),), kept)


def test_no_such_name_is_true_for_as_long_as_the_zone_says() -> None:
    soa = respond("example.org. 900 SOA ns. root. 1 2 3 4 77", section="authority")
    assert read(soa) == Answer(ttl_s=77, reason=Reason.NO_NAME)
    soa.set_rcode(dns.rcode.NXDOMAIN)
    answer = read(soa)
    assert answer.said_no
    assert answer.ttl_s == 77


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"])
def test_server_that_cannot_tell_does_not_say_no(code: str) -> None:
    response = respond(f"{NAME}. 60 A 9.9.9.9")
    response.set_rcode(dns.rcode.from_text(code))
    answer = read(response)
    assert answer.addresses == ()
    assert not answer.said_no


@pytest.mark.parametrize("name", [NAME, LONG_NAME])
@pytest.mark.parametrize("owners", ["the name", "others"])
def test_thousands_of_records_cost_little(name: str, owners: str) -> None:
    """A full message takes 0.1 to 0.6 s if it is read to its end."""
    query = make_query(name, A, 7, padded=False)
    count = 4000 if owners == "the name" else 3000
    record = struct.Struct("!HHIH4s")
    body = b"".join(
        (b"\xc0\x0c" if owners == "the name" else b"\x04%04x\xc0\x0c" % number)
        + record.pack(A, 1, 60, 4, struct.pack("!I", 0x0909_0000 + number))
        for number in range(count)
    )
    wire = with_records(query, count, body)
    assert len(wire) > 60_000
    begin = time.process_time()
    for _ in range(3):
        found = read_response(wire, query)
    assert found is not None
    answer = read_answer(found)
    assert (time.process_time() - begin) / 3 < 0.05
    assert len(answer.addresses) == (MAX_FAMILY_ADDRESSES if owners == "the name" else 0)


def test_announced_records_that_are_not_there() -> None:
    for count in (1, 64, 65, 65535):
        assert read_response(with_records(QUERY, count, b""), QUERY) is None


@given(st.binary(max_size=600))
def test_arbitrary_bytes_are_no_answer(data: bytes) -> None:
    assert read_response(data, QUERY) is None


@given(st.binary(max_size=200), st.integers(0, 65535))
def test_arbitrary_records_behind_the_question(body: bytes, count: int) -> None:
    found = read_response(with_records(QUERY, count, body), QUERY)
    if found is not None:
        with contextlib.suppress(dns.exception.DNSException):
            assert len(read_answer(found).addresses) <= MAX_FAMILY_ADDRESSES
