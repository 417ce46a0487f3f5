"""Nothing is installed, and nothing runs while something is built, whose digest does not stand in the repository."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKED: Final = {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
OURS: Final = PROJECT["project"]["name"]
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def files_of(package: dict[str, Any]) -> list[dict[str, Any]]:
    """What the lock names to install a package from."""
    return [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9_.-]", requirement)[0].lower()


def test_every_file_has_a_digest() -> None:
    without = {
        name: files
        for name, package in LOCKED.items()
        if name != OURS and not ((files := files_of(package)) and all(DIGEST.fullmatch(file["hash"]) for file in files))
    }
    assert not without


def test_all_comes_from_the_registry() -> None:
    sources = {name: set(package["source"]) for name, package in LOCKED.items()}
    assert {name for name, source in sources.items() if source != {"registry"}} == {OURS}


def test_what_builds_is_locked_too() -> None:
    """Whatever has no wheel is built, and so is this project: in an environment of its own that would not be locked."""
    built = {OURS} | {name for name, package in LOCKED.items() if name != OURS and not package.get("wheels")}
    assert set(PROJECT["tool"]["uv"]["no-build-isolation-package"]) == built
    groups = PROJECT["dependency-groups"]
    assert {"include-group": "build"} in groups["dev"]
    builders = {name_of(line) for line in groups["build"]}
    assert builders >= {name_of(line) for line in PROJECT["build-system"]["requires"]} | {"setuptools"}
    assert builders <= set(LOCKED)


def test_the_installer_has_digests() -> None:
    lines = (ROOT / "scripts/uv.txt").read_text().replace("\\\n", " ").splitlines()
    (uv,) = [line.split() for line in lines if not line.startswith("#")]
    assert re.fullmatch(r"uv==[0-9.]+", uv[0])
    assert len(uv) > 10, "for every kind of machine"
    assert all(DIGEST.fullmatch(word.removeprefix("--hash=")) for word in uv[1:])


@pytest.mark.parametrize("place", ["scripts/setup", "packaging/Containerfile"])
def test_nothing_is_installed_without(place: str) -> None:
    text = (ROOT / place).read_text()
    pips, syncs = re.findall(r"pip install (.*)", text), re.findall(r"uv sync (.*)", text)
    assert pips
    assert all("--require-hashes" in line and "--requirement scripts/uv.txt" in line for line in pips)
    assert syncs
    assert all("--locked" in line for line in syncs)


def test_the_chain_for_tests_has_digests() -> None:
    """npm checks them, and runs no script of a package."""
    packages = json.loads((ROOT / "scripts/anvil/package-lock.json").read_text())["packages"]
    assert all(package["integrity"].startswith("sha512-") for place, package in packages.items() if place)
    assert '"ci", "--ignore-scripts"' in (ROOT / "scripts/get_anvil.py").read_text()


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("place", ["scripts/uv.txt", "uv.lock"])
def test_other_bytes_are_not_installed(tmp_path: Path, place: str) -> None:
    """Each digest is changed in one place: nothing that the registry has fits."""
    for name in ("scripts", "core", "pyproject.toml", "uv.lock", "README.md", "LICENSE"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy(source, tmp_path / name)
    file = tmp_path / place
    file.write_text(DIGEST.sub(lambda found: found[0][:-4] + "0000", file.read_text()))
    done = subprocess.run(
        ["sh", "scripts/setup"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode
    assert re.search("(?i)do not match the hashes|hash mismatch", done.stderr), done.stderr
    assert not (tmp_path / ".venv/.macrovpn-setup").exists()
