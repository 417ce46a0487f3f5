"""`macrovpn demo`: options in, one line or a friendly text out."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli_common import LISTEN_OPTION, Command, SettingType, browser_lines, json_option, say, show

if TYPE_CHECKING:
    from node.demo_plan import DemoOptions, MemberSetting

_MAX_NODES = 200


class _MemberSettingType(click.ParamType["MemberSetting"]):
    """`WHO:SETTING=VALUE`, for a role or a node of the network."""

    name = "WHO:SETTING=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> MemberSetting:
        from core.errors import ConfigError
        from node.config import check
        from node.demo_plan import MemberSetting

        whose, _, assignment = str(value).partition(":")
        setting, found, text = assignment.partition("=")
        if not (whose and setting and found):
            self.fail("write who, the setting and the value, such as exit:sharing.up_mbit=5", param, ctx)
        try:
            return MemberSetting(whose, setting, check(setting, text, setting, text=True))
        except ConfigError as error:
            self.fail(str(error), param, ctx)


@click.command(cls=Command)
@json_option
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    show_default="a new one, which is removed",
    help="Folder of the network, which is kept.",
)
@click.option("--relays", type=click.IntRange(0, _MAX_NODES), default=4, show_default=True, help="How many relays.")
@click.option("--exits", type=click.IntRange(1, _MAX_NODES), default=2, show_default=True, help="How many exits.")
@click.option(
    "--mode",
    type=click.Choice(["speed", "balanced", "privacy"]),
    default="balanced",
    show_default=True,
    help="Number of hops, and padding.",
)
@click.option(
    "--hops", type=click.IntRange(0, 5), default=0, show_default=True, help="Hops of a path; 0: the mode's number."
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "aiopquic", "aioquic", "mixed"]),
    default="auto",
    show_default=True,
    help="What carries the links; mixed: the two by turns.",
)
@click.option(
    "--find",
    type=click.Choice(["dht", "gossip", "both"]),
    default="both",
    show_default=True,
    help="How nodes find each other: in a DHT of their own, by gossip from a first peer, or both.",
)
@LISTEN_OPTION
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="TCP port of the proxy; 0: any free one.",
)
@click.option(
    "--resolver",
    type=SettingType("exit.resolver", "HOST:PORT"),
    default="",
    show_default="the system's",
    help="Name server of the exits.",
)
@click.option(
    "--allow-destination",
    "allow_destinations",
    multiple=True,
    type=SettingType("exit.allow_destinations", "CIDR", many=True),
    help="A network that the exits reach although exits refuse it otherwise. Repeatable.",
)
@click.option(
    "--bypass",
    multiple=True,
    type=SettingType("bypass.rules", "RULE", many=True),
    help="A site that the client reaches past the tunnel, such as .example.org. Repeatable.",
)
@click.option(
    "--exit-region",
    "exit_regions",
    multiple=True,
    type=SettingType("node.region", "REGION"),
    help="Where the exits say they are, by turns, such as NL. Repeatable.",
)
@click.option(
    "--exit-policy",
    "exit_policies",
    multiple=True,
    type=SettingType("exit.policy", "POLICY"),
    help="What the exits serve, by turns: default or web. Repeatable.",
)
@click.option(
    "--exit-rule",
    "exit_rules",
    multiple=True,
    type=SettingType("exit.rules", "RULE", many=True),
    help='A rule of the exits before that, by turns, such as "reject *:9000"; "" for none. Repeatable.',
)
@click.option(
    "--region",
    "regions",
    multiple=True,
    type=SettingType("tunnel.regions", "REGION", many=True),
    help="Where the client wants its exit; the preferred first. Repeatable.",
)
@click.option(
    "--log-level",
    type=click.Choice(["warning", "info", "debug"]),
    default="info",
    show_default=True,
    help="How much the nodes log.",
)
@click.option(
    "--tariff",
    type=click.IntRange(0, 7),
    default=2,
    show_default=True,
    help="The tariff step that relays and exits ask, in test coins; 0: no payments.",
)
@click.option("--metrics", is_flag=True, help="Relays and exits serve figures; `status --json` of each says where.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    type=_MemberSettingType(),
    help="A setting of the nodes of a role, or of one, such as exit:sharing.up_mbit=5. Repeatable.",
)
def demo(home: Path | None, as_json: bool, listen: str | None, **flags: Any) -> None:
    """Run a whole network on this machine, until Ctrl-C.

    It has relays, exits and a client with a proxy to point a browser at. They find each other here, pay each other in
    test coins, and leave nothing behind.
    """
    from node.demo import DemoOptions, run

    options = DemoOptions(**flags, listen=listen or "127.0.0.1", home=home)
    if options.relays + options.exits > _MAX_NODES:
        raise click.UsageError(f"There may be {_MAX_NODES} relays and exits together.")
    _check_members(options)
    _check_listen(options)
    if options.relays < options.path_hops - 1:
        raise click.UsageError(f"A path of {options.path_hops} hops needs {options.path_hops - 1} relays and an exit.")

    def announce(facts: dict[str, Any]) -> None:
        show(as_json, facts, _text(facts))

    run(options, announce, say)


def _check_members(options: DemoOptions) -> None:
    """Refuse settings of nodes that there are not: they would change nothing, and nobody would see it."""
    from node.demo_plan import member_names

    counts = {"relay": options.relays, "exit": options.exits}
    known = member_names(counts)
    nodes = " and ".join(f"{role}-1 to {role}-{count}" for role, count in counts.items() if count)
    for setting in options.settings:
        if setting.whose not in known:
            problem = f"--set {setting.whose}:{setting.name}: there is no {setting.whose!r} in this network"
            raise click.UsageError(f"{problem}; there are {nodes}, the client, and the roles.")


def _check_listen(options: DemoOptions) -> None:
    """Refuse a proxy that everybody who reaches this machine could use, before anything is started."""
    from core.errors import ConfigError
    from node.config import PASSWORD_ENV, check_listen

    given = {setting.name: setting.value for setting in options.settings if setting.whose == "client"}
    try:
        check_listen(options.listen, given.get("proxy.password") or os.environ.get(PASSWORD_ENV, ""), "--listen")
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


def _text(facts: dict[str, Any]) -> str:
    counts = Counter(process["role"] for process in facts["processes"])
    return "\n".join(
        [
            f"The network is ready: {counts['relay']} relays, {counts['exit']} exits, a client ({facts['engine']}).",
            browser_lines(facts["proxy"], facts["pac"]),
            f"Look at it: macrovpn dashboard --home {facts['home']}",
            f"A code for the browser button: macrovpn pair --home {facts['home']}",
            f"Ask it: macrovpn status --home {facts['home']}",
            *([f"What it costs: macrovpn wallet books {facts['home']}"] if facts["tariff"] else []),
            "Ctrl-C stops everything and removes it.",
        ]
    )
