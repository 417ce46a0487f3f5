"""One demo network for the tests that leave it as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.demo import Demo
from tests.harness.origin import NameServer, Origin

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    with Origin(tmp_path_factory.mktemp("origin")) as server:
        yield server


@pytest.fixture(scope="session")
def names() -> Iterator[NameServer]:
    with NameServer() as server:
        yield server


@pytest.fixture(scope="session")
def demo(names: NameServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    log = tmp_path_factory.mktemp("demo") / "demo.log"
    options = ["--allow-destination", "127.0.0.0/8", "--resolver", names.endpoint, "--bypass", "direct.test"]
    with Demo(*options, log=log) as running:
        yield running
