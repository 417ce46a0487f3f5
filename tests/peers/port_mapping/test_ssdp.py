"""The search for a UPnP gateway: one that describes itself at its own address, or none."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from peers.port_mapping.ssdp import GROUP, MAX_BYTES, decode_found, encode_search

GATEWAY = "192.168.77.1"
FOUND = (  # by miniupnpd 2.3.1
    "HTTP/1.1 200 OK\r\n"
    "CACHE-CONTROL: max-age=120\r\n"
    "ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
    "USN: uuid:00000000-0000-4000-8000-000000000001::urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
    "EXT:\r\n"
    "SERVER: Debian/6 UPnP/1.1 MiniUPnPd/2.3.1\r\n"
    "LOCATION: http://192.168.77.1:5000/rootDesc.xml\r\n"
    'OPT: "http://schemas.upnp.org/upnp/1/0/"; ns=01\r\n'
    "01-NLS: 1795631633\r\n"
    "\r\n"
)
LOCATION = "http://192.168.77.1:5000/rootDesc.xml"


def test_a_search_names_what_it_looks_for() -> None:
    assert encode_search(GROUP) == (
        b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n"
        b'MAN: "ssdp:discover"\r\nMX: 1\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n'
    )


@pytest.mark.parametrize("text", [FOUND, FOUND.replace("LOCATION: ", "Location:"), FOUND.replace("200 OK", "200")])
def test_the_description_is_found(text: str) -> None:
    assert decode_found(text.encode(), GATEWAY) == LOCATION


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://192.168.77.7:5000/rootDesc.xml",
        "http://127.0.0.1:5000/rootDesc.xml",
        "http://192.168.77.1@127.0.0.1/",
        "http://192.168.77.1.example.org/",
        "https://192.168.77.1/rootDesc.xml",
        "http://192.168.77.1:0/",
        "http://192.168.77.1:65536/",
        "http://192.168.77.1:5000/a b",
        "http://192.168.77.1:5000/" + "a" * 300,
        "file:///etc/passwd",
        "",
    ],
)
def test_a_description_elsewhere_is_refused(elsewhere: str) -> None:
    with pytest.raises(DecodeError, match="elsewhere"):
        decode_found(FOUND.replace(LOCATION, elsewhere).encode(), GATEWAY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        FOUND.replace("200 OK", "404 Not Found"),
        FOUND.replace("HTTP/1.1 200 OK", "NOTIFY * HTTP/1.1"),
        FOUND.replace("\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1", "\nST: upnp:rootdevice"),
        FOUND.replace("\r\n\r\n", "\r\nLOCATION: http://192.168.77.1:5001/\r\n\r\n"),
        FOUND + "x" * MAX_BYTES,
        FOUND.replace("EXT:", "EXT: ä"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        decode_found(text.encode(), GATEWAY)


@given(st.binary(max_size=MAX_BYTES + 8))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(DecodeError):
        decode_found(data, GATEWAY)
