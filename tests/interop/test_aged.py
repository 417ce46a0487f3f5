"""A session that gets old: wireguard-go renews it by its own clock, in real time, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.interop.aged import Aged

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(200)]


def test_wireguard_go_renews_the_session_itself(aged: Aged) -> None:
    seen = aged.outcome()
    # The side that began renews after 120 s, when it sends; a busy machine may make it later, never sooner.
    first_s, second_s, *more = seen.initiations_s
    assert first_s == 0
    assert 120 <= second_s < 130
    assert not more
    # We only answered.
    assert "1" not in seen.sent
    assert seen.sent["2"] == 2
    # Its messages moved from the first of our sessions to the second, once, and went on there.
    assert len(set(seen.sessions)) == 2
    assert seen.receivers == seen.sessions
    assert seen.after > 5
    # Nothing was lost on the way, and nothing refused.
    asked, answered = seen.pings
    assert asked == answered > 500
    assert not seen.dropped
    # And what it had nothing to say to, it confirmed with a keepalive after 10 s.
    assert 9.5 < seen.quiet_s < 13
