"""The secrets of a whole network that pays: in no argument, no environment and no log of any of its processes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from node.last_words import NO_CORE
from tests.harness.demo import Demo, command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.origin import Origin

pytestmark = [pytest.mark.system, pytest.mark.long]

TEXTS = ("control.token", "pac.token", "wallet.key")


def secrets_in(home: Path) -> Iterator[bytes]:
    """What is secret in the files of all nodes, as it stands there and in hexadecimal digits."""
    for name in TEXTS:
        yield from (path.read_bytes().strip() for path in home.rglob(name))
    for path in home.rglob("keys/*.key"):
        yield path.read_bytes()
        yield path.read_bytes().hex().encode()


def test_they_stand_in_their_files_alone(tmp_path: Path, origin: Origin) -> None:
    options = ("--tariff", "1", "--allow-destination", "127.0.0.0/8", "--home", str(tmp_path / "home"))
    with Demo(*options, log=tmp_path / "log", ready_s=90) as demo:
        assert demo.curl("-o", "/dev/null", f"http://127.0.0.1:{origin.http}/bytes/2000000").returncode == 0
        home = tmp_path / "home"
        code = command("pair", home=demo.home)["code"].replace("-", "").encode()
        pids = [demo.process.pid, *demo.pids()]
        said = {
            f"{name} of {pid}": Path(f"/proc/{pid}/{name}").read_bytes()
            for pid in pids
            for name in ("cmdline", "environ")
        }
        limits = [Path(f"/proc/{pid}/limits").read_text() for pid in demo.pids()]
        known = [*secrets_in(home), code]
    logs = {str(path): path.read_bytes() for path in (tmp_path / "log", *home.rglob("node.log"))}
    assert len(known) > 30
    assert len(logs) > 5
    assert [where for where, text in (said | logs).items() if any(secret in text for secret in known)] == []
    core = [line.split()[4:6] for text in limits for line in text.splitlines() if line.startswith("Max core file size")]
    assert len(core) == len(limits)
    assert {limit for both in core for limit in both} <= {"0", str(NO_CORE)}
