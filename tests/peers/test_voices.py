"""Who is vouched for, by whom, and who has no say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from peers.voices import FROM_DHT, FROM_EARLIER, MAX_NEIGHBOURS, NEIGHBOURS, Voice, Voices, Way
from tests.peers.build import identity

if TYPE_CHECKING:
    from core.ids import PeerKey

PEER, OTHER = identity(1).peer, identity(2).peer


def key(number: int) -> bytes:
    return bytes([number]) * 32


def network(number: int) -> bytes:
    return bytes([20, number])


def linked(voices: Voices, *numbers: int) -> list[Voice]:
    """Links to neighbours with these numbers, each in a network of its own."""
    made = [voices.link_up(key(number), network(number)) for number in numbers]
    return [voice for voice in made if voice is not None]


def say(voices: Voices, speaking: list[Voice], *peers: PeerKey) -> None:
    for voice in speaking:
        for peer in peers:
            voices.heard(voice, peer)


def test_most_of_the_neighbours_vouch() -> None:
    voices = Voices()
    all_five = linked(voices, *range(5))
    say(voices, all_five, PEER)
    say(voices, all_five[:2], OTHER)
    assert voices.vouched(PEER)
    assert not voices.vouched(OTHER), "two of five"
    voices.heard(all_five[2], OTHER)
    assert voices.vouched(OTHER)


def test_two_neighbours_decide_nothing() -> None:
    """Else one of them could name only friends, and so keep out everybody whom the other names."""
    voices = Voices()
    say(voices, linked(voices, 1, 2), PEER)
    assert not voices.vouched(PEER)
    assert not voices.enough
    say(voices, linked(voices, 3), OTHER)
    assert voices.vouched(PEER)
    assert not voices.vouched(OTHER)
    assert voices.enough


def test_of_an_even_number_the_newest_is_left_out() -> None:
    voices = Voices()
    four = linked(voices, *range(4))
    say(voices, four[:2], PEER)
    say(voices, four[2:], OTHER)
    assert voices.vouched(PEER)
    assert not voices.vouched(OTHER)


def test_neighbours_in_one_network_have_one_voice() -> None:
    voices = Voices()
    crowd = [voices.link_up(key(number), network(1)) for number in range(6)]
    assert len(set(crowd)) == 1
    say(voices, [voice for voice in crowd if voice is not None], PEER)
    assert voices.neighbours == 1
    assert not voices.vouched(PEER)


def test_a_guard_does_not_vouch() -> None:
    voices = Voices()
    guards, others = linked(voices, 1, 2), linked(voices, 3, 4, 5)
    voices.guards_are(guards)
    say(voices, [*guards, others[0]], PEER)
    say(voices, others, OTHER)
    assert not voices.vouched(PEER)
    assert voices.vouched(OTHER)
    assert voices.neighbours == 3
    assert voices.named(PEER)
    say(voices, guards, identity(3).peer)
    assert not voices.named(identity(3).peer), "the guards alone"


def test_a_guard_is_known_by_its_key_wherever_it_was_dialled() -> None:
    voices = Voices()
    voices.link_up(key(1), network(1))
    voices.link_up(key(1), network(2))
    voices.link_up(key(2), network(3))
    assert voices.of_key(key(1)) == {Voice(Way.LINK, network(1)), Voice(Way.LINK, network(2))}
    assert voices.of_key(key(9)) == set()


def test_what_is_met_through_the_dht_is_named_and_not_vouched_for() -> None:
    voices = Voices()
    voices.heard(FROM_DHT, PEER)
    assert voices.named(PEER)
    assert not voices.vouched(PEER)
    assert not voices.neighbours
    say(voices, linked(voices, 1, 2, 3)[:1], PEER)
    assert not voices.vouched(PEER)


def test_what_was_vouched_for_earlier_still_is() -> None:
    voices = Voices()
    voices.heard(FROM_EARLIER, PEER)
    assert voices.enough
    assert voices.vouched(PEER)
    say(voices, linked(voices, 1, 2, 3), OTHER)
    assert voices.vouched(PEER)
    voices.forget(PEER)
    assert not voices.vouched(PEER)


def test_who_never_spoke_is_not_counted() -> None:
    voices = Voices()
    say(voices, linked(voices, *range(7))[:3], PEER)
    assert voices.vouched(PEER), "four of seven have named nobody yet"


def test_who_has_gone_is_counted_while_too_few_are_left() -> None:
    voices = Voices()
    old = linked(voices, 1, 2, 3)
    say(voices, old, PEER)
    for voice in old:
        voices.link_down(voice)
    assert voices.vouched(PEER), "a line that was down for a moment changes nothing"
    new = linked(voices, 4)
    say(voices, new, OTHER)
    assert voices.vouched(PEER)
    assert not voices.vouched(OTHER), "nor does one that is there again alone"
    new += linked(voices, 5, 6)
    say(voices, new, OTHER)
    assert voices.vouched(OTHER)
    assert not voices.vouched(PEER), "those that are linked do not name it"


def test_places_are_few_and_go_to_who_is_linked() -> None:
    voices = Voices()
    first = linked(voices, *range(MAX_NEIGHBOURS))
    say(voices, first, PEER)
    assert voices.link_up(key(50), network(50)) is None
    voices.link_down(first[0])
    late = voices.link_up(key(50), network(50))
    assert late is not None
    assert voices.neighbours == MAX_NEIGHBOURS - 1, "what the one before said is forgotten"
    assert voices.link_up(key(51), network(50)) == late, "its network has a voice"


def test_nothing_is_left_of_peers_that_are_forgotten() -> None:
    voices = Voices()
    say(voices, [*linked(voices, 1, 2, 3), FROM_DHT], PEER)
    voices.forget(PEER)
    assert (voices.neighbours, voices.named(PEER), voices.vouched(PEER)) == (0, False, False)


class Heard(RuleBasedStateMachine):
    """Whatever is said: the bounds hold, and who is vouched for is so by others than guards."""

    def __init__(self) -> None:
        super().__init__()
        self.voices = Voices()
        self.up: list[Voice] = []
        self.said: dict[PeerKey, set[Voice]] = {}
        self.guards: set[Voice] = set()

    @rule(number=st.integers(0, 20))
    def link(self, number: int) -> None:
        self.up += linked(self.voices, number)

    @rule(data=st.data())
    def part(self, data: st.DataObject) -> None:
        if self.up:
            self.voices.link_down(self.up.pop(data.draw(st.integers(0, len(self.up) - 1))))

    @rule(data=st.data(), peer=st.integers(0, 5))
    def name(self, data: st.DataObject, peer: int) -> None:
        if self.up:
            voice = data.draw(st.sampled_from(self.up))
            self.voices.heard(voice, identity(peer).peer)
            self.said.setdefault(identity(peer).peer, set()).add(voice)

    @rule(numbers=st.sets(st.integers(0, 20), max_size=2))
    def pin(self, numbers: set[int]) -> None:
        self.guards = {Voice(Way.LINK, network(number)) for number in numbers}
        self.voices.guards_are(self.guards)

    @rule(peer=st.integers(0, 5))
    def forget(self, peer: int) -> None:
        self.voices.forget(identity(peer).peer)
        self.said.pop(identity(peer).peer, None)

    @invariant()
    def bounds_hold(self) -> None:
        assert self.voices.neighbours <= MAX_NEIGHBOURS
        for number in range(6):
            peer = identity(number).peer
            behind = self.said.get(peer, set()) - self.guards
            if self.voices.vouched(peer):
                assert len(behind) > NEIGHBOURS / 2
                assert self.voices.named(peer)
                assert self.voices.enough
            if not behind:
                assert not self.voices.named(peer)


TestHeard = Heard.TestCase
TestHeard.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
