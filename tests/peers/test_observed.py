"""What neighbours say about where this node is, and who is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DecodeError
from peers.observed import MAX_NEIGHBOURS, NETWORKS_NEEDED, Observed, Ports

HERE = ("203.0.113.7", 4433)
LIE = ("198.51.100.9", 4433)
HERE_6 = ("2001:db8::7", 4433)


def host(network: int, number: int = 1) -> str:
    return f"11.{network}.0.{number}"


def voices(*addresses: tuple[str, int], needed: int = NETWORKS_NEEDED) -> Observed[int]:
    """One neighbour for each address, each in a network of its own."""
    observed: Observed[int] = Observed(needed)
    for number, address in enumerate(addresses):
        observed.tell(number, host(number), address)
    return observed


def test_three_networks_that_agree_are_believed_and_two_are_not() -> None:
    assert voices(HERE, HERE).believed is None
    assert voices(HERE, HERE, HERE).believed == HERE


def test_one_voice_is_enough_where_neighbours_were_chosen() -> None:
    assert voices(HERE, needed=1).believed == HERE
    assert voices(needed=1).believed is None


def test_many_neighbours_of_one_network_have_one_voice() -> None:
    observed: Observed[int] = Observed()
    for number in range(100):
        observed.tell(number, host(1, number + 1), LIE)
    assert observed.believed is None
    assert observed.ports is Ports.UNKNOWN
    for number in range(3):
        observed.tell(200 + number, host(2 + number), HERE)
    assert observed.believed == HERE


def test_more_than_half_of_the_networks_must_agree() -> None:
    assert voices(HERE, HERE, HERE, LIE, LIE).believed == HERE
    assert voices(HERE, HERE, HERE, LIE, LIE, LIE).believed is None


def test_the_kinds_of_addresses_do_not_outvote_each_other() -> None:
    assert voices(HERE, HERE, HERE, HERE_6, HERE_6, HERE_6, HERE_6).believed == HERE
    assert voices(HERE, HERE_6, HERE_6, HERE_6).believed == HERE_6


def test_a_neighbour_that_speaks_again_or_goes_has_no_old_voice() -> None:
    observed = voices(HERE, HERE, HERE)
    observed.tell(0, host(0), LIE)
    assert observed.believed is None
    observed.tell(0, host(0), HERE)
    observed.forget(2)
    observed.forget(2)
    assert observed.believed is None
    assert observed.networks == {b"\x0b\x00", b"\x0b\x01"}


def test_so_many_are_remembered_and_the_oldest_go() -> None:
    observed: Observed[int] = Observed(1)
    for number in range(MAX_NEIGHBOURS + 10):
        observed.tell(number, host(number % 200), HERE)
    assert len(observed._said) == MAX_NEIGHBOURS
    assert 9 not in observed._said
    assert 10 in observed._said


def test_what_the_ports_say_of_the_router() -> None:
    ports = [(HERE[0], port) for port in (1, 2, 3)]
    assert voices(HERE).ports is Ports.UNKNOWN
    assert voices(HERE, HERE).ports is Ports.SAME
    assert voices(*ports).ports is Ports.VARYING
    assert voices(*ports, LIE).ports is Ports.VARYING
    assert voices(HERE, LIE).ports is Ports.UNKNOWN


def test_one_neighbour_of_each_network_that_sees_the_host_is_named() -> None:
    observed = voices(HERE, (HERE[0], 99), LIE)
    observed.tell(9, host(0, 2), HERE)
    assert observed.seeing(HERE[0]) == [0, 1]


def test_a_neighbour_without_an_address_is_refused() -> None:
    observed: Observed[int] = Observed()
    with pytest.raises(DecodeError):
        observed.tell(1, "example.org", HERE)
    assert not observed.networks


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3), st.sampled_from([HERE, LIE])), max_size=40))
def test_nobody_is_believed_with_fewer_networks_than_needed(said: list[tuple[int, int, tuple[str, int]]]) -> None:
    observed: Observed[tuple[int, int]] = Observed()
    last = {}
    for network, number, address in said:
        observed.tell((network, number), host(network, number), address)
        last[network, number] = address
    if (believed := observed.believed) is not None:
        agreeing = {network for (network, _), address in last.items() if address == believed}
        assert len(agreeing) >= NETWORKS_NEEDED
        assert 2 * len(agreeing) > len({network for network, _ in last})


def test_a_node_may_be_at_every_host_that_is_named_until_one_is_believed() -> None:
    observed = voices(HERE, LIE, HERE_6)
    assert observed.hosts == {HERE[0], LIE[0], HERE_6[0]}
    observed.tell(3, host(3), HERE)
    observed.tell(4, host(4), HERE)
    assert observed.believed == HERE
    assert observed.hosts == {HERE[0], HERE_6[0]}
    for number in (0, 3, 4):
        observed.forget(number)
    assert observed.hosts == {LIE[0], HERE_6[0]}
