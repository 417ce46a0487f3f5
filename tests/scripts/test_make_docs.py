"""What is looked at in a site that was built, on sites of one or two pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scripts.make_docs import POLICY, BrokenSiteError, finish

if TYPE_CHECKING:
    from pathlib import Path

HEAD = '<meta charset="utf-8">'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a file to link to, and the folder of a site."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_it.py").write_text("assert True\n")
    (tmp_path / "README.md").write_text("# Hello\n")
    (tmp_path / "build/site/design").mkdir(parents=True)
    return tmp_path


def finished(root: Path, body: str, name: str = "page.html") -> str:
    """Write a page beside `other.html`, look at the site, and return the page."""
    site = root / "build/site"
    (site / "other.html").write_text(f'{HEAD}<h2 id="there">There</h2>')
    (site / name).write_text(HEAD + body)
    finish(site, root)
    return (site / name).read_text()


@pytest.mark.parametrize(
    "body",
    [
        '<a href="other.html#there">',
        '<a href="other.html">',
        '<h2 id="here"><a href="#here">',
        '<a href="https://example.org/#anything">',
        '<a href="mailto:somebody@example.org">',
        '<img src="data:image/png;base64,AAAA">',
    ],
)
def test_what_leads_somewhere(root: Path, body: str) -> None:
    assert body in finished(root, body)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="another.html">', "there is no such file"),
        ('<a href="other.html#nowhere">', "there is no such place in the page"),
        ('<a href="#nowhere">', "there is no such place in the page"),
        ('<img src="picture.png">', "there is no such file"),
        ('<a href="../../missing.py">', "there is no such file in the repository"),
        ('<a href="../tests">', "there is no such file in the repository"),
        ('<a href="../../../../etc/passwd">', "there is no such file in the repository"),
        ('<script src="https://example.org/x.js">', "it would be fetched from elsewhere"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "it would be fetched from elsewhere"),
        ('<img src="http://example.org/x.png">', "it would be fetched from elsewhere"),
        ('<iframe src="https://example.org/">', "it would be fetched from elsewhere"),
    ],
)
def test_what_fails(root: Path, body: str, fault: str) -> None:
    with pytest.raises(BrokenSiteError, match=f"^page.html: {fault}: "):
        finished(root, body)


def test_files_of_the_repository_are_copied(root: Path) -> None:
    text = finished(root, '<a href="../../tests/test_it.py"><a href="../../index.html">', "design/page.html")
    assert '<a href="../repository/tests/test_it.py.txt"><a href="../repository/README.md.txt">' in text
    assert (root / "build/site/repository/tests/test_it.py.txt").read_text() == "assert True\n"
    assert (root / "build/site/repository/README.md.txt").read_text() == "# Hello\n"


@pytest.mark.parametrize("rule", ["@import 'https://example.org/x.css'", "src: url(//example.org/f.woff2)"])
def test_style_sheets_fetch_nothing(root: Path, rule: str) -> None:
    (root / "build/site/look.css").write_text(f"a {{ {rule}; }}")
    with pytest.raises(BrokenSiteError, match=r"^look.css: it fetches something from elsewhere$"):
        finished(root, "")
    (root / "build/site/look.css").write_text("a { background: url(x.svg) url('data:image/svg+xml,<svg>'); }")
    finished(root, "")


def test_pages_may_fetch_nothing_else(root: Path) -> None:
    assert f'{HEAD}<meta http-equiv="Content-Security-Policy" content="{POLICY}">' in finished(root, "")
    (root / "build/site/other.html").write_text("")
    (root / "build/site/strange.html").write_text("<title>no head that is known</title>")
    with pytest.raises(BrokenSiteError, match="do not begin with"):
        finished(root, "")
