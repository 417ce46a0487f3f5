"""`make dist` and `make sbom`: the same bytes everywhere, nothing missing, and a bill of what is in it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jsonschema_rs
import pytest

from scripts import dist, sbom

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = sbom.ROOT
PACKAGES: Final = ("core", "pac", "ledger", "tunnel", "peers", "exits", "proxy", "node")


def sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    dist.make(folder / "dist", folder)
    return folder / "dist"


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sbom.sbom(ROOT, 0))
    return found


@pytest.mark.long
def test_somebody_else_makes_the_same(made: Path, tmp_path: Path) -> None:
    """In another folder, at another time, in another place of the world, with another umask."""
    other = tmp_path / "some where else"
    environment = os.environ | {"TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "scripts.dist", str(other)]
    subprocess.run(command, cwd=tmp_path, env=environment, umask=0o077, capture_output=True, check=True)
    assert sums(other) == sums(made)


def test_the_sums_are_right(made: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", "--strict", dist.SUMS], cwd=made, capture_output=True, check=False)
    assert done.returncode == 0, done
    assert set((made / dist.SUMS).read_text().split()[1::2]) == set(sums(made)) - {dist.SUMS}


def test_the_wheel_has_all_files_of_the_packages(made: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "HEAD", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (wheel,) = made.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = {name for name in archive.namelist() if "/licenses/" in name}
    assert inside == set(listed.stdout.splitlines())
    assert {"node/dashboard/index.html", "pac/data/banking.txt", "ledger/contract/channels.json"} <= inside
    assert len(licences) == 2


def test_what_the_wheel_needs_has_digests(made: Path) -> None:
    """For pip's --require-hashes: each line ends with them."""
    lines = (made / "requirements.txt").read_text().replace("\\\n", " ").splitlines()
    assert len(lines) > 50
    assert all("==" in line.split()[0] and "--hash=sha256:" in line for line in lines)
    assert not any(line.startswith(("macro-vpn", "pytest=")) for line in lines)


# -- the bill of materials


def test_it_is_one() -> None:
    first = sbom.sbom(ROOT, 0)
    sbom.check(first)
    assert first == sbom.sbom(ROOT, 0)
    assert json.loads(first)["metadata"]["timestamp"] == "1970-01-01T00:00:00Z"
    assert json.loads(first)["serialNumber"] != json.loads(sbom.sbom(ROOT, 1))["serialNumber"]


def spoil_kind(bill: dict[str, Any]) -> None:
    bill["components"][0]["type"] = "libary"


def spoil_licence(bill: dict[str, Any]) -> None:
    bill["components"][-1]["licenses"][0]["license"]["id"] = "ISCC"


def spoil_digest(bill: dict[str, Any]) -> None:
    bill["components"][-1]["hashes"][0]["content"] = "0"


def spoil_number(bill: dict[str, Any]) -> None:
    bill["serialNumber"] = "1"


@pytest.mark.parametrize("spoil", [spoil_kind, spoil_licence, spoil_digest, spoil_number])
def test_what_is_none_is_not_given_out(bill: dict[str, Any], spoil: Callable[[dict[str, Any]], None]) -> None:
    spoilt = json.loads(json.dumps(bill))
    spoil(spoilt)
    with pytest.raises(jsonschema_rs.ValidationError):
        sbom.check(json.dumps(spoilt))


def test_it_names_all_that_is_installed_and_nothing_else(bill: dict[str, Any]) -> None:
    """Walked through the lock by itself: what the project and its extras need, and what that needs."""
    locked = {one["name"]: one for one in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    ours = locked["macro-vpn"]
    wanted = [*ours["dependencies"], *(line for extra in ours["optional-dependencies"].values() for line in extra)]
    needed: set[tuple[str, str]] = set()
    while wanted:
        line = wanted.pop()
        package = locked[line["name"]]
        for extra in line.get("extra", []):
            wanted += package["optional-dependencies"][extra]
        if (package["name"], package["version"]) not in needed:
            needed.add((package["name"], package["version"]))
            wanted += package.get("dependencies", [])
    libraries = [one for one in bill["components"] if one["type"] == "library"]
    assert {(one["name"], one["version"]) for one in libraries} == needed
    assert ("pytest", locked["pytest"]["version"]) not in needed
    for one in libraries:
        files = [*locked[one["name"]].get("wheels", []), locked[one["name"]].get("sdist")]
        digests = {file["hash"].removeprefix("sha256:") for file in files if file is not None}
        assert {hash_["content"] for file in one["externalReferences"] for hash_ in file["hashes"]} == digests


def test_data_of_others_is_in_it(bill: dict[str, Any]) -> None:
    data = {one["name"]: one["hashes"][0]["content"] for one in bill["components"] if one["type"] == "data"}
    assert set(data) == set(sbom.DATA)
    for name, digest in data.items():
        assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == digest
    licences = (ROOT / "peers/data/LICENSES.md").read_text()
    assert all(Path(name).name in licences for name in data)
