"""Who looks for hosts and ports, and who only browses."""

from __future__ import annotations

import random
from collections import Counter
from ipaddress import ip_address

import pytest

from core.errors import Reason
from exits.limits import ScanLimits
from exits.scans import KEY_BYTES, Scans, Trail

LIMITS = ScanLimits()
SITE = ip_address("198.51.100.7")


class Watched:
    """One exit's watch, and what circuits do there."""

    def __init__(self, limits: ScanLimits = LIMITS) -> None:
        self.limits = limits
        self.counters: Counter[str] = Counter()
        self.scans = Scans(limits, bytes(KEY_BYTES), self.counters)
        self.now = 1000.0

    def trail(self) -> Trail:
        return Trail(self.limits)

    def refusal(self, trail: Trail, host: str | int, port: int = 443) -> Reason | None:
        return self.scans.refusal(trail, self.scans.probe(ip_address(host), port), self.now)

    def ask(self, trail: Trail, host: str | int, port: int = 443, *, answers: bool, whole: bool = True) -> bool:
        """Try a destination that answers or fails at once; returns whether that was allowed."""
        probe = self.scans.probe(ip_address(host), port)
        if self.scans.refusal(trail, probe, self.now) is not None:
            return False
        trail.begun(probe)
        trail.ended(probe)
        if answers:
            trail.learn(probe)
        else:
            self.scans.failed(trail, probe, self.now, whole=whole)
        return True


def far_apart(count: int) -> list[int]:
    """Addresses in different networks."""
    return [int(ip_address("203.0.0.0")) + number * 256 for number in range(count)]


def test_a_destination_is_under_way_until_every_attempt_has_ended() -> None:
    watched = Watched(ScanLimits(trying=1))
    trail = watched.trail()
    probe = watched.scans.probe(SITE, 443)
    trail.begun(probe)
    trail.begun(probe)
    for _ in range(2):
        assert watched.refusal(trail, "192.0.2.1") is Reason.BUSY
        assert watched.refusal(trail, int(SITE)) is None
        trail.ended(probe)
    assert watched.refusal(trail, "192.0.2.1") is None


def test_ports_of_one_host() -> None:
    watched = Watched()
    trail = watched.trail()
    allowed = [port for port in range(1, 2000) if watched.ask(trail, "203.0.113.9", port, answers=False)]
    assert allowed == list(range(1, LIMITS.failed_in_network + 1))
    assert watched.counters["search"] == 1


def test_one_port_of_many_hosts() -> None:
    watched = Watched()
    trail = watched.trail()
    allowed = [host for host in far_apart(3000) if watched.ask(trail, host, 22, answers=False)]
    assert len(allowed) == LIMITS.failed
    assert watched.refusal(trail, "192.0.2.1") is Reason.NOT_ALLOWED
    assert watched.refusal(watched.trail(), "192.0.2.1") is None


def test_a_search_at_all_speeds_finds_little_in_an_hour() -> None:
    for pause_s, most in ((0.1, 100 * 3600 / 120), (0.3, 100 * 3600 / 120), (0.55, 100 * 3600 / 120), (0.7, 100 * 60)):
        watched = Watched()
        trail = watched.trail()
        tried = 0
        for host in far_apart(int(3600 / pause_s)):
            tried += watched.ask(trail, host, 22, answers=False)
            watched.now += pause_s
        assert tried <= most, pause_s


def test_it_is_over_after_a_while() -> None:
    watched = Watched()
    trail = watched.trail()
    for host in far_apart(LIMITS.failed):
        watched.ask(trail, host, 22, answers=False)
    watched.now += LIMITS.closed_s - 0.1
    assert watched.refusal(trail, "192.0.2.1") is Reason.NOT_ALLOWED
    watched.now += 0.1
    assert watched.refusal(trail, "192.0.2.1") is None


def test_what_answered_before_stays_open() -> None:
    watched = Watched()
    trail = watched.trail()
    watched.ask(trail, int(SITE), answers=True)
    for port in range(1000, 3000):
        watched.ask(trail, int(SITE), port, answers=False)
    for host in far_apart(200):
        watched.ask(trail, host, 22, answers=False)
    assert watched.refusal(trail, int(SITE)) is None
    assert watched.refusal(trail, int(SITE), 444) is Reason.NOT_ALLOWED


def test_a_network_is_closed_only_to_who_failed_there() -> None:
    """A search from many circuits, each asking little, and an honest one beside them."""
    watched = Watched()
    honest = watched.trail()
    searching = [watched.trail() for _ in range(100)]
    for port, trail in enumerate(searching, start=1):
        watched.ask(trail, "203.0.113.9", port, answers=False)
    assert watched.counters["search"] == 3
    for trail in searching:
        assert watched.refusal(trail, "203.0.113.10", 5000) is Reason.NOT_ALLOWED
        assert watched.refusal(trail, "192.0.2.1", 5000) is None
    for port in range(8000, 8100):
        assert watched.ask(honest, "203.0.113.9", port, answers=True)
    assert watched.ask(honest, "203.0.113.9", 9000, answers=False)
    assert watched.refusal(honest, "203.0.113.9", 9001) is Reason.NOT_ALLOWED
    assert watched.refusal(honest, "203.0.113.9", 8000) is None


def test_in_a_closed_network_one_destination_is_tried_at_a_time() -> None:
    watched = Watched()
    for port in range(LIMITS.failed_in_network):
        watched.ask(watched.trail(), "203.0.113.9", port + 1, answers=False)
    trail = watched.trail()
    probe = watched.scans.probe(ip_address("203.0.113.9"), 443)
    assert watched.scans.refusal(trail, probe, watched.now) is None
    trail.begun(probe)
    assert watched.refusal(trail, "203.0.113.77", 443) is Reason.NOT_ALLOWED
    trail.ended(probe)
    trail.learn(probe)
    assert watched.refusal(trail, "203.0.113.77", 443) is None


def test_who_does_not_wait_for_answers_tries_no_more() -> None:
    watched = Watched()
    trail = watched.trail()
    begun = 0
    for host in far_apart(1000):
        probe = watched.scans.probe(ip_address(host), 443)
        if watched.scans.refusal(trail, probe, watched.now) is None:
            trail.begun(probe)
            begun += 1
        else:
            assert watched.scans.refusal(trail, probe, watched.now) is Reason.BUSY
    assert begun == LIMITS.trying
    assert watched.refusal(trail, far_apart(1)[0]) is None  # is being tried already


def test_who_answers_in_the_end_did_not_fail() -> None:
    watched = Watched()
    trail = watched.trail()
    for host in far_apart(LIMITS.failed - 1):
        watched.ask(trail, host, answers=False)
        watched.ask(trail, host, answers=True)
    for host in far_apart(2 * LIMITS.failed)[LIMITS.failed :]:
        assert watched.ask(trail, host, answers=False)
    assert watched.counters["search"] == 1


def test_hours_of_browsing_are_no_search() -> None:
    """Sixty hosts a page, a page every ten seconds, and far more dead ones among them than there are."""
    watched, draw = Watched(), random.Random(7)
    trail, hosts = watched.trail(), far_apart(5000)
    for page in range(720):
        for host in draw.sample(hosts, 60):
            assert watched.ask(trail, host, answers=draw.random() > 0.1), page
        watched.now += 10
    assert watched.counters["search"] == 0
    assert len(trail.known) == LIMITS.known


def test_a_site_that_is_down_is_asked_as_often_as_one_likes() -> None:
    watched = Watched()
    trail = watched.trail()
    for _ in range(10_000):
        assert watched.ask(trail, int(SITE), answers=False)
    assert watched.counters["search"] == 0


def test_no_route_for_one_family_is_no_search_of_a_circuit() -> None:
    watched = Watched()
    trail = watched.trail()
    for number in range(500):
        host = int(ip_address("2001:db8::")) + (number << 80)
        assert watched.ask(trail, host, answers=False, whole=False)
    assert watched.refusal(trail, "192.0.2.1") is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("198.51.100.1", "198.51.100.254", True),
        ("198.51.100.1", "198.51.101.1", False),
        ("2001:db8:1:2::3", "2001:db8:1:ffff::", True),
        ("2001:db8:1::", "2001:db8:2::", False),
        ("0.0.0.1", "::1", False),
    ],
)
def test_what_is_one_network(one: str, other: str, same: bool) -> None:
    scans = Watched().scans
    first, second = scans.probe(ip_address(one), 80), scans.probe(ip_address(other), 80)
    assert (first.network == second.network) is same
    assert first.mark != second.mark


def test_addresses_are_kept_as_keyed_hashes() -> None:
    one, other = (Scans(LIMITS, bytes([number]) * KEY_BYTES, Counter()).probe(SITE, 443) for number in (1, 2))
    assert one != other
    for probe in (one, other):
        assert SITE.packed not in probe.mark + probe.network
        assert all(len(part) == 8 for part in probe)


def test_memory_is_bounded() -> None:
    limits = ScanLimits(networks=50)
    watched = Watched(limits)
    for _ in range(20):
        trail = watched.trail()
        for host in far_apart(200):
            watched.ask(trail, host, answers=False)
        assert len(trail.failures_in) <= limits.failed
    assert len(watched.scans._networks) == 50
