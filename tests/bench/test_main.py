"""The command line of the measurements."""

from __future__ import annotations

import argparse
import importlib

import pytest

from bench.__main__ import COMMANDS, split


def test_without_a_command_it_is_speed() -> None:
    assert split([]) == ("speed", [])
    assert split(["--runs", "2"]) == ("speed", ["--runs", "2"])
    assert split(["memory", "--flows", "3"]) == ("memory", ["--flows", "3"])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_parts(name: str) -> None:
    module = importlib.import_module(f"bench.{name}")
    parser = argparse.ArgumentParser(description=module.__doc__)
    module.add_options(parser)
    assert parser.parse_args([])
    assert callable(module.run)
    assert module.TAKES_DEMO_OPTIONS in (True, False)
    assert parser.format_help()
