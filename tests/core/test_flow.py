"""What a flow request shows."""

from __future__ import annotations

from core.flow import FlowRequest


def test_a_request_shows_no_destination() -> None:
    request = FlowRequest("secret.example", 443, "key")
    for shown in (repr(request), str(request), f"{[request]}"):
        assert "secret" not in shown
        assert "443" not in shown


def test_isolation_is_part_of_a_request() -> None:
    assert FlowRequest("a", 1) == FlowRequest("a", 1, "")
    assert FlowRequest("a", 1, "x") != FlowRequest("a", 1, "y")
