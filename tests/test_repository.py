"""Rules that the whole repository keeps, read out of its source: layers, sans-IO modules, sizes, and a few words."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parent.parent

MAY_IMPORT: Final = {
    "core": set(),
    "pac": {"core"},
    "ledger": {"core"},
    "tunnel": {"core"},
    "peers": {"core", "tunnel"},
    "exits": {"core", "tunnel"},
    "proxy": {"core", "pac"},
    "node": {"core", "pac", "ledger", "tunnel", "peers", "exits", "proxy"},
}
"""The arrows between packages. Whoever needs an upper layer owns a Protocol, and `node` passes the object in."""

SANS_IO: Final = (
    "tunnel/wireguard/*.py",
    "tunnel/frames.py",
    "tunnel/padding.py",
    "tunnel/cover.py",
    "tunnel/lane_frames.py",
    "tunnel/creation.py",
    "tunnel/assembler.py",
    "tunnel/replay_memory.py",
    "tunnel/address_messages.py",
    "pac/*.py",
    "ledger/account.py",
    "ledger/amounts.py",
    "ledger/messages.py",
    "ledger/payee.py",
    "ledger/payer.py",
    "ledger/set_off.py",
    "ledger/voucher.py",
    "peers/descriptor.py",
    "peers/gossip.py",
    "peers/directory.py",
    "peers/countries.py",
    "peers/place_table.py",
    "peers/regions.py",
    "peers/guards.py",
    "peers/networks.py",
    "peers/invite.py",
    "peers/path*.py",
    "peers/port_mapping/epoch.py",
    "peers/port_mapping/mapping.py",
    "peers/port_mapping/nat_pmp.py",
    "peers/port_mapping/pcp.py",
    "peers/port_mapping/ssdp.py",
    "peers/accusers.py",
    "peers/voices.py",
    "peers/eligible.py",
    "peers/observed.py",
    "peers/averages.py",
    "peers/nearness.py",
    "peers/scores.py",
    "peers/measurements.py",
    "peers/region_order.py",
    "peers/choice.py",
    "peers/reasons.py",
    "tunnel/allotment.py",
    "tunnel/arrivals.py",
    "tunnel/gate.py",
    "exits/addresses.py",
    "exits/hours.py",
    "exits/shaping.py",
    "exits/turns.py",
    "node/sharing.py",
    "node/trust/route_messages.py",
    "exits/policy.py",
    "exits/names.py",
    "exits/limits.py",
    "exits/scans.py",
    "exits/shares.py",
    "exits/name_server.py",
    "exits/dns_message.py",
    "exits/name_cache.py",
    "exits/netlink.py",
    "proxy/early.py",
)
"""Modules that are bytes in, events out: time and randomness come in as arguments."""
IO: Final = frozenset({"asyncio", "socket", "ssl", "time", "random", "secrets"})

PRINTING: Final = ("node/cli*.py", "node/demo.py")
MAX_LINES: Final = 500

SOURCES: Final = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Name the modules that a file imports anywhere in it, also for types only; `.` for a relative import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." if node.level else str(node.module)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def calls_of(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name in (getattr(node.func, "id", None), getattr(node.func, "attr", None)):
            yield node


def wrong_arrows(package: str, tree: ast.AST) -> list[str]:
    """Name the imports that a file of `package` must not have."""
    tops = {name.partition(".")[0] or "." for name in imports_of(tree)}
    ours = set(MAY_IMPORT) | {"tests", "bench", "."}
    wrong = (tops & ours) - MAY_IMPORT[package] - {package}
    if package == "core":
        wrong |= tops - ours - sys.stdlib_module_names
    return sorted(wrong)


def lost_tasks(tree: ast.AST) -> list[int]:
    """Give the lines that start a task outside a task group."""
    groups = {
        item.optional_vars.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncWith)
        for item in node.items
        if isinstance(item.optional_vars, ast.Name) and any(calls_of(item.context_expr, "TaskGroup"))
    }
    calls = [*calls_of(tree, "create_task"), *calls_of(tree, "ensure_future")]
    return [
        call.lineno
        for call in calls
        if not (isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", None) in groups)
    ]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down(package: str) -> None:
    found = {
        name_of(path): wrong
        for path in SOURCES
        if path.is_relative_to(ROOT / package)
        if (wrong := wrong_arrows(package, tree_of(path)))
    }
    assert not found


def test_an_import_that_points_up_is_found() -> None:
    assert wrong_arrows("tunnel", ast.parse("def f():\n    from node.app import run")) == ["node"]
    assert wrong_arrows("peers", ast.parse("from . import store")) == ["."]
    assert wrong_arrows("core", ast.parse("import msgspec, asyncio")) == ["msgspec"]
    assert wrong_arrows("exits", ast.parse("import dns.message\nfrom tunnel.link import Link")) == []


def test_sans_io_modules_import_no_io() -> None:
    existing = {pattern: sorted(ROOT.glob(pattern)) for pattern in SANS_IO}
    assert sum(map(bool, existing.values())) > len(SANS_IO) / 2, "most of these modules must exist"
    found = {
        name_of(path): sorted(wrong)
        for paths in existing.values()
        for path in paths
        if (wrong := IO.intersection(name.partition(".")[0] for name in imports_of(tree_of(path))))
    }
    assert not found


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {canonical(re.split(r"[^A-Za-z0-9_.-]", line)[0]) for line in project["dependencies"]}
    distributions = metadata.packages_distributions()
    found = {}
    for path in SOURCES:
        tops = (
            {name.partition(".")[0] for name in imports_of(tree_of(path))} - set(MAY_IMPORT) - sys.stdlib_module_names
        )
        for top in tops:
            if not declared.intersection(map(canonical, distributions.get(top, [top]))):
                found[name_of(path)] = top
    assert not found


def canonical(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def test_files_fit_in_a_head() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_only_commands_print() -> None:
    printing = {path for pattern in PRINTING for path in ROOT.glob(pattern)}
    found = [name_of(path) for path in SOURCES if path not in printing and any(calls_of(tree_of(path), "print"))]
    assert not found


def test_tasks_are_named_and_kept() -> None:
    found = {
        name_of(path): lines
        for path in SOURCES
        if name_of(path) != "core/tasks.py" and (lines := lost_tasks(tree_of(path)))
    }
    assert not found


def test_a_lost_task_is_found() -> None:
    assert lost_tasks(ast.parse("asyncio.create_task(work())\nasyncio.ensure_future(work())")) == [1, 2]
    assert lost_tasks(ast.parse("asyncio.get_running_loop().create_task(work())")) == [1]
    grouped = "async def f():\n    async with asyncio.TaskGroup() as group:\n        group.create_task(work())"
    assert lost_tasks(ast.parse(grouped)) == []


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_every_package_says_what_it_is(package: str) -> None:
    for folder in {path.parent for path in (ROOT / package).rglob("*.py")} | {ROOT / package}:
        initial = folder / "__init__.py"
        assert initial.exists(), f"{name_of(folder)} has no __init__.py"
        assert ast.get_docstring(tree_of(initial)), f"{name_of(initial)} has no docstring"


def marked(name: str) -> set[str]:
    """The files in which tests have a mark."""
    found = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if f"pytest.mark.{name}" in path.read_text()]
    return {str(path.relative_to(ROOT)) for path in found if path.name != "test_repository.py"}


def test_every_test_has_a_lane() -> None:
    """CI names the places of tests of whole nodes, and the files of those that have the machine to themselves."""
    lanes = (ROOT / ".ci/run").read_text()
    assert all(path.startswith(("tests/system/", "tests/interop/")) for path in marked("system"))
    assert all(path in lanes for path in marked("alone"))
