"""The fast engine's way to picoquic's packet trains, which goes by how the library is built."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from aiopquic._binding import _transport

from tests.harness.paired import pair
from tunnel.engines import aiopquic_trains
from tunnel.engines.aiopquic import AiopquicConnection, AiopquicEngine
from tunnel.engines.aiopquic_trains import context_of, send_in_trains

if TYPE_CHECKING:
    import pytest


async def test_a_transports_context_is_the_one_of_its_connections() -> None:
    context_by_connection = ctypes.CDLL(_transport.__file__).picoquic_get_quic_ctx
    context_by_connection.restype = ctypes.c_void_p
    async with pair(("aiopquic", "aiopquic")) as both:
        ends = [(await both.dial())[0], both.accepted[0].connection]
        for engine, connection in zip(both.engines, ends, strict=True):
            assert isinstance(engine, AiopquicEngine)
            assert isinstance(connection, AiopquicConnection)
            expected = context_by_connection(ctypes.c_void_p(connection._quic._cnx_ptr))
            assert context_of(engine._transport) == expected
            assert send_in_trains(engine._transport)


def test_a_transport_that_has_not_started_has_no_context() -> None:
    transport = _transport.TransportContext()
    assert context_of(transport) is None
    assert not send_in_trains(transport)


async def test_a_library_built_in_another_way_works_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiopquic_trains, "context_of", lambda _transport: None)
    async with pair(("aiopquic", "aiopquic")) as both:
        await both.dial()
