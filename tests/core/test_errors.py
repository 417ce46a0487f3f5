"""Reasons and errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import CircuitError, ConfigError, DecodeError, FlowError, LinkError, MacroVpnError, Reason


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_word_and_a_sentence(reason: Reason) -> None:
    assert reason.word == reason.name.lower()
    assert reason.sentence.endswith(".")
    assert reason.sentence[0].isupper()


def test_no_two_reasons_say_the_same() -> None:
    assert len({reason.sentence for reason in Reason}) == len(Reason)


def test_numbers_on_the_wire_stay() -> None:
    names = "DONE REFUSED HOST_UNREACHABLE NETWORK_UNREACHABLE NOT_ALLOWED TIMED_OUT NO_NAME BUSY CLOSED PROTOCOL"
    names += " NO_PATH NEXT_HOP UNKNOWN_PEER RESET LOCAL LIMIT LEAVING NOT_SERVED INSIDE SITE_OPTIONS"
    names += " UNPAID PRICE NO_CHANNEL SPENDING_CAP COUNTS_DIFFER BAD_VOUCHER NO_FUNDS NOT_OPEN TOO_EARLY SETTLEMENT"
    assert [reason.name for reason in sorted(Reason)] == names.split()
    assert [*Reason] == [*range(len(Reason))]


@given(st.integers(0, 255))
def test_any_byte_reads_as_a_reason(code: int) -> None:
    known = code in list(Reason)
    assert Reason.from_wire(code) is (Reason(code) if known else Reason.PROTOCOL)


@pytest.mark.parametrize("kind", [LinkError, CircuitError, FlowError])
@pytest.mark.parametrize("reason", Reason)
def test_an_error_at_a_place_says_its_reason(kind: type[LinkError | CircuitError | FlowError], reason: Reason) -> None:
    error = kind(reason)
    assert isinstance(error, MacroVpnError)
    assert (error.reason, str(error)) == (reason, reason.sentence)


def test_a_circuit_error_names_its_hop() -> None:
    assert CircuitError(Reason.BUSY, 2).hop == 2
    assert CircuitError(Reason.BUSY).hop is None


def test_a_config_error_is_one_sentence() -> None:
    error = ConfigError("peers.port", "must be a number")
    assert (str(error), error.where, error.problem) == (
        "peers.port: must be a number.",
        "peers.port",
        "must be a number",
    )


def test_a_decode_error_names_thing_and_problem() -> None:
    error = DecodeError("frame", "cut off")
    assert (str(error), error.what, error.problem) == ("frame: cut off", "frame", "cut off")
