"""Children of either kind, really started: how they stand alone, how they end, and what the parent sees of that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from node.starters import can_fork
from tests.node.starting import ROOT

TELLING = ("tells", "tells again")


@pytest.fixture(scope="module", params=["forks", "programs"])
def seen(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the parent saw of all of them."""
    # Unbuffered output would hide what is not written out at the end.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.node.starting", request.param],
        cwd=ROOT,
        env=environment | {"KEPT": "yes", "MACROVPN_TUNNEL_HOPS": "of this process"},
        input="a line for the parent",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    answer, left = done.stdout.splitlines()
    assert left == "none is left"
    found: dict[str, Any] = json.loads(answer)
    return found


def test_each_stands_alone(seen: dict[str, Any]) -> None:
    for name in TELLING:
        facts = json.loads(seen["said"][name])
        assert facts["leads"] == [True, True], "a session and a group of processes"
        assert facts["input"] == ""
        assert facts["folder"] == str(ROOT)
        assert facts["settings"] == ["MACROVPN_PARENT_FD"]
        assert facts["kept"] == "yes"
        assert facts["files"] == 4, "three for input and output, and the parent's"


def test_each_draws_by_itself(seen: dict[str, Any]) -> None:
    first, second = (json.loads(seen["said"][name])["chance"] for name in TELLING)
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_the_parent_sees_how_each_ends(seen: dict[str, Any]) -> None:
    assert seen["codes"] == {
        "tells": 0,
        "tells again": 0,
        "returns": 0,
        "ends with 7": 7,
        "raises": 1,
        "is killed": -signal.SIGABRT,
        "is let go": 5,
    }
    assert seen["running"], "until the parent lets go"
    assert seen["said"]["raises"].endswith("ValueError: a mistake\n")
    assert seen["said"]["returns"] == seen["said"]["is let go"] == ""


def test_programs_where_the_end_of_a_fork_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_fork()

    def unknown(pid: int) -> int:
        raise OSError(f"no system call for {pid}")

    monkeypatch.setattr(os, "pidfd_open", unknown)
    assert not can_fork()
    monkeypatch.delattr(os, "pidfd_open")
    assert not can_fork()
