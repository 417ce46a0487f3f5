"""What the extension asks of a browser, and what it is made of."""

from __future__ import annotations

import json
import re
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from scripts import extension

if TYPE_CHECKING:
    from pathlib import Path

SCRIPTS = sorted(extension.SOURCE.glob("*.js"))
PAGES = sorted(extension.SOURCE.glob("*.html"))
ASKED = {
    "chromium": (
        {"activeTab", "alarms", "privacy", "proxy", "storage", "webNavigation"},
        ["http://127.0.0.1/*"],
    ),
    "firefox": ({"alarms", "privacy", "proxy", "storage", "webNavigation"}, ["<all_urls>"]),
}


@pytest.mark.parametrize("browser", ASKED)
def test_it_asks_for_no_more_than_the_documents_say(browser: str) -> None:
    manifest = extension.manifest(browser)
    permissions, hosts = ASKED[browser]
    assert set(manifest["permissions"]) == permissions
    assert manifest["host_permissions"] == hosts
    document = (extension.ROOT / "docs/extension.md").read_text()
    assert all(f"`{name}`" in document for name in [*permissions, *hosts])
    known = {"manifest_version", "name", "version", "description", "icons", "action", "background", "options_ui"}
    known |= {"permissions", "host_permissions", "content_security_policy"}
    known |= {"minimum_chrome_version"} if browser == "chromium" else {"browser_specific_settings"}
    assert set(manifest) == known  # no pages that sites may open, no scripts in sites, nobody who may send messages


def test_its_pages_run_no_code_but_its_own() -> None:
    policy = extension.manifest("chromium")["content_security_policy"]["extension_pages"]
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts.pop("default-src") == "'none'"
    assert parts.pop("connect-src") == "http://127.0.0.1:*"
    assert set(parts.values()) == {"'none'", "'self'"}
    assert (parts["script-src"], parts["base-uri"], parts["form-action"]) == ("'self'", "'none'", "'none'")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_pages_hold_no_script(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"<script(?![^>]*src=\"[a-z]+\.js\"></script>)|<style|\son[a-z]+=|style=|javascript:", text)
    assert re.search(r"(?:src|href|action)=\"(?!\w+\.(?:js|css)\")", text) is None
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    used = re.findall(r'(?:for|aria-labelledby|aria-describedby)="([^"]+)"', text)
    assert set(used) <= set(ids)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_make_no_code_and_no_markup_of_data(path: Path) -> None:
    text = path.read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function|setTimeout\(\"", text
    )
    assert set(re.findall(r"https?://[^/\"`'\s)?]*", text)) <= {"http://127.0.0.1:${port}"}
    imported = re.findall(r"(?:from|import)\s*\(?\"([^\"]+)\"", text)
    assert all((path.parent / name).is_file() for name in imported)


@pytest.mark.parametrize("browser", ASKED)
def test_what_the_manifest_names_is_in_the_archive_which_is_always_the_same(browser: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        extension.build(browser, tmp_path / name)
    one, two = ((tmp_path / name / f"macrovpn-{browser}.zip").read_bytes() for name in ("one", "two"))
    assert one == two
    with zipfile.ZipFile(tmp_path / "one" / f"macrovpn-{browser}.zip") as archive:
        names = set(archive.namelist())
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest == extension.manifest(browser)
    assert set(named(manifest)) <= names
    assert {path.name for path in [*SCRIPTS, *PAGES]} <= names
    assert "firefox.json" not in names


def named(value: Any) -> list[str]:
    """The files that a part of the manifest names."""
    if isinstance(value, dict):
        return [name for part in value.values() for name in named(part)]
    if isinstance(value, list):
        return [name for part in value for name in named(part)]
    return [value] if isinstance(value, str) and re.fullmatch(r"[\w/]+\.(js|html|png)", value) else []


def test_icons_have_the_sizes_that_they_are_used_for() -> None:
    for path in (extension.SOURCE / "icons").glob("*.png"):
        (size,) = map(int, re.findall(r"\d+", path.name))
        assert struct.unpack(">II", path.read_bytes()[16:24]) == (size, size)


def test_the_manifest_has_the_version_of_the_project() -> None:
    project = (extension.ROOT / "pyproject.toml").read_text()
    assert f'version = "{extension.manifest("firefox")["version"]}"' in project
