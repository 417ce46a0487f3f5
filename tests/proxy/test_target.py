"""Destinations in clients' words."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from proxy.target import check_host, is_local, is_localhost, read_authority


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Example.COM", "example.com"),
        ("a_b.example.", "a_b.example."),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("a" * 255, "a" * 255),
    ],
)
def test_host_is_brought_into_form(text: str, host: str) -> None:
    assert check_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * 256,
        "a b",
        "a\0",
        "a\n",
        "a\x7f",
        "a/b",
        "a?b",
        "a@b",
        "a:80",
        "[::1]",
        "fe80::1%1",
        "b\u00fccher",
        "a<b>",
    ],
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        check_host(text)


@pytest.mark.parametrize(
    ("text", "default", "found"),
    [
        ("example.com:443", None, ("example.com", 443)),
        ("[2001:db8::1]:443", None, ("2001:db8::1", 443)),
        ("example.com", 80, ("example.com", 80)),
        ("example.com:", 80, ("example.com", 80)),
        ("[::1]", 80, ("::1", 80)),
    ],
)
def test_authority_is_read(text: str, default: int | None, found: tuple[str, int]) -> None:
    assert read_authority(text, default) == found


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", ":80", "a", "a:", "a:0", "a:65536", "a:-1", "a:+1", "a: 1", "a:1:2", "::1:80", "[::1", "[::1]80"),
        *("[a]:80", "user@a:80", "user:word@a:80", "[1.2.3.4]:80", "a:\u0663"),
    ],
)
def test_what_is_no_authority_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        read_authority(text)


@given(st.text() | st.text("[]:.%@a1"), st.none() | st.just(80))
def test_any_text_is_an_authority_or_a_decode_error(text: str, default: int | None) -> None:
    try:
        host, port = read_authority(text, default)
    except DecodeError:
        return
    assert check_host(host) == host
    assert 0 < port < 65536


def test_this_machine() -> None:
    assert all(is_localhost(name) for name in ("localhost", "LOCALHOST.", "a.localhost"))
    assert not any(is_localhost(name) for name in ("localhost.example", "alocalhost", "127.0.0.1"))
    assert all(is_local(ip_address(text)) for text in ("127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::"))
    assert all(is_local(ip_address(text)) for text in ("::ffff:127.0.0.1", "::ffff:0.0.0.0"))
    assert not any(is_local(ip_address(text)) for text in ("10.0.0.1", "::2", "::ffff:10.0.0.1"))
