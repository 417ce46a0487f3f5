"""The wheel of `make dist`, installed where nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from scripts import dist, sbom
from tests.harness.demo import Demo

if TYPE_CHECKING:
    from tests.harness.origin import Origin

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(180)]

CACHE: Final = {
    "UV_CACHE_DIR": str(sbom.ROOT / ".venv/.cache/uv"),
    "UV_SYSTEM_CERTS": "1",
    "UV_PYTHON_DOWNLOADS": "never",
}
"""What scripts/setup fetched is at hand."""
SIZE: Final = 5_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    dist.make(folder / "dist", folder)
    (found,) = (folder / "dist").glob("*.whl")
    return found


def uv(*arguments: str, **environment: str) -> None:
    command = [sys.executable, "-m", "uv", *arguments]
    done = subprocess.run(
        command, cwd="/", env=os.environ | CACHE | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def check_version(program: Path, wheel: Path) -> None:
    said = subprocess.run([program, "--version"], cwd="/", capture_output=True, text=True, check=True).stdout
    assert wheel.name.split("-")[1] == said.split()[-1]


def test_as_a_tool(wheel: Path, tmp_path: Path) -> None:
    """`uv tool install`, which does what `pipx install` does, with the locked versions."""
    places = {name: str(tmp_path / name) for name in ("UV_TOOL_DIR", "UV_TOOL_BIN_DIR")}
    constraints = ["--constraints", str(wheel.with_name("requirements.txt"))]
    uv("tool", "install", "--quiet", "--python", sys.executable, *constraints, str(wheel), **places)
    check_version(tmp_path / "UV_TOOL_BIN_DIR/macrovpn", wheel)


def test_nothing_of_the_repository_is_needed(wheel: Path, tmp_path: Path, origin: Origin) -> None:
    """In an environment of what the wheel needs, with the locked digests and without the registry, a network runs."""
    locked, environment = tmp_path / "pylock.toml", tmp_path / "environment"
    locked.write_text(sbom.export(sbom.ROOT, "--format", "pylock.toml", "--no-emit-project"))
    uv("venv", "--quiet", "--python", sys.executable, str(environment))
    into = ["pip", "install", "--quiet", "--offline", "--python", str(environment)]
    uv(*into, "--requirement", str(locked))
    uv(*into, "--no-deps", str(wheel))
    check_version(environment / "bin/macrovpn", wheel)
    python = environment / "bin/python"
    options = ("--allow-destination", "127.0.0.0/8")
    with Demo(*options, log=tmp_path / "log", python=python, folder=tmp_path) as demo:
        body = tmp_path / "body"
        done = demo.curl("-o", str(body), f"http://127.0.0.1:{origin.http}/bytes/{SIZE}")
        assert done.returncode == 0, done.stderr
        assert body.stat().st_size == SIZE
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in demo.pids()]
    assert len(commands) > 3
    assert all(command.startswith(str(environment).encode()) for command in commands)
