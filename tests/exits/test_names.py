"""Reading the host of a request."""

from __future__ import annotations

import json
import string
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import FlowError, Reason
from exits.names import SPECIAL_NAMES, parse_destination

VECTORS: list[dict[str, str]] = json.loads((Path(__file__).parents[1] / "vectors/addresses.json").read_text())["hosts"]

ANY_HOST = st.text(max_size=300) | st.text("0123456789abcdefx.:%-_", max_size=40) | st.ip_addresses().map(str)


def read(host: str) -> str:
    try:
        return str(parse_destination(host))
    except FlowError as error:
        return error.reason.word


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: ascii(vector["host"][:40]))
def test_vector(vector: dict[str, str]) -> None:
    assert read(vector["host"]) == vector["result"]


def test_kinds() -> None:
    assert parse_destination("93.184.215.14") == IPv4Address("93.184.215.14")
    assert parse_destination("::ffff:127.0.0.1") == IPv4Address("127.0.0.1")
    assert parse_destination("2606:4700::1") == IPv6Address("2606:4700::1")
    assert parse_destination("Example.COM.") == "example.com"


@pytest.mark.parametrize("last", sorted(SPECIAL_NAMES))
def test_special_names_need_a_resolver_that_knows_them(last: str) -> None:
    for host in (last, f"a.{last}", f"a.b.{last}."):
        assert read(host) == "not_allowed"
        assert parse_destination(host, allow_special=True) == host.removesuffix(".")
    assert read(f"{last}.com") == f"{last}.com"


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "::1%lo", "a.0x1"])
def test_disguised_numbers_are_never_names(host: str) -> None:
    with pytest.raises(FlowError) as caught:
        parse_destination(host, allow_special=True)
    assert caught.value.reason is Reason.NOT_ALLOWED


@given(ANY_HOST, st.booleans())
def test_any_text_gives_an_address_a_plain_name_or_a_reason(host: str, allow_special: bool) -> None:
    try:
        found = parse_destination(host, allow_special=allow_special)
    except FlowError:
        assert read(host) in ("not_allowed", "no_name")
        return
    if isinstance(found, str):
        assert 1 <= len(found) <= 253
        assert set(found) <= set(string.ascii_lowercase + string.digits + "-_.")
        assert all(1 <= len(label) <= 63 for label in found.split("."))
        assert not found.split(".")[-1].isdigit()
    assert parse_destination(str(found), allow_special=allow_special) == found
