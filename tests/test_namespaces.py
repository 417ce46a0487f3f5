"""What tests build in namespaces: nothing is left of half a building, and what is missing here is named."""

from __future__ import annotations

import pytest

from tests.harness.namespaces import Built, run, why_not


class Building(Built):
    def __init__(self, *, stands: bool) -> None:
        self._stands = stands
        self.steps: list[str] = []

    def _build(self) -> None:
        self.steps.append("build")
        if not self._stands:
            raise OSError("no room")

    def _tear_down(self) -> None:
        self.steps.append("tear down")


def test_it_is_torn_down_at_the_end() -> None:
    with Building(stands=True) as building:
        assert building.steps == ["build"]
    assert building.steps == ["build", "tear down"]


def test_it_is_torn_down_when_building_fails() -> None:
    building = Building(stands=False)
    with pytest.raises(OSError, match="no room"), building:
        building.steps.append("inside")
    assert building.steps == ["build", "tear down"]


def test_missing_programs_are_named_with_ip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert why_not("curl", "nft") == "not installed: ip, curl, nft"


def test_a_command_that_fails_says_why() -> None:
    assert run("cat", text="words") == "words"
    with pytest.raises(AssertionError, match=r"cat /nowhere: .*No such file"):
        run("cat", "/nowhere")
