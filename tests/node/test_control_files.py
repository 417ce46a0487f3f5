"""The dashboard's files, as a browser gets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from node.control.files import HEADERS, dashboard, read_files
from tests.node.test_control import Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

INDEX = "<!doctype html><title>é</title>"
NAVIGATION = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    folder = tmp_path / "dashboard"
    (folder / "parts").mkdir(parents=True)
    (folder / "index.html").write_text(INDEX)
    (folder / "parts" / "map.js").write_text("export {};")
    for name in (".hidden.js", "notes.txt", "a b.js", "module.py", "noext"):
        (folder / name).write_text("no")
    rig = Rig(tmp_path / "home", folder)
    await rig.control.start(0)
    yield rig
    await rig.control.stop()


async def get(rig: Rig, path: str, headers: dict[str, str] | None = None) -> tuple[int, str, dict[str, str]]:
    async with rig.session() as session, session.get(rig.control.url + path, headers=headers) as answer:
        return answer.status, await answer.text(), dict(answer.headers)


async def test_anybody_may_have_them(rig: Rig) -> None:
    for path in ("/", "/index.html"):
        status, text, headers = await get(rig, path)
        assert (status, text, headers["Content-Type"]) == (200, INDEX, "text/html; charset=utf-8")
        assert HEADERS.items() <= headers.items()
        assert headers["X-Content-Type-Options"] == "nosniff"
    status, text, headers = await get(rig, "/parts/map.js", {"Sec-Fetch-Site": "same-origin"})
    assert (status, text, headers["Content-Type"]) == (200, "export {};", "text/javascript; charset=utf-8")


def test_nothing_from_elsewhere_runs_or_is_asked() -> None:
    policy = dict(part.split(" ", 1) for part in HEADERS["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert {policy[kind] for kind in ("script-src", "style-src", "img-src")} == {"'self'"}
    assert policy["connect-src"] == "'self' http://*.macro-vpn.invalid https://*.macro-vpn.invalid"
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path",
    [
        *("/.hidden.js", "/notes.txt", "/a%20b.js", "/module.py", "/noext", "/parts", "/parts/", "//etc/passwd"),
        *("/../home/control.token", "/parts/..%2f..%2fhome%2fcontrol.token", "/index.html/"),
    ],
)
async def test_there_is_nothing_else(rig: Rig, path: str) -> None:
    assert (await get(rig, path))[0] == 401
    assert (await rig.ask("GET", path))[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (NAVIGATION, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        (NAVIGATION | {"Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ({"Origin": "https://example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "rebound.example"}, 403),
    ],
)
async def test_a_page_of_others_cannot_see_whether_they_are_there(
    rig: Rig, headers: dict[str, str], status: int
) -> None:
    found, text, _ = await get(rig, "/", headers)
    assert found == status
    assert (INDEX in text) == (status == 200)


def test_what_is_shipped_can_be_read() -> None:
    files = read_files(dashboard())
    assert "/" in files or not files
