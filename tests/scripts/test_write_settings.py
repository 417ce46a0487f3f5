"""The page about settings."""

from __future__ import annotations

from scripts.write_settings import PAGE, document


def test_the_page_is_what_the_settings_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), "run: .venv/bin/python -m scripts.write_settings"
