"""The real miniupnpd maps our port by each protocol, and packets from outside prove it."""

from __future__ import annotations

import itertools
import select
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.harness.namespaces import why_not
from tests.interop.router import INSIDE, LIMIT_S, ROUTER_OUTSIDE, Router

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.interop.router import Inside

    type MakeRouter = Callable[..., AbstractContextManager[Router]]

pytestmark = pytest.mark.system

_numbers = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def _needed() -> None:
    if reason := why_not("nft", "miniupnpd"):
        pytest.skip(reason)


@pytest.fixture
def router(tmp_path: Path) -> MakeRouter:
    @contextmanager
    def make(*, upnp: bool = True, nat_pmp: bool = True) -> Iterator[Router]:
        with Router(tmp_path, next(_numbers), upnp=upnp, nat_pmp=nat_pmp) as made:
            yield made

    return make


def assert_reaches(outside: socket.socket, inside: Inside, text: str) -> None:
    outside.send(text.encode())
    assert inside.hear() == {"received": text}


def assert_refused(outside: socket.socket) -> None:
    """Nothing passes the packet on any more: the router itself says that nobody listens at this port."""
    outside.send(b"is anybody there?")
    ready, _, _ = select.select([outside], [], [], LIMIT_S)
    assert ready, "the packet was neither answered nor refused"
    with pytest.raises(ConnectionRefusedError):
        outside.recv(2048)


@pytest.mark.parametrize("protocol", ["pcp", "nat-pmp", "upnp"])
def test_a_port_is_mapped_and_deleted(router: MakeRouter, protocol: str) -> None:
    with router() as made:
        inside = made.inside(protocol)
        address = inside.mapped()
        assert address[0] == ROUTER_OUTSIDE
        with made.outside(address) as outside:
            assert_reaches(outside, inside, "hello")
            assert inside.end_mapping() == protocol
        with made.outside(address) as outside:  # another source, for which the router remembers no connection
            assert_refused(outside)


@pytest.mark.parametrize(
    ("upnp", "nat_pmp", "expected"), [(True, True, "pcp"), (False, True, "pcp"), (True, False, "upnp")]
)
def test_the_first_protocol_that_works_is_taken(router: MakeRouter, upnp: bool, nat_pmp: bool, expected: str) -> None:
    with router(upnp=upnp, nat_pmp=nat_pmp) as made:
        inside = made.inside()
        with made.outside(inside.mapped()) as outside:
            assert_reaches(outside, inside, "hello")
        assert inside.end_mapping() == expected


@pytest.mark.parametrize("protocol", ["pcp", "nat-pmp", "upnp"])
def test_a_router_that_starts_anew_is_asked_anew(router: MakeRouter, protocol: str) -> None:
    with router() as made:
        inside = made.inside(protocol)
        address = inside.mapped()
        made.lose_power()
        assert inside.hear() == {"mapped": None}
        made.start_daemon()
        assert inside.mapped() == address
        with made.outside(address) as outside:
            assert_reaches(outside, inside, "hello again")


@pytest.mark.parametrize("protocol", ["pcp", "nat-pmp", "upnp"])
def test_a_second_machine_gets_another_port_or_none(router: MakeRouter, protocol: str) -> None:
    """Two sockets of one machine are mapped beside each other."""
    with router() as made:
        first, second = made.inside(protocol), made.inside(protocol)
        addresses = first.mapped(), second.mapped()
        assert addresses[0] != addresses[1]
        for inside, address in zip((first, second), addresses, strict=True):
            with made.outside(address) as outside:
                assert_reaches(outside, inside, "for you")


@pytest.mark.parametrize(("nat_pmp", "word", "sentence"), [(True, "pcp", "(PCP)"), (False, "upnp", "(UPnP)")])
def test_a_node_has_its_port_mapped_while_it_runs(
    router: MakeRouter, tmp_path: Path, nat_pmp: bool, word: str, sentence: str
) -> None:
    with router(nat_pmp=nat_pmp) as made:
        node = made.node(tmp_path / "home")
        node.until(word)
        assert sentence in node.status_text()
        assert f"dnat ip to {INSIDE}:" in made.rules()
        assert node.stop() == 0
        assert "dnat" not in made.rules()
