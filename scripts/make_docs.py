"""Build the site of the documents into build/site: `make docs`; with `serve`, show it on this machine, too.

What is built needs no server and no Internet. Pages may link to any file of the repository, as GitHub shows it: such a
file is copied beside the pages. A link that leads nowhere, a page that `mkdocs.yml` does not name, or anything that a
browser would fetch from elsewhere fails the build.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

ROOT: Final = Path(__file__).resolve().parent.parent
SITE: Final = ROOT / "build" / "site"
COPIES: Final = "repository"
"""The folder of the site for files from outside docs/; each with `.txt` at its end, so that browsers show it."""

POLICY: Final = "default-src 'self' file: data: blob: 'unsafe-inline'; object-src 'none'"
"""What a page may fetch. The theme's script knows places of libraries elsewhere, for things that no page here has."""
_FIRST: Final = '<meta charset="utf-8">'
_LINKING: Final = ("href", "src")
_OUTSIDE_CSS: Final = re.compile(r"(?:url\(|@import)\s*['\"]?\s*(?:https?:)?//")


class BrokenSiteError(Exception):
    """The site is not fit to be shown; the message has a line for each fault."""


@dataclass(slots=True)
class Built:
    """A page as it was built.

    Args:
        text: its HTML.
        ids: what can be linked to in it.
        links: tag and target of each link in it.
    """

    text: str
    ids: set[str] = field(default_factory=set)
    links: list[tuple[str, str]] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self, page: Built) -> None:
        super().__init__()
        self._page = page
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self._page.ids.add(value)
            elif name in _LINKING and value:
                self._page.links.append((tag, value))


def build() -> None:
    """Build the site anew.

    Raises:
        BrokenSiteError: a link leads nowhere, or outside.
        subprocess.CalledProcessError: the builder found something itself, and said what.
    """
    faults = [f"mkdocs.yml names {page}, which is not there" for page in nav() if not (ROOT / "docs" / page).is_file()]
    if faults:
        raise BrokenSiteError("\n".join(faults))
    shutil.rmtree(SITE, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"NO_COLOR": "1"})
    (SITE / "404.html").unlink()  # it is for servers, and its links are for the root of one
    finish(SITE, ROOT)


def nav() -> list[str]:
    """Give the pages that `mkdocs.yml` names, each by its path in docs/, in their order."""
    return re.findall(r"^ +- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)


def finish(site: Path, root: Path) -> None:
    """Look at all links of what was built, bring what they need, and forbid the pages to fetch anything else.

    Args:
        site: the folder of the pages; what lies beside it in a link lies in `root`.
        root: the repository.

    Raises:
        BrokenSiteError: see there.
    """
    pages = {path: Built(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    for page in pages.values():
        _Reader(page)
    faults = [
        f"{path.relative_to(site)}: {fault}: {target}"
        for path, page in pages.items()
        for tag, target in page.links
        if (fault := _fault(path, tag, target, pages, site, root))
    ]
    faults += [
        f"{path.relative_to(site)}: it fetches something from elsewhere"
        for path in sorted(site.rglob("*.css"))
        if _OUTSIDE_CSS.search(path.read_text(encoding="utf-8"))
    ]
    if faults:
        raise BrokenSiteError("\n".join(faults))
    for path, page in pages.items():
        path.write_text(_closed(page.text), encoding="utf-8")


def _fault(path: Path, tag: str, target: str, pages: dict[Path, Built], site: Path, root: Path) -> str:
    """Say what is wrong with a link; one to a file of the repository is turned to a copy."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return "" if tag == "a" or parts.scheme == "data" else "it would be fetched from elsewhere"
    found = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
    if not found.is_relative_to(site):
        return _copy(path, target, pages[path], found, site, root)
    found = found / "index.html" if found.is_dir() else found
    if not found.is_file():
        return "there is no such file"
    if parts.fragment and found in pages and unquote(parts.fragment) not in pages[found].ids:
        return "there is no such place in the page"
    return ""


def _copy(path: Path, target: str, page: Built, found: Path, site: Path, root: Path) -> str:
    if not found.is_relative_to(site.parent):
        return "there is no such file in the repository"
    name = found.relative_to(site.parent)
    if name.suffix == ".html":  # the builder takes any Markdown for a page of the site
        name = name.with_name("README.md") if name.name == "index.html" else name.with_suffix(".md")
    if not (root / name).is_file():
        return "there is no such file in the repository"
    copy = site / COPIES / f"{name}.txt"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / name, copy)
    page.text = page.text.replace(f'"{target}"', f'"{Path(os.path.relpath(copy, path.parent)).as_posix()}"')
    return ""


def _closed(text: str) -> str:
    if _FIRST not in text:
        raise BrokenSiteError(f"The builder's pages do not begin with {_FIRST} any more: mend {__name__}.")
    return text.replace(_FIRST, f'{_FIRST}<meta http-equiv="Content-Security-Policy" content="{POLICY}">', 1)


def serve(port: int) -> None:
    """Show the site on this machine until Ctrl-C."""
    with ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=SITE)) as server:
        print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C stops it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="make docs", description="Build the site of the documents.")
    parser.add_argument("what", nargs="?", choices=["build", "serve"], default="build", help="serve: and show it")
    parser.add_argument("--port", type=int, default=8000, help="where it is shown; 0: any free port (default: 8000)")
    chosen = parser.parse_args()
    try:
        build()
    except BrokenSiteError as error:
        raise SystemExit(str(error)) from error
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from error
    print(f"Built: {SITE / 'index.html'}")
    if chosen.what == "serve":
        serve(chosen.port)


if __name__ == "__main__":
    main()
