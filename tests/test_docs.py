"""The documents: links and anchors as on GitHub, the list of the pages, and that the product says what they quote.

`make docs` looks at the same links once more as a browser sees them.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import click
import pytest

from core.errors import Reason
from node.cli import cli
from node.settings import FIELDS
from proxy.answers import http_refusal
from proxy.ask import Place
from scripts.make_docs import nav

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
PAGES: Final = sorted(
    path
    for top in ROOT.iterdir()
    if not top.name.startswith(".") and top.name not in ("build", "dist")
    for path in ([top] if top.suffix == ".md" else top.rglob("*.md"))
)

_FENCE: Final = re.compile(r"^(```+|~~~+).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
_LINK: Final = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)")
_HEADING: Final = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)

SAYS: Final = "it says"
"""The head of a table's first column whose cells are the product's own words; `…` stands for what differs."""
PACKAGES: Final = ("core", "pac", "ledger", "tunnel", "peers", "exits", "proxy", "node")
HOLE: Final = "\0"
SHORTEST: Final = 6
"""Characters in a row of a quoted text, one of its parts at least: less is found anywhere."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_code(text: str) -> str:
    """Take out what only looks like a link, and keep the lines."""
    return _CODE.sub("", _FENCE.sub(lambda found: "\n" * found[0].count("\n"), text))


def slug(heading: str) -> str:
    """Name a heading as GitHub does, and the site with it."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


@cache
def anchors(path: Path) -> set[str]:
    """What can be linked to in a page; a heading that stands twice only at its first place."""
    return {slug(heading) for heading in _HEADING.findall(_FENCE.sub("", path.read_text(encoding="utf-8")))}


def broken(path: Path, text: str) -> Iterator[str]:
    """Name the links of a page that lead nowhere, with their lines."""
    for number, line in enumerate(without_code(text).splitlines(), 1):
        for target in _LINK.findall(line):
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            name, _, anchor = target.partition("#")
            found = (path.parent / unquote(name)).resolve() if name else path
            if not found.exists() or not found.is_relative_to(ROOT):
                yield f"{number}: there is no {name}"
            elif anchor and found.suffix == ".md" and anchor not in anchors(found):
                yield f"{number}: there is no #{anchor} in {name_of(found)}"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    assert list(broken(path, path.read_text(encoding="utf-8"))) == []


def test_broken_links_are_found() -> None:
    text = (
        "[a](docs/none.md)\n```\n[b](none)\n```\n`[c](none)` [d](docs/state.md#none) [e](#figures) [f](#none) [g](../x)"
    )
    assert list(broken(ROOT / "README.md", text)) == [
        "1: there is no docs/none.md",
        "5: there is no #none in docs/state.md",
        "5: there is no #none in README.md",
        "5: there is no ../x",
    ]


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("Who may ask", "who-may-ask"),
        ("`macrovpn demo`", "macrovpn-demo"),
        ("12. Paths by weight, in wanted regions", "12-paths-by-weight-in-wanted-regions"),
        ("What [it](x.md) does: *all*", "what-it-does-all"),
        ("asyncio-socks-server: what it lacks", "asyncio-socks-server-what-it-lacks"),
    ],
)
def test_headings_are_named_as_on_github(heading: str, expected: str) -> None:
    assert slug(heading) == expected


def test_each_page_is_in_the_nav_once() -> None:
    """That each page of the nav is there is what `make docs` looks at."""
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert pages - set(nav()) == set(), "name it in mkdocs.yml"
    assert len(nav()) == len(set(nav()))


def test_only_the_first_of_a_page_is_its_title() -> None:
    """The nav shows it."""
    for path in DOCS.rglob("*.md"):
        lines = _FENCE.sub("", path.read_text(encoding="utf-8")).splitlines()
        assert [line for line in lines if line.startswith("# ")] == [lines[0]], name_of(path)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_each_row_is_in_a_table(path: Path) -> None:
    """A blank line in a table makes a paragraph of what follows."""
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    for found in re.finditer(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = found[0].splitlines()
        assert len(rows) > 2, rows[0]
        assert set(rows[1]) <= set("|-: "), rows[0]


# -- commands and settings

_SPAN: Final = re.compile(r"`([^`\n]+)`")
_COMMAND: Final = re.compile(r"(?:^|[\s(])(?:\.venv/bin/)?macrovpn ([^|;&#)]+)")
_SETTING: Final = re.compile(rf"(?:{'|'.join({name.partition('.')[0] for name in FIELDS})})\.[a-z_]+")
_FILES: Final = {
    ".toml",
    ".json",
    ".token",
    ".port",
    ".log",
    ".lock",
    ".db",
    ".key",
    ".txt",
    ".html",
    ".bad",
    ".explained",
}
HISTORY: Final = ("CHANGELOG.md", "docs/design/")


def code_of(text: str) -> Iterator[str]:
    """Give each line of code: what stands between backquotes, and lines of blocks."""
    for block in _FENCE.finditer(text):
        yield from block[0].splitlines()[1:-1]
    yield from _SPAN.findall(_FENCE.sub("", text))


def wrong_commands(text: str) -> Iterator[str]:
    """Give what a page has one type that is no command of ours, or an option that it does not have."""
    for line in code_of(text):
        for words in _COMMAND.findall(line):
            command: click.Command = cli
            for word in words.split():
                if word in commands_of(command):
                    command = commands_of(command)[word]
                elif re.fullmatch("[a-z]+", word) if commands_of(command) else not known_option(command, word):
                    yield f"{line}: {word}"
                    break


def commands_of(command: click.Command) -> Mapping[str, click.Command]:
    return command.commands if isinstance(command, click.Group) else {}


def known_option(command: click.Command, word: str) -> bool:
    """Say whether a word is no option, or one of the command's."""
    named = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    return not word.startswith("--") or word.partition("=")[0] in named | {"--help"}


@pytest.mark.parametrize("path", [path for path in PAGES if not name_of(path).startswith(HISTORY)], ids=name_of)
def test_what_is_to_be_typed_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert list(wrong_commands(text)) == []
    settings = {word for line in code_of(text) for word in line.split() if _SETTING.fullmatch(word)}
    assert {word for word in settings if Path(word).suffix not in _FILES} - set(FIELDS) == set()


def test_wrong_commands_are_found() -> None:
    text = "`macrovpn up --system-proxy`, `macrovpn fly` and `macrovpn up --fly`\n```\nmacrovpn trust buy home\n```\n"
    found = ["macrovpn trust buy home: buy", "macrovpn fly: fly", "macrovpn up --fly: --fly"]
    assert list(wrong_commands(text)) == found


# -- the product's words


def quoted(text: str) -> Iterator[str]:
    """Give the first cells of the tables of what the product says."""
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[1] == SAYS:
            inside = True
        elif inside and not set(cells[1]) <= set("-: "):
            yield cells[1].replace("`", "")


def said_by(tree: ast.AST) -> Iterator[str]:
    """Give the texts of a module that are no docstrings, with holes for values."""
    silent: set[int] = set()
    for node in ast.walk(tree):  # what holds others comes before them
        if isinstance(node, ast.Expr):
            silent.add(id(node.value))
        elif id(node) not in silent and (text := _text(node)):
            yield text


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or HOLE for part in node.values)
    return ""


@cache
def product() -> tuple[str, ...]:
    """All that the product may say."""
    found: list[str] = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            found += said_by(ast.parse(path.read_text(encoding="utf-8")))
    for folder in (ROOT / "extension", ROOT / "node"):
        for path in (*folder.rglob("*.js"), *folder.rglob("*.html")):
            text = path.read_text(encoding="utf-8")
            found.append(re.sub(r"<[^>]*>", "", text) if path.suffix == ".html" else re.sub(r"\$\{[^}]*\}", HOLE, text))
    found.append((ROOT / "scripts/setup").read_text(encoding="utf-8"))
    return tuple(re.sub(r"\s+", " ", text.replace("`", "").replace("…", HOLE)) for text in found)


def is_said(quote: str) -> bool:
    """Say whether one text of the product has all parts of a quotation, in their order.

    Before what is wrong with a setting comes its name, and behind it a full stop.
    """
    setting = re.match(r"([a-z]+\.[a-z_]+): ", quote)
    if setting:
        if setting[1] not in FIELDS:
            return False
        quote = quote.removeprefix(setting[0]).removesuffix(".")
    parts = [part.strip() for part in quote.split("…") if part.strip()]
    longest = max(parts, key=len, default="")
    return len(longest) >= SHORTEST and any(_has(text, parts) for text in product() if longest in text)


def _has(text: str, parts: Sequence[str]) -> bool:
    place = 0
    for part in parts:
        if (place := text.find(part, place)) < 0:
            return False
        place += len(part)
    return True


UNSEEN: Final = {Reason.DONE, Reason.LOCAL, Reason.BAD_VOUCHER, Reason.TOO_EARLY}
"""Ends of what the program itself closed, and reasons between neighbours; no page says them."""
_TITLE: Final = re.compile(r"<h1>(.*?)</h1>")
QUOTES: Final = [(name_of(path), quote) for path in PAGES for quote in quoted(path.read_text(encoding="utf-8"))]
EXPLAINED: Final = {quote for page, quote in QUOTES if page == "docs/troubleshooting.md"}


@pytest.mark.parametrize(("page", "quote"), QUOTES)
def test_what_is_quoted_is_said(page: str, quote: str) -> None:
    assert is_said(quote), f"{page} quotes what the product does not say (any more)"


def test_there_are_quotations() -> None:
    assert len(EXPLAINED) > 40


@pytest.mark.parametrize("place", Place)
def test_pages_that_say_why_are_explained(place: Place) -> None:
    """Whatever stands on a page instead of a site's is found in the page for that."""
    reasons = set(Reason) - UNSEEN if place is Place.TUNNEL else {Reason.NO_PATH}
    said = {unescape(text) for reason in reasons for text in _TITLE.findall(http_refusal(reason, place).decode())}
    assert said
    assert said - EXPLAINED == set()


def test_what_the_button_says_is_explained() -> None:
    text = (ROOT / "extension/view.js").read_text(encoding="utf-8")
    said = set(re.findall(r'"(Blocked: [^"]+|Not protected|Sites may [^"]+)"', text))
    assert len(said) > 5
    assert said - EXPLAINED == set()


def test_other_words_are_no_quotation() -> None:
    assert is_said("No path to an exit could be built, so nothing was sent.")
    assert is_said("payments.unit_wei: the contract holds a token, …")
    assert is_said("The node in … (process …) does not answer.")
    assert not is_said("No path to an exit could be found, so nothing was sent.")
    assert not is_said("payments.nothing: the contract holds a token, …")
    assert not is_said("does not answer. … The node in")
    assert not is_said("…")
    assert not is_said("a … b")
