"""The word for how a node is reached."""

from __future__ import annotations

import pytest

from node.reach import Facts, Reach, reach, sentence
from peers.observed import Ports

HERE, THERE = ("203.0.113.7", 4433), ("203.0.113.7", 5000)


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (Facts(serves=False, ports=Ports.VARYING), ""),
        (Facts(serves=True), "unknown"),
        (Facts(serves=True, configured=True, ports=Ports.VARYING), "public"),
        (Facts(serves=True, confirmed=HERE), "public"),
        (Facts(serves=True, confirmed=HERE, mapped=HERE), "mapped"),
        (Facts(serves=True, confirmed=HERE, mapped=THERE), "public"),
        (Facts(serves=True, mapped=HERE), "unknown"),
        (Facts(serves=True, refused=True, ports=Ports.SAME), "punched"),
        (Facts(serves=True, refused=True, ports=Ports.VARYING), "behind-nat"),
        (Facts(serves=True, confirmed=HERE, mapped=HERE, ports=Ports.VARYING), "mapped"),
    ],
)
def test_the_word_follows_from_the_facts(facts: Facts, word: str) -> None:
    assert reach(facts) == word


def test_every_word_but_that_of_a_client_has_its_sentence() -> None:
    sentences = [sentence(word, 0) for word in Reach]
    assert [bool(text) for text in sentences] == [word is not Reach.CLIENT for word in Reach]
    assert len(set(sentences)) == len(Reach)
    assert sentence("something new", 1) == ""


def test_relays_are_named_where_they_are_needed() -> None:
    texts = [[sentence(word, via) for via in (0, 1, 2)] for word in Reach]
    needed = {Reach.PUNCHED, Reach.BEHIND_NAT, Reach.UNKNOWN}
    assert [len(set(text)) for text in texts] == [3 if word in needed else 1 for word in Reach]
    assert sentence(Reach.PUNCHED, 2).endswith("through 2 relays that it keeps links to")
