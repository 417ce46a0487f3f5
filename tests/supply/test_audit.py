"""`make audit` against a service of its own: found, nothing found, and every way in which nothing was found out."""

from __future__ import annotations

import json
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from scripts.audit import CONTROLS, ROOT, main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KNOWN = {"vulns": [{"id": "GHSA-0000", "modified": "2026-01-01T00:00:00Z"}]}
"""What OSV says of a package with one advisory. Source: the documentation of its `querybatch`."""

type Asked = dict[str, Any]
type Answering = Callable[[list[Asked]], Any]


def name_of(query: Asked) -> str:
    name: str = query["package"]["name"]
    return name


def honest(queries: list[Asked], **known: Any) -> list[Any]:
    """The answers of a service that knows about the controls, and what is given for other names."""
    return [known.get(name_of(query), KNOWN if is_control(query) else {}) for query in queries]


def is_control(query: Asked) -> bool:
    return any(query == control.query(None) for control in CONTROLS)


@contextmanager
def service(answering: Answering) -> Iterator[str]:
    """Answer on loopback as told: what is a string or None is sent as it is, else as the results."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            said = answering(queries)
            self.send_response(503 if said is None else 200)
            self.end_headers()
            self.wfile.write((said if isinstance(said, str) else json.dumps({"results": said})).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


def write_locks(folder: Path, source: str, *names: str) -> Path:
    """Make a folder with packages of version 1 in `uv.lock`, and anvil's lock."""
    (folder / "scripts").mkdir()
    shutil.copytree(ROOT / "scripts/anvil", folder / "scripts/anvil")
    packages = (f'[[package]]\nname = "{name}"\nversion = "1"\nsource = {{ {source} }}\n' for name in names)
    (folder / "uv.lock").write_text("".join(packages))
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_locks(tmp_path, 'registry = "https://pypi.org/simple"', "aiohttp", "yarl")


def audit(answering: Answering, root: Path = ROOT) -> Result:
    with service(answering) as url:
        return CliRunner().invoke(main, ["--service", url, "--root", str(root)])


def test_everything_locked_is_asked_about() -> None:
    asked: list[Asked] = []

    def answer(queries: list[Asked]) -> Any:
        asked.extend(queries)
        return honest(queries)

    done = audit(answer)
    assert done.exit_code == 0, done.output
    names = [name_of(query) for query in asked if not is_control(query)]
    assert {"aiohttp", "libtorrent", "atheris", "pywin32", "@foundry-rs/anvil"} <= set(names)
    assert f"{len(names)} packages asked about, 0 with" in done.output
    assert len(names) == (ROOT / "uv.lock").read_text().count("[[package]]") - 1 + 6


def test_a_vulnerable_package_is_named(small: Path) -> None:
    done = audit(lambda queries: honest(queries, aiohttp=KNOWN), small)
    assert done.exit_code == 1
    assert "aiohttp 1 (PyPI): https://osv.dev/vulnerability/GHSA-0000" in done.output
    assert "1 with known vulnerabilities" in done.output


def test_what_stands_on_a_later_page_counts(small: Path) -> None:
    def answer(queries: list[Asked]) -> Any:
        if "page_token" in queries[0]:
            assert [name_of(query) for query in queries] == ["yarl"]
            return [KNOWN]
        return honest(queries, yarl={"next_page_token": "2"})

    assert audit(answer, small).exit_code == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda queries: None, "HTTP Error 503"),
        (lambda queries: "", "gave no answer"),
        (lambda queries: "<html>", "gave no answer"),
        (lambda queries: "{}", "not one for each package"),
        (lambda queries: "[]", "not one for each package"),
        (lambda queries: honest(queries)[:-1], "not one for each package"),
        (lambda queries: honest(queries, yarl=None), "yarl 1 (PyPI) was skipped"),
        (lambda queries: honest(queries, yarl={"skip_reason": "not found"}), "was skipped"),
        (lambda queries: honest(queries, yarl={"vulns": None}), "was skipped"),
        (lambda queries: honest(queries, yarl={"vulns": [{}]}), "makes no sense"),
        (lambda queries: honest(queries, yarl={"next_page_token": 1}), "makes no sense"),
        (lambda queries: [{} for _ in queries], "knows nothing about jinja2"),
        (lambda queries: honest(queries, lodash={}), "knows nothing about lodash"),
        (lambda queries: honest(queries, yarl={"next_page_token": "on"}), "about yarl 1 (PyPI) has no end"),
        (lambda queries: " " * (17 << 20), "too long"),
    ],
)
def test_half_an_answer_is_none(answer: Answering, reason: str, small: Path) -> None:
    done = audit(answer, small)
    assert done.exit_code == 2
    assert done.output.startswith("NOT AUDITED: ")
    assert reason in done.output


def test_nobody_answers(small: Path) -> None:
    with service(honest) as url:
        pass
    done = CliRunner().invoke(main, ["--service", url, "--root", str(small)])
    assert done.exit_code == 2
    assert "Connection refused" in done.output


def test_what_is_from_no_registry_cannot_be_asked_about(tmp_path: Path) -> None:
    done = audit(honest, write_locks(tmp_path, 'git = "https://a.example/b?rev=main"', "a"))
    assert done.exit_code == 2
    assert "from no registry: a" in done.output
