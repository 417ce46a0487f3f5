"""The control interface of real nodes: answers are as they are described, whatever is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from node.control.routes import EVENTS_TYPE, PAC_TYPE, TABLE
from node.control.shapes import Second, Status
from tests.fuzz.api import OPTIONS, fuzz
from tests.harness.demo import Demo

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.origin import Origin

pytestmark = pytest.mark.system


def test_real_answers_have_the_shapes_that_are_described(demo: Demo, origin: Origin) -> None:
    assert demo.curl("-o", "/dev/null", f"http://127.0.0.1:{origin.http}/bytes/2000000").returncode == 0
    checked = []
    for route in TABLE:
        if route.method == "GET" and route.answer not in (PAC_TYPE, EVENTS_TYPE) and route.path != "/v1/invite":
            text = demo.node.call("GET", route.path.removeprefix("/v1/"))
            msgspec.json.decode(text, type=route.answer)
            checked.append(route.path)
    assert {"/v1/status", "/v1/explain", "/v1/peers", "/v1/settings"} <= set(checked)
    events = demo.node.events()
    assert msgspec.convert(next(events), tuple[str, Status])[1].circuits
    assert msgspec.convert(next(told for name, told in events if name == "second"), Second).flows >= 0


def test_whatever_is_asked_breaks_nothing(tmp_path: Path) -> None:
    """About a hundred requests here; `make api-fuzz` makes thousands, also as another caller."""
    with Demo(*OPTIONS, log=tmp_path / "log") as demo:
        assert fuzz(demo.node, "page", 12, "fuzzing", seed=8) > 80
        assert demo.status()["state"]
