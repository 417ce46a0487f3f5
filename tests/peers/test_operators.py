from __future__ import annotations

import dataclasses

import pytest

from peers.descriptor import Descriptor, Role
from peers.operators import operator_of
from tests.peers.build import NOW, plain, signed


def test_the_operator_is_what_a_descriptor_names() -> None:
    assert operator_of(Descriptor.decode(signed(1, operator=b"a name"), NOW)) == b"a name"
    assert operator_of(Descriptor.decode(signed(1, operator=b"x" * 32), NOW)) == b"x" * 32
    assert operator_of(Descriptor.decode(signed(1), NOW)) == b""


@pytest.mark.parametrize("unknown", [((11, b""),), ((11, b"x" * 33),), ((12, b"a name"),)])
def test_what_is_no_operator_is_none(unknown: tuple[tuple[int, bytes], ...]) -> None:
    assert operator_of(dataclasses.replace(plain(1, Role.RELAY, ()), unknown=unknown)) == b""
