"""Of whom paths are made while few have spoken, when enough have, and when guards lie."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from core.errors import CircuitError, NotYetError
from peers.choice import Choice, Moment
from peers.descriptor import Role
from peers.directory import Directory
from peers.eligible import PATIENCE_S, Eligible
from peers.guards import PinnedHops
from peers.measurements import Measurements
from peers.path_search import PathRules
from peers.scores import LEANS
from peers.voices import FROM_DHT, FROM_EARLIER
from tests.peers.build import NOW, host, plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from core.ids import PeerKey
    from peers.descriptor import Descriptor
    from peers.voices import Voice

RELAYS = [plain(number, Role.RELAY, (host(number),)) for number in range(1, 11)]
EXITS = [plain(number, Role.EXIT, (host(number),)) for number in range(101, 105)]
HONEST = [*RELAYS, *EXITS]
FRIENDS = [plain(number, Role.RELAY | Role.EXIT, (host(number),)) for number in range(201, 261)]


class Rig:
    """A client whose guards are the first two relays.

    Args:
        regions: where it wants its exits.
        pinned: how many guards it holds on to.
    """

    def __init__(self, *, regions: tuple[str, ...] = (), pinned: int = 2) -> None:
        self.directory, self.pins, rng = Directory(), PinnedHops(), random.Random(1)
        for guard in RELAYS[:pinned]:
            self.pins.pin_guard(guard.peer, NOW, rng)
        self.rules = PathRules(3, lambda _: True, regions=regions)
        self.eligible = Eligible(self.directory, self.rules, self.pins, rng)
        self.choice = Choice(
            self.directory, self.rules, LEANS["balanced"], True, self.pins, Measurements(), rng, self.eligible
        )

    def hear(self, neighbour: Descriptor, told: Iterable[Descriptor]) -> None:
        """A link to a neighbour, and what it tells."""
        number = int.from_bytes(neighbour.peer)
        voice = self.directory.voices.link_up(neighbour.link_key, bytes(number))
        assert voice is not None
        self.tell(voice, told)

    def tell(self, source: Voice | None, told: Iterable[Descriptor]) -> None:
        for found in told:
            self.directory.insert(found, source)

    @property
    def peers(self) -> set[PeerKey]:
        return {found.peer for found in self.eligible.peers()}

    def path(self, clock: float = 0.0, avoid: Iterable[PeerKey] = ()) -> list[PeerKey]:
        return [found.peer for found in self.choice.path(Moment(now=NOW, clock=clock, avoid=frozenset(avoid)))]


def names(found: Iterable[Descriptor]) -> set[PeerKey]:
    return {each.peer for each in found}


def eclipsed(regions: tuple[str, ...] = ()) -> Rig:
    """Three honest neighbours have spoken, and a guard who tells of friends alone."""
    rig = Rig(regions=regions)
    rig.hear(RELAYS[0], FRIENDS)
    for neighbour in RELAYS[2:5]:
        rig.hear(neighbour, HONEST)
    return rig


def test_whom_a_guard_alone_names_is_on_no_path() -> None:
    rig = eclipsed()
    assert rig.peers == names(HONEST)
    for _ in range(50):
        assert names(FRIENDS).isdisjoint(rig.path())


def test_both_guards_together_are_no_better() -> None:
    rig = eclipsed()
    rig.hear(RELAYS[1], FRIENDS)
    assert rig.peers == names(HONEST)


def test_what_fails_opens_no_door() -> None:
    """A guard says of all that it does not answer: the client must forgive somebody, and does not turn to others."""
    rig = eclipsed()
    with pytest.raises(CircuitError):
        rig.path(avoid=names(HONEST))
    assert names(FRIENDS).isdisjoint(rig.path(avoid=names(EXITS[:3])))


def test_a_wanted_region_opens_no_door() -> None:
    rig = eclipsed(("NL",))
    rig.tell(None, (replace(found, sequence=2, region="NL") for found in FRIENDS))
    with pytest.raises(CircuitError):
        rig.path()
    rig.tell(None, [replace(EXITS[0], sequence=2, region="NL")])
    assert rig.path()[-1] == EXITS[0].peer


def test_one_liar_among_the_neighbours_adds_nobody_and_keeps_out_nobody() -> None:
    rig = eclipsed()
    rig.hear(RELAYS[5], FRIENDS)
    rig.hear(RELAYS[6], HONEST)
    assert rig.peers == names(HONEST)


def test_while_few_have_spoken_everybody_they_name_will_do() -> None:
    rig = Rig()
    rig.hear(RELAYS[0], FRIENDS)
    rig.hear(RELAYS[2], HONEST)
    assert rig.peers == names(HONEST)
    rig.tell(FROM_DHT, FRIENDS[:1])
    assert rig.peers == names([*HONEST, FRIENDS[0]])


def test_when_nobody_but_the_guards_has_spoken_everybody_will_do() -> None:
    rig = Rig()
    rig.hear(RELAYS[0], HONEST)
    assert rig.peers == names(HONEST)
    rig.tell(FROM_DHT, RELAYS[2:4])
    assert rig.peers == names(HONEST), "over these two there is no path"


def test_guards_that_are_kept_stay_where_nobody_names_them() -> None:
    rig = Rig()
    rig.tell(None, RELAYS[:2])
    for neighbour in RELAYS[2:5]:
        rig.hear(neighbour, HONEST[2:])
    assert rig.peers == names(HONEST)
    assert rig.path()[0] == RELAYS[0].peer


def test_what_was_vouched_for_earlier_is_enough_to_begin_with() -> None:
    rig = Rig()
    rig.tell(None, HONEST)
    rig.tell(FROM_EARLIER, HONEST)
    rig.hear(RELAYS[0], FRIENDS)
    rig.hear(RELAYS[2], FRIENDS)
    assert rig.peers == names(HONEST)


def test_a_guard_that_declares_the_addresses_of_others_does_not_silence_them() -> None:
    rig = eclipsed()
    addresses = tuple(found.addresses[0] for found in RELAYS[2:5])
    rig.tell(None, [replace(RELAYS[0], sequence=2, addresses=(*RELAYS[0].addresses, *addresses))])
    assert rig.peers == names(HONEST)
    assert rig.directory.voices.neighbours == 3


def test_a_guard_with_a_new_link_key_has_no_new_voice() -> None:
    rig = eclipsed()
    assert rig.peers == names(HONEST)
    renewed = replace(RELAYS[0], sequence=2, link_key=bytes(32))
    rig.tell(None, [renewed])
    assert rig.peers == names(HONEST)
    assert rig.directory.voices.neighbours == 3


@pytest.mark.parametrize("pinned", [0, 2])
def test_a_first_path_waits_for_more_to_speak_but_not_long(pinned: int) -> None:
    rig = Rig(pinned=pinned)
    rig.hear(RELAYS[0], HONEST)
    for clock in (5.0, 5.0 + 0.9 * PATIENCE_S):
        with pytest.raises(NotYetError):
            rig.path(clock)
    assert len(rig.pins.guards) == pinned
    assert len(rig.path(5.0 + PATIENCE_S)) == 3
    assert len(rig.pins.guards) == 2


def test_a_first_path_does_not_wait_when_enough_have_spoken() -> None:
    rig = Rig(pinned=0)
    for neighbour in RELAYS[2:4]:
        rig.hear(neighbour, HONEST)
    with pytest.raises(CircuitError):
        rig.path(5.0)
    rig.hear(RELAYS[4], HONEST)
    assert len(rig.path(5.0)) == 3


def test_a_first_path_does_not_wait_where_enough_was_vouched_for_earlier() -> None:
    rig = Rig()
    rig.tell(None, HONEST)
    rig.tell(FROM_EARLIER, HONEST)
    rig.hear(RELAYS[0], FRIENDS)
    assert len(rig.path()) == 3


@pytest.mark.parametrize("source", [None, FROM_DHT])
def test_a_first_path_waits_for_nobody_where_no_neighbour_speaks(source: Voice | None) -> None:
    rig = Rig(pinned=0)
    rig.tell(source, HONEST)
    assert len(rig.path()) == 3


def test_nothing_is_known_and_nothing_is_waited_for() -> None:
    """The wait begins when there is a path to wait with, however late that is."""
    rig = Rig(pinned=0)
    rig.hear(RELAYS[2], HONEST[:2])
    with pytest.raises(CircuitError):
        rig.path(0.0)
    rig.tell(None, HONEST)
    with pytest.raises(CircuitError):
        rig.path(50.0)
    assert len(rig.path(50.0 + PATIENCE_S)) == 3


def test_other_rules_may_need_others_of_whom_less_is_known() -> None:
    """Two hops can be made of those that are vouched for, and five cannot."""
    rig = Rig(pinned=0)
    few = [*RELAYS[:2], *EXITS[:1]]
    for neighbour in RELAYS[2:5]:
        rig.hear(neighbour, few)
    rig.hear(RELAYS[5], HONEST)
    rig.choice.use(replace(rig.rules, hops=2), LEANS["speed"], True)
    assert rig.peers == names(few)
    rig.choice.use(replace(rig.rules, hops=5), LEANS["speed"], True)
    assert rig.peers == names(HONEST)
