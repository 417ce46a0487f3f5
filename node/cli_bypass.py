"""`macrovpn bypass`: which sites go past the tunnel, nowhere, or through it in a way of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from core.errors import MacroVpnError
from node.cli_common import Group, SettingType, common, plain, show, usage
from node.cli_completing import LISTS_IN_USE, OWN_RULES, PRESETS_IN_USE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pac.rules import Rule

_SHOWN: Final = 10
"""Lines left out of an import that are shown to a person."""
_TOLD: Final = 1000
"""The same, in JSON."""
_ALONE: Final = frozenset({"bypass", "tunnel", "block", "isolated"})
"""Words of a rule that is longer; alone they would be hosts, which nobody means."""

_PRESET = click.option(
    "--preset",
    "presets",
    multiple=True,
    type=SettingType("bypass.presets", "NAME", many=True),
    help="Rules that come with macrovpn. Repeatable.",
)


@click.group(cls=Group)
def bypass() -> None:
    """Rules for sites: past the tunnel, nowhere, or in a way.

    In a way of their own: through the tunnel with options.

    A rule is an argument of its own, in quotes if it has several words: example.com, .example.com (with all below),
    "*.corp.example", 10.0.0.0/8, https://example.com, example.com:8443, "block .ads.example",
    "tunnel intra.example.com", ".example.nl region=NL,DE mode=privacy max_tariff=3 isolated".
    """


@bypass.command()
@common
@click.argument("rules", nargs=-1)
@_PRESET
def add(home: Path, as_json: bool, rules: tuple[str, ...], presets: tuple[str, ...]) -> None:
    """Add rules, or presets. A rule replaces the one for the same hosts, port and scheme."""
    from node.bypass_edit import add_rules

    if not (rules or presets):
        raise click.UsageError("Name a rule or a --preset.")
    new = _parse(rules)
    replaced = add_rules(home, new, presets)
    _done(
        as_json,
        home,
        {"added": list(map(str, new)), "replaced": list(map(str, replaced)), "presets": list(presets)},
        [*(f"added     {rule}" for rule in new), *(f"replaced  {rule}" for rule in replaced)]
        + [f"added     preset {name}" for name in presets],
    )


@bypass.command()
@common
@click.argument("rules", nargs=-1, shell_complete=OWN_RULES)
@click.option(
    "--preset",
    "presets",
    multiple=True,
    type=SettingType("bypass.presets", "NAME", many=True),
    shell_complete=PRESETS_IN_USE,
    help="A preset. Repeatable.",
)
@click.option(
    "--list",
    "lists",
    multiple=True,
    metavar="NAME",
    shell_complete=LISTS_IN_USE,
    help="An imported list. Repeatable.",
)
def remove(home: Path, as_json: bool, rules: tuple[str, ...], presets: tuple[str, ...], lists: tuple[str, ...]) -> None:
    """Remove rules, presets or lists. Of a rule its hosts are enough, without what shall happen there."""
    from node.bypass_edit import find_rules, own_rules, write_bypass
    from node.config_edit import locked, write_value
    from node.site_rules import remove_rules

    if not (rules or presets or lists):
        raise click.UsageError("Name a rule, a --preset or a --list.")
    wanted = _parse(rules)
    with locked(home):
        own, now = own_rules(home)
        gone = [found for rule in wanted for found in find_rules(own, rule)]
        for what, names, known in (("preset", presets, now.presets), ("list", lists, now.lists)):
            for name in names:
                if name not in known:
                    raise MacroVpnError(f"The {what} {plain(name)} is not in use: `macrovpn bypass list`.")
        if lists:
            write_value(home, "bypass.lists", [name for name in now.lists if name not in lists])
        left = [name for name in now.presets if name not in presets]
        write_bypass(home, now, [rule for rule in own if rule not in gone], left)
        for name in lists:
            remove_rules(home, name)
    _done(
        as_json,
        home,
        {"removed": list(map(str, gone)), "presets": list(presets), "lists": list(lists)},
        [f"removed   {what}" for what in (*gone, *(f"preset {n}" for n in presets), *(f"list {n}" for n in lists))],
    )


@bypass.command("list")
@common
@click.option("--all", "everything", is_flag=True, help="Show the rules of presets and lists, too.")
def list_command(home: Path, as_json: bool, everything: bool) -> None:
    """Show your rules, presets and lists."""
    from node.bypass_edit import listing

    value = listing(home, everything=everything)
    lines = []
    for source in value["sources"]:
        lines.append(f"{source['source']}: {source['count']}")
        lines += [f"  {found['rule']}" for found in value["rules"] if found["source"] == source["source"]]
    show(as_json, value, "\n".join(lines))


@bypass.command("import")
@common
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--name", show_default="from the file's name", help="What the list is called.")
@click.option(
    "--as",
    "action",
    type=click.Choice(["bypass", "tunnel", "block"]),
    show_default="what the file says",
    help="What happens to the hosts.",
)
def import_command(home: Path, as_json: bool, file: Path, name: str | None, action: str | None) -> None:
    """Make a list of rules out of a file.

    It may have a host a line, be a hosts file, have ||host^ of ad blockers, or be a PAC script; - is standard input.

    Bare hosts are bypassed; those of hosts files and ad blockers are blocked; those of a PAC script, which is not run,
    go where it says. A list of the same name is replaced.
    """
    import re

    from node.bypass_edit import own_rules
    from node.config_edit import locked, write_value
    from node.settings import LIST_NAME
    from node.site_rules import list_path, sources, write_rules
    from pac.foreign import is_pac, read_pac
    from pac.lists import read_list
    from pac.rules import Action, RuleSet

    name = name or re.sub("[^a-z0-9]+", "-", file.stem.lower()).strip("-")[:32]
    if not re.fullmatch(LIST_NAME, name):
        raise click.UsageError("A list needs a --name of up to 32 small letters, digits and hyphens.")
    text = _read(file)
    wanted = None if action is None else Action(action)
    read = read_pac(text, wanted) if is_pac(text) else read_list(text, wanted)
    if not read.rules:
        raise MacroVpnError("Nothing in this file could be taken as a rule.")
    with locked(home):
        _, now = own_rules(home)
        others = [rules for source, rules in sources(now, home) if source != f"list {name}"]
        RuleSet([*(rule for rules in others for rule in rules), *read.rules])
        write_rules(home, name, read.rules)
        write_value(home, "bypass.lists", [*now.lists, *([] if name in now.lists else [name])])
    taken = {kind.value: sum(rule.action is kind for rule in read.rules) for kind in Action}
    left_out = read.left_out
    lines = [f"list      {name}: " + ", ".join(f"{count} {kind}" for kind, count in taken.items() if count)]
    lines += [f"left out  {len(left_out)} lines" if left_out else "left out  nothing"]
    lines += [f"  line {one.line}: {one.problem}" for one in left_out[:_SHOWN]]
    value: dict[str, Any] = {
        "list": name,
        "file": str(list_path(home, name)),
        "taken": taken,
        "left_out": len(left_out),
        "left_out_lines": [{"line": one.line, "problem": one.problem} for one in left_out[:_TOLD]],
    }
    _done(as_json, home, value, lines)


@bypass.command("test")
@common
@click.argument("url")
def test_command(home: Path, as_json: bool, url: str) -> None:
    """Say what happens to a URL, and by which rule.

    It also says whether the PAC does the same, and whether a running node goes by these rules already.
    """
    from node.rule_test import examine, split

    with usage():
        split(url)
    found = examine(home, url)
    rule = f"{found['rule']} ({found['source']})" if found["rule"] else "none fits"
    lines = [
        f"{plain(url)}: {found['action']}",
        f"rule      {rule}",
        f"PAC       {'DIRECT' if found['pac'] == 'direct' else 'to the proxy'}",
        f"proxy     {found['proxy']}",
        f"node      {found['node']}",
    ]
    show(as_json, found, "\n".join(lines + [f"beware    {found['beware']}"] * bool(found["beware"])))


def _parse(texts: Sequence[str]) -> list[Rule]:
    from core.errors import ConfigError
    from pac.rules import Rule

    rules = []
    for text in texts:
        if text.strip().lower() in _ALONE or "=" in text.split(" ")[0]:
            raise click.UsageError(f'A rule of several words is one argument, in quotes: "… {plain(text)} …"')
        try:
            rules.append(Rule.parse(text, plain(text) or '""'))
        except ConfigError as error:
            raise click.UsageError(str(error)) from error
    return rules


def _read(file: Path) -> str:
    from node.site_rules import MAX_LIST_BYTES

    with sys.stdin.buffer if str(file) == "-" else file.open("rb") as stream:
        data = stream.read(MAX_LIST_BYTES + 1)
    if len(data) > MAX_LIST_BYTES:
        raise MacroVpnError(f"The file has more than {MAX_LIST_BYTES >> 20} MiB.")
    return data.decode("utf-8", "replace")


def _done(as_json: bool, home: Path, value: dict[str, Any], lines: list[str]) -> None:
    """Have a running node take the rules, and say what was done."""
    from node.cli_ask import told

    running = told(home, "rules", lambda node: node.reload_rules())
    if running:
        last = "The node obeys at once; a browser with a PAC, when it loads that again."
    else:
        last = "No node runs; the next one obeys."
    show(as_json, value | {"running": running}, "\n".join([*lines, last]))
