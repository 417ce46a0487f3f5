"""The router's seconds: going on with ours, or begun anew."""

from __future__ import annotations

import pytest

from peers.port_mapping.epoch import NatPmpEpoch, PcpEpoch


@pytest.mark.parametrize("kind", [PcpEpoch, NatPmpEpoch])
def test_seconds_that_run_like_ours_go_on(kind: type[PcpEpoch | NatPmpEpoch]) -> None:
    epoch = kind()
    assert all(epoch.goes_on(500 + second, 1000.0 + second) for second in range(0, 10_000, 60))


@pytest.mark.parametrize("kind", [PcpEpoch, NatPmpEpoch])
def test_a_router_that_starts_anew_is_noticed_once(kind: type[PcpEpoch | NatPmpEpoch]) -> None:
    epoch = kind()
    assert epoch.goes_on(86400, 1000.0)
    assert not epoch.goes_on(5, 1060.0)
    assert epoch.goes_on(65, 1120.0)


@pytest.mark.parametrize("kind", [PcpEpoch, NatPmpEpoch])
def test_a_start_within_the_first_minute_is_noticed(kind: type[PcpEpoch | NatPmpEpoch]) -> None:
    epoch = kind()
    assert epoch.goes_on(3, 1000.0)
    assert not epoch.goes_on(10, 1060.0), "it has gone on by 7 s, and we by 60"


def test_pcp_takes_a_second_back_and_a_sixteenth_of_drift() -> None:
    """Source: RFC 6887, section 8.5."""
    epoch = PcpEpoch()
    assert epoch.goes_on(100, 0.0)
    assert epoch.goes_on(99, 0.5)
    assert not epoch.goes_on(97, 0.5)
    for server_s, stands in ((1597, True), (1496, False), (1720, False)):
        epoch = PcpEpoch()
        epoch.goes_on(0, 0.0)
        assert epoch.goes_on(server_s, 1600.0) is stands


def test_nat_pmp_takes_an_eighth_of_drift_and_two_seconds() -> None:
    """Source: RFC 6886, section 3.6."""
    for server_s, stands in ((698, True), (697, False), (5000, True)):
        epoch = NatPmpEpoch()
        epoch.goes_on(0, 0.0)
        assert epoch.goes_on(server_s, 800.0) is stands
