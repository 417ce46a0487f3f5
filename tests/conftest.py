"""What all tests share: where everything that tests need is installed, none may be skipped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator
    from pathlib import Path

    from tests.harness.chain import Anvil


os.environ["MACROVPN_PEERS_DHT"] = "false"
"""No test asks the world's DHT. Those that have one of their own switch it on by a flag."""

os.environ["MACROVPN_PEERS_PORT_MAPPING"] = "false"
"""Nor the router of whoever runs it for a port. Those that do have routers of their own."""

settings.register_profile("deep", max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "5000")), deadline=None)
if "HYPOTHESIS_PROFILE" in os.environ:
    settings.load_profile(os.environ["HYPOTHESIS_PROFILE"])


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def _no_skip[Report: (pytest.TestReport, pytest.CollectReport)](report: Report) -> Report:
    """Turn a skip into a failure with the same reason. An expected failure is no skip."""
    if report.skipped and not hasattr(report, "wasxfail") and _in_ci():
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"Nothing may be skipped here: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Apply the rule to each phase of each test."""
    return _no_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Apply the rule to modules that skip themselves."""
    return _no_skip((yield))


@pytest.fixture(scope="session")
def anvil_program() -> Path:
    """The program, fetched if need be."""
    from scripts.get_anvil import anvil

    try:
        return anvil()
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.fixture
async def anvil(anvil_program: Path) -> AsyncIterator[Anvil]:
    """A chain in a process of its own."""
    from tests.harness.chain import Anvil  # what that imports takes seconds, and few tests need it

    async with Anvil(anvil_program) as started:
        yield started
