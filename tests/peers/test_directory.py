from __future__ import annotations

import random
from collections import Counter
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from core.errors import DecodeError
from peers.descriptor import Descriptor, ExpiryError, digest
from peers.directory import Directory
from peers.holds import give
from tests.harness.chance import fit
from tests.peers.build import DAY_S, NOW, host, identity, onion_keys, signed
from tunnel.path import Hop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from core.ids import PeerKey


def numbers(directory: Directory) -> list[int]:
    """Which peers are known, in the directory's order."""
    names = {identity(number).peer: number for number in range(200)}
    return [names[found.peer] for found in directory.peers()]


def ranked(peers: Iterable[int]) -> list[int]:
    """Some peers in the order in which they stay, without a secret."""
    return sorted(peers, key=lambda number: blake2b(identity(number).peer, digest_size=16).digest())


def first(count: int, peers: Iterable[int]) -> set[int]:
    """Those of some peers that stay when there is room for `count`, without a secret."""
    return set(ranked(peers)[:count])


def filled(directory: Directory, source: str, *peers: int) -> Directory:
    for number in peers:
        directory.add(signed(number), NOW, source)
    return directory


def test_a_verified_descriptor_is_kept() -> None:
    directory = Directory()
    raw = signed(1)
    assert directory.add(raw, NOW, "a")
    found = directory.get(identity(1).peer)
    assert found == Descriptor.decode(raw, NOW)
    assert directory.find(digest(raw)) == found
    assert directory.peers() == (found,)
    assert len(directory) == 1


def test_a_hop_is_what_a_circuit_needs() -> None:
    directory = filled(Directory(), "a", 1)
    me = identity(1)
    assert directory.hop(me.peer) == Hop(me.peer, me.link_key, onion_keys(1)[0], ((host(1), 4433),))
    assert directory.hop(identity(2).peer) is None
    assert repr(directory.hop(me.peer)) == f"Hop({me.peer[:4].hex()})"


@pytest.mark.parametrize("place", [0, 10, 50, -1])
def test_a_broken_descriptor_changes_nothing(place: int) -> None:
    directory = filled(Directory(), "a", 1)
    raw = bytearray(signed(2))
    raw[place] ^= 1
    with pytest.raises(DecodeError):
        directory.add(bytes(raw), NOW, "a")
    assert numbers(directory) == [1]


def test_an_expired_descriptor_changes_nothing() -> None:
    directory = Directory()
    with pytest.raises(ExpiryError):
        directory.add(signed(1), NOW + DAY_S, "a")
    assert len(directory) == 0


def test_the_newest_sequence_counts() -> None:
    directory = Directory()
    old, new = signed(1, sequence=5, region="DE"), signed(1, sequence=6, region="FR")
    assert directory.add(old, NOW, "a")
    assert directory.add(new, NOW, "b")
    assert not directory.add(old, NOW, "a")
    assert not directory.add(new, NOW, "a")
    assert [found.region for found in directory.peers()] == ["FR"]
    assert directory.find(digest(old)) is None
    assert directory.counts == {"added": 1, "updated": 1, "older": 1, "known": 1}


def test_of_two_with_one_sequence_the_first_stays() -> None:
    directory = Directory()
    assert directory.add(signed(1, region="DE"), NOW, "a")
    assert not directory.add(signed(1, region="FR"), NOW, "b")
    assert [found.region for found in directory.peers()] == ["DE"]
    assert directory.counts["conflict"] == 1


def test_this_nodes_own_descriptor_is_not_kept() -> None:
    directory = Directory(identity(1).peer)
    assert not directory.add(signed(1), NOW, "a")
    assert len(directory) == 0


def test_what_expired_is_forgotten() -> None:
    directory = Directory()
    directory.add(signed(1, expiry=NOW + 100), NOW, "a")
    directory.add(signed(2, expiry=NOW + 200), NOW, "a")
    assert directory.purge(NOW + 99) == 0
    assert directory.purge(NOW + 100) == 1
    assert numbers(directory) == [2]
    assert directory.find(digest(signed(1, expiry=NOW + 100))) is None
    assert directory.add(signed(1, sequence=2), NOW + 100, "a")


def test_who_named_a_peer_is_forgotten_with_it() -> None:
    directory = Directory(max_per_source=1)
    voice = directory.voices.link_up(bytes(32), bytes(2))
    for number in (1, 2):
        directory.add(signed(number), NOW, voice)
    (kept,) = numbers(directory)
    assert directory.voices.named(identity(kept).peer)
    assert not directory.voices.named(identity(3 - kept).peer)
    directory.purge(NOW + DAY_S)
    assert not directory.voices.neighbours


def test_one_source_brings_no_more_than_its_share() -> None:
    directory = filled(Directory(max_per_source=3), "a", 1, 2, 3, 4)
    kept = numbers(directory)
    assert set(kept) == first(3, range(1, 5))
    assert directory.add(signed(kept[0], sequence=2), NOW, "a"), "what is known may still be renewed"
    filled(directory, "b", 5)
    assert numbers(directory) == [*kept[1:], kept[0], 5]
    directory.purge(NOW + DAY_S)
    assert directory.add(signed(6, expiry=NOW + 2 * DAY_S), NOW + DAY_S, "a"), "what is forgotten makes room"


def test_one_network_holds_no_more_than_its_share() -> None:
    directory = Directory(max_per_network=2)
    for number in (1, 2, 3):
        directory.add(signed(number, addresses=((f"20.1.{number}.1", 4433),)), NOW, "a")
    assert set(numbers(directory)) == first(2, (1, 2, 3))
    assert directory.add(signed(4), NOW, "a"), "another network has room"
    for number in (5, 6, 7):
        directory.add(signed(number, addresses=((f"2001:db8:{number}::1", 4433),)), NOW, "a")
    assert set(numbers(directory)) == first(2, (1, 2, 3)) | {4} | first(2, (5, 6, 7))


def test_a_second_address_counts_in_its_network_too() -> None:
    directory = Directory(max_per_network=1)
    directory.add(signed(1, addresses=(("20.1.0.1", 4433), ("20.2.0.1", 4433))), NOW, "a")
    assert not directory.add(signed(2, addresses=(("20.2.0.2", 4433),)), NOW, "a")
    assert directory.add(signed(1, sequence=2, addresses=(("20.1.0.1", 4433),)), NOW, "a")
    assert directory.add(signed(2, addresses=(("20.2.0.2", 4433),)), NOW, "a"), "the peer has left that network"


def test_an_update_that_enters_a_full_network_is_refused() -> None:
    directory = Directory(max_per_network=1)
    filled(directory, "a", 1, 2)
    assert not directory.add(signed(2, sequence=2, addresses=((host(1), 4433),)), NOW, "a")
    assert [found.sequence for found in directory.peers()] == [1, 1]


def test_a_flood_that_came_first_gives_way() -> None:
    directory = filled(Directory(max_peers=10), "flood", *range(10))
    filled(directory, "honest", *range(20, 40))
    assert set(numbers(directory)) == first(5, range(10)) | first(5, range(20, 40))


def test_a_flood_that_comes_later_pushes_nobody_out() -> None:
    directory = filled(Directory(max_peers=10), "honest", *range(5))
    filled(directory, "flood", *range(20, 60))
    assert set(numbers(directory)) == {*range(5)} | first(5, range(20, 60))


def test_equal_sources_do_not_push_each_other_out() -> None:
    directory = filled(Directory(max_peers=5), "a", *range(5))
    filled(directory, "b", 20, 21, 22, 23)
    filled(directory, "a", 5, 6)
    filled(directory, "b", 24, 25)
    assert sum(number < 20 for number in numbers(directory)) == 3
    assert len(directory) == 5


def test_who_came_while_there_was_room_again_gives_way_in_its_turn() -> None:
    one, two, *_, late, last = ranked(range(30))
    directory = filled(Directory(max_peers=3), "a", one, two)
    directory.add(signed(100, expiry=NOW + 10), NOW, "b")
    filled(directory, "a", late)
    assert numbers(directory) == [one, two, 100], "of what this source has brought, it would be the last"
    directory.purge(NOW + 10)
    filled(directory, "a", last)
    assert numbers(directory) == [one, two, last]
    filled(directory, "c", 50)
    assert numbers(directory) == [one, two, 50]


@pytest.mark.parametrize(
    "make",
    [
        partial(Directory, max_per_source=8, secret=b"a secret"),
        partial(Directory, max_peers=8, secret=b"a secret"),
        partial(Directory, max_per_network=8, secret=b"a secret"),
    ],
)
def test_what_is_kept_does_not_depend_on_the_order_in_which_it_came(make: Callable[[], Directory]) -> None:
    """Nor on how often it came: who renews a descriptor each minute is always among a neighbour's news."""
    raws = [signed(number, addresses=((f"20.1.{number}.1", 4433),)) for number in range(40)]
    renewed = [
        signed(number, sequence=sequence, addresses=((f"20.1.{number}.1", 4433),))
        for sequence in range(2, 12)
        for number in range(20, 24)
    ]
    rng = random.Random(1)
    kept = []
    for _ in range(6):
        directory = make()
        for raw in [*renewed[:20], *rng.sample(raws, len(raws)), *renewed[20:]]:
            directory.add(raw, NOW, "a")
        kept.append(sorted(numbers(directory)))
    assert len(kept[0]) == 8
    assert all(each == kept[0] for each in kept)


def test_every_peer_is_as_likely_to_be_kept() -> None:
    """Over many nodes, each with its own secret: four of twelve, whichever are told first."""
    descriptors = [Descriptor.decode(signed(number), NOW) for number in range(12)]
    found: Counter[int] = Counter()
    for node in range(1200):
        directory = Directory(max_per_source=4, secret=node.to_bytes(2))
        for descriptor in descriptors:
            directory.insert(descriptor, "a")
        found.update(numbers(directory))
    assert fit([found[number] for number in range(12)], [1.0] * 12)


def test_nobody_can_tell_who_is_kept() -> None:
    kept = []
    for secret in (b"one", b"two"):
        directory = filled(Directory(max_per_source=8, secret=secret), "a", *range(40))
        kept.append(set(numbers(directory)))
    assert kept[0] != kept[1]


def test_a_renewal_is_still_counted_for_the_first_source() -> None:
    directory = filled(Directory(max_per_source=2), "a", 1, 2)
    assert directory.add(signed(1, sequence=2), NOW, "b")
    filled(directory, "a", 3)
    assert set(numbers(directory)) == first(2, (1, 2, 3))
    filled(directory, "b", 4, 5)
    assert set(numbers(directory)) == first(2, (1, 2, 3)) | {4, 5}


def test_a_flood_in_one_network_gives_way() -> None:
    directory = Directory(max_per_network=4)
    for number in range(8):
        directory.add(signed(number, addresses=((f"20.1.{number}.1", 4433),)), NOW, "flood")
    directory.add(signed(9, addresses=(("20.1.9.1", 4433),)), NOW, "honest")
    assert set(numbers(directory)) == first(3, range(8)) | {9}


def test_this_nodes_file_is_no_flood() -> None:
    directory = Directory(max_per_source=3)
    for number in range(6):
        assert directory.add(signed(number), NOW, None)


def test_changes_since_a_revision() -> None:
    directory = filled(Directory(), "a", 1, 2)
    before = directory.revision
    assert directory.changes(before) == []
    filled(directory, "a", 3)
    directory.add(signed(1, sequence=2), NOW, "a")
    assert [name for name, _ in directory.changes(before)] == [digest(signed(1, sequence=2)), digest(signed(3))]
    assert len(directory.changes(0)) == 3


def half(host: str) -> int | None:
    """Stands in for a database: the system is the first number of the address, and that of 30 is not known."""
    first = int(host.split(".")[0])
    return None if first == 30 else 64500 + first


def test_one_system_holds_no_more_than_its_share() -> None:
    directory = Directory(max_per_system=2, asn_of=half)
    for number in (1, 2, 3):
        directory.add(signed(number, addresses=((f"20.{number}.0.1", 4433),)), NOW, "a")
    assert set(numbers(directory)) == first(2, (1, 2, 3))
    assert directory.add(signed(4, addresses=(("21.1.0.1", 4433),)), NOW, "a"), "another system has room"
    unknown = [signed(number, addresses=((f"30.{number}.0.1", 4433),)) for number in (5, 6, 7)]
    assert all(directory.add(raw, NOW, "a") for raw in unknown), "systems that are not known are not one system"


def test_a_second_address_counts_in_its_system_too() -> None:
    directory = Directory(max_per_system=1, asn_of=half)
    directory.add(signed(1, addresses=(("20.1.0.1", 4433), ("21.1.0.1", 4433))), NOW, "a")
    assert not directory.add(signed(2, addresses=(("21.2.0.1", 4433),)), NOW, "a")
    assert directory.add(signed(1, sequence=2, addresses=(("20.1.0.1", 4433),)), NOW, "a")
    assert directory.add(signed(2, addresses=(("21.2.0.1", 4433),)), NOW, "a"), "the peer has left that system"


def test_one_operator_holds_no_more_than_its_share() -> None:
    directory = Directory(max_per_operator=2)
    for number in (1, 2, 3):
        directory.add(signed(number, operator=b"a name"), NOW, "a")
    kept = first(2, (1, 2, 3))
    assert set(numbers(directory)) == kept
    assert directory.add(signed(4, operator=b"another"), NOW, "a")
    assert all(directory.add(signed(number), NOW, "a") for number in (5, 6, 7)), "who names none has none in common"
    assert directory.add(signed(min(kept), sequence=2), NOW, "a")
    (left_out,) = {1, 2, 3} - kept
    assert directory.add(signed(left_out, operator=b"a name"), NOW, "a"), "a peer has left that operator"


def test_one_relay_vouches_for_no_more_than_its_share() -> None:
    def at_home(number: int, *relays: int) -> bytes:
        via = tuple(give(identity(relay), identity(number).peer, NOW + DAY_S) for relay in relays)
        return signed(number, addresses=(), via=via)

    directory = Directory(max_per_holder=2)
    for number in range(1, 9):
        directory.add(at_home(number, 50, 60), NOW, "a")
    assert len(directory) == 2
    for number in range(10, 13):
        directory.add(at_home(number, 60), NOW, "a")
    assert len(directory) == 2
    assert directory.add(at_home(20, 70), NOW, "a")
    assert directory.add(at_home(21, 50), NOW, "b"), "a source that holds less of it"
    assert len(directory) == 3
    for number in range(30, 34):
        assert directory.add(signed(number), NOW, "a"), "who has an address needs no relay"


def test_a_flood_in_one_system_or_under_one_operator_gives_way() -> None:
    directory = Directory(max_per_system=4, max_per_operator=4, asn_of=half)
    for number in range(8):
        directory.add(signed(number, addresses=((f"20.{number}.0.1", 4433),)), NOW, "flood")
    for number in range(20, 28):
        directory.add(signed(number, addresses=((f"30.{number}.0.1", 4433),), operator=b"a name"), NOW, "flood")
    directory.add(signed(10, addresses=(("20.100.0.1", 4433),)), NOW, "honest")
    directory.add(signed(30, addresses=(("30.100.0.1", 4433),), operator=b"a name"), NOW, "honest")
    assert set(numbers(directory)) == first(3, range(8)) | first(3, range(20, 28)) | {10, 30}


def test_a_flood_that_comes_later_pushes_nobody_out_of_a_system() -> None:
    directory = Directory(max_per_system=4, asn_of=half)
    for number in range(4):
        directory.add(signed(number, addresses=((f"20.{number}.0.1", 4433),)), NOW, "honest")
    for number in range(10, 40):
        directory.add(signed(number, addresses=((f"20.{number}.0.1", 4433),)), NOW, "flood")
    assert set(numbers(directory)) == first(2, range(4)) | first(2, range(10, 40))


def test_groups_that_are_full_at_once_each_give_one_place() -> None:
    directory = Directory(max_per_network=2, max_per_system=3, asn_of=half)
    for number, name in enumerate(("20.1.0.1", "20.1.0.2", "20.2.0.1", "21.1.0.1")):
        directory.add(signed(number, addresses=((name, 4433),)), NOW, "flood")
    assert directory.add(signed(9, addresses=(("20.1.0.9", 4433),)), NOW, "honest")
    assert numbers(directory) == [0, 2, 3, 9], "the place in the network is one in the system too"
    assert not directory.add(signed(8, addresses=(("20.3.0.8", 4433), ("21.2.0.8", 4433))), NOW, "flood")


class BoundedDirectory(RuleBasedStateMachine):
    """Whatever arrives, from whomever: the bounds hold, and each peer's sequence never goes back while it is known."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Directory(
            identity(0).peer,
            max_peers=8,
            max_per_source=5,
            max_per_network=3,
            max_per_system=4,
            max_per_operator=2,
            asn_of=half,
        )
        self.now = NOW
        self.sequences: dict[PeerKey, int] = {}

    @rule(
        number=st.integers(0, 20),
        sequence=st.integers(1, 4),
        life=st.sampled_from([100, 500]),
        networks=st.lists(st.sampled_from(["20.1", "20.2", "20.3", "21.1", "21.2", "30.1"]), max_size=3, unique=True),
        operator=st.sampled_from([b"", b"one", b"two"]),
        source=st.sampled_from(["a", "b", "c", None]),
    )
    def add(
        self, number: int, sequence: int, life: int, networks: list[str], operator: bytes, source: str | None
    ) -> None:
        addresses = tuple((f"{network}.{number}.1", 4433) for network in networks)
        raw = signed(number, sequence=sequence, expiry=self.now + life, addresses=addresses, operator=operator)
        before = self.directory.peers()
        kept = self.directory.add(raw, self.now, source)
        if kept:
            assert self.directory.find(digest(raw)) is not None
        else:
            assert self.directory.peers() == before

    @rule(seconds=st.integers(1, 300))
    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.directory.purge(self.now)
        assert all(found.expiry > self.now for found in self.directory.peers())

    @invariant()
    def bounds_hold(self) -> None:
        found = self.directory.peers()
        assert len(found) == len(self.directory) <= 8
        networks = [name for one in found for name in {address.rsplit(".", 2)[0] for address, _ in one.addresses}]
        assert all(networks.count(name) <= 3 for name in networks)
        systems = [name for one in found for name in {half(address) for address, _ in one.addresses} if name]
        assert all(systems.count(name) <= 4 for name in systems)
        operators = [one.operator for one in found if one.operator]
        assert all(operators.count(name) <= 2 for name in operators)
        assert all(self.directory.find(digest(one.raw)) == one for one in found)
        assert identity(0).peer not in {one.peer for one in found}

    @invariant()
    def who_gives_way_next_is_known(self) -> None:
        for source, last in self.directory._last.items():
            assert last == max(self.directory._brought[source], key=self.directory._rank)

    @invariant()
    def sequences_rise(self) -> None:
        now = {one.peer: one.sequence for one in self.directory.peers()}
        for peer, sequence in now.items():
            assert sequence >= self.sequences.get(peer, 0)
        self.sequences = now


TestBoundedDirectory = BoundedDirectory.TestCase
TestBoundedDirectory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
