"""Ask OSV whether anything that the locks name has a known vulnerability: `make audit`.

All packages of `uv.lock` are asked about, for every platform and every group, and those of `scripts/anvil`. An answer
counts only when it is whole: a package that cannot be asked about or that got no answer, and a service that cannot be
reached or does not know its own advisories, mean *not audited*, never *nothing found*.

Exit codes: 0 nothing is known about any of them, 1 something is, 2 not audited.

Source: https://google.github.io/osv.dev/post-v1-querybatch/
"""

from __future__ import annotations

import json
import sys
import tomllib
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError

import click

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
SERVICE: Final = "https://api.osv.dev"
ADVISORY: Final = "https://osv.dev/vulnerability/"
LIMIT_S: Final = 60
MAX_QUERIES: Final = 1000
"""In one request. Source: https://google.github.io/osv.dev/post-v1-querybatch/"""
MAX_ANSWER_BYTES: Final = 16 << 20
MAX_PAGES: Final = 20


@dataclass(frozen=True, order=True)
class Package:
    """One package of one version, as OSV names it.

    Args:
        ecosystem: `PyPI` or `npm`.
        name: in that registry.
        version: exactly.
    """

    ecosystem: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.ecosystem})"

    def query(self, page: str | None) -> dict[str, Any]:
        """What OSV is asked; `page` is the token of a further page."""
        asked = {"package": {"ecosystem": self.ecosystem, "name": self.name}, "version": self.version}
        return asked if page is None else {**asked, "page_token": page}


CONTROLS: Final = (Package("PyPI", "jinja2", "2.4.1"), Package("npm", "lodash", "4.17.10"))
"""Known to be vulnerable for years: a service that finds nothing about these has no advisories."""


class NotAuditedError(Exception):
    """No whole answer was got; says why."""


def locked(root: Path) -> list[Package]:
    """Name what is locked below a folder.

    Raises:
        NotAuditedError: something is not from a registry, so that nobody can be asked about it.
    """
    found, strange = [], []
    for package in tomllib.loads((root / "uv.lock").read_text(encoding="utf-8"))["package"]:
        if package["source"] == {"editable": "."}:
            continue
        if "registry" in package["source"]:
            found.append(Package("PyPI", package["name"], package["version"]))
        else:
            strange.append(package["name"])
    packages = json.loads((root / "scripts/anvil/package-lock.json").read_text(encoding="utf-8"))["packages"]
    for place, package in packages.items():
        if place:
            found.append(Package("npm", place.rpartition("node_modules/")[2], package["version"]))
    if strange:
        raise NotAuditedError(f"these are from no registry: {', '.join(strange)}")
    return sorted(found)


def advisories(packages: Sequence[Package], service: str) -> dict[Package, list[str]]:
    """Ask for the advisories about each package.

    Returns:
        Their names, for each package that has any.

    Raises:
        NotAuditedError: the answer is not whole.
    """
    asked = [*packages, *CONTROLS]
    found: dict[Package, list[str]] = {package: [] for package in asked}
    open_questions: list[tuple[Package, str | None]] = [(package, None) for package in asked]
    for _ in range(MAX_PAGES):
        if not open_questions:
            break
        batch, open_questions = open_questions[:MAX_QUERIES], open_questions[MAX_QUERIES:]
        answer = _ask(service, [package.query(page) for package, page in batch])
        for (package, _), (names, more) in zip(batch, _results(answer, [one for one, _ in batch]), strict=True):
            found[package] += names
            if more:
                open_questions.append((package, more))
    if open_questions:
        raise NotAuditedError(f"the answer about {open_questions[0][0]} has no end")
    for control in CONTROLS:
        if not found.pop(control):
            raise NotAuditedError(f"the service knows nothing about {control}, which has known vulnerabilities")
    return {package: sorted(set(names)) for package, names in found.items() if names}


def _ask(service: str, queries: list[dict[str, Any]]) -> Any:
    data = json.dumps({"queries": queries}).encode()
    request = urllib.request.Request(f"{service}/v1/querybatch", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            raw = answer.read(MAX_ANSWER_BYTES + 1)
        if len(raw) > MAX_ANSWER_BYTES:
            raise NotAuditedError("the answer is too long")
        return json.loads(raw)
    except HTTPError as error:
        with error:
            raise NotAuditedError(f"{service} refused: {error}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise NotAuditedError(f"{service} gave no answer ({error})") from error


def _results(answer: Any, asked: Sequence[Package]) -> Iterator[tuple[list[str], str | None]]:
    """Names of advisories and the token of the next page, for each package that was asked about."""
    match answer:
        case {"results": list(results)} if len(results) == len(asked):
            pass
        case _:
            raise NotAuditedError("the answer is not one for each package")
    for package, result in zip(asked, results, strict=True):
        match result:
            case {"vulns": list(known)}:
                pass
            case {} if "vulns" not in result and set(result) <= {"next_page_token"}:
                known = []
            case _:
                raise NotAuditedError(f"{package} was skipped")
        names = [one.get("id") if isinstance(one, dict) else None for one in known]
        more = result.get("next_page_token")
        if not all(isinstance(name, str) and name for name in names) or not isinstance(more, str | None):
            raise NotAuditedError(f"the answer about {package} makes no sense")
        yield [str(name) for name in names], more


@click.command()
@click.option("--service", default=SERVICE, show_default=True, help="Where OSV's interface is.")
@click.option("--root", default=ROOT, type=click.Path(path_type=Path), help="Where the locks are.")
def main(service: str, root: Path) -> None:
    """Look for known vulnerabilities in everything that is locked."""
    try:
        packages = locked(root)
        found = advisories(packages, service.rstrip("/"))
    except NotAuditedError as error:
        click.echo(f"NOT AUDITED: {error}.", err=True)
        sys.exit(2)
    for package, names in found.items():
        click.echo(f"{package}: {', '.join(ADVISORY + name for name in names)}")
    click.echo(f"{len(packages)} packages asked about, {len(found)} with known vulnerabilities")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
