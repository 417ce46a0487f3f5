"""`macrovpn share`: what to do for others, how much of it, and how it goes."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

import click

from node.cli_common import Command, SettingType, common, say
from node.cli_run import (
    ALLOW_OPTION,
    BOOTSTRAP_OPTION,
    DHT_OPTION,
    ENGINE_OPTION,
    LOG_LEVEL_OPTION,
    PORT,
    overrides_of,
    run_node,
)

if TYPE_CHECKING:
    from pathlib import Path

EXPLAINED_NAME: Final = "exit.explained"
"""An empty file, which says that what an exit means was shown."""

_EXIT_MEANS: Final = """\
This machine is about to be an exit: connections of strangers will leave from its address, and whoever they reach sees
that address. It refuses your own network, mail to port 25 and the ports of common abuse; `--policy web` leaves little
more than web sites, and `exit.rules` names what else to refuse. `--limit`, `--cap`, `--hours` and `--friends-only` say
how much you give and to whom. Nothing is logged, so nothing can be shown to anyone either. Ask whether your provider
allows it. Ctrl-C stops it; `--role relay` carries sealed bytes only, and none of this.
More: docs/share.md. This text is shown once."""

_NAMES: Final = {
    "port": "peers.port",
    "address": "peers.address",
    "region": "node.region",
    "up": "sharing.up_mbit",
    "down": "sharing.down_mbit",
    "cap": "sharing.monthly_gb",
    "hours": "sharing.hours",
    "friends_only": "sharing.only_friends",
    "metrics": "sharing.metrics",
    "policy": "exit.policy",
    "notice": "exit.notice",
    "allow_destination": "exit.allow_destinations",
}


class _Amount(click.ParamType[float]):
    """A number that must be right for a setting, with or without the unit that it has anyway.

    Args:
        setting: `section.key`.
        units: what may stand behind the number, in lower case.
    """

    def __init__(self, setting: str, metavar: str, *units: str) -> None:
        self.name = metavar
        self._setting = setting
        self._units = units

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or fail as wrong usage."""
        from core.errors import ConfigError
        from node.config import check

        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([a-z/]*)", str(value).lower())
        if found is None or found[2] not in ("", *self._units):
            self.fail(f"it must be a number, as in 20 or 20{self._units[0]}", param, ctx)
        try:
            check(self._setting, float(found[1]), "")
        except ConfigError as error:
            self.fail(error.problem, param, ctx)
        return float(found[1])


class _Hours(SettingType):
    """A time of `sharing.hours`; whole hours may be written short, as in 20-08."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the time as the settings have it, or fail as wrong usage."""
        return super().convert(re.sub(r"\b([0-9]{1,2})-([0-9]{1,2})$", r"\1:00-\2:00", str(value)), param, ctx)


_MBIT: Final = ("mbit", "mbit/s", "mbps")


@click.command(cls=Command)
@common
@click.option("--foreground/--background", default=True, help="Run here until Ctrl-C (the default), or away from here.")
@click.option(
    "--role",
    multiple=True,
    type=click.Choice(["relay", "exit"]),
    show_default="setting node.roles, else relay",
    help="What to do for others. Repeatable.",
)
@click.option(
    "--limit",
    type=_Amount("sharing.up_mbit", "MBIT", *_MBIT),
    show_default="settings sharing.up_mbit and sharing.down_mbit",
    help="Mbit/s, each way, such as 20; 0: no limit.",
)
@click.option(
    "--up",
    type=_Amount("sharing.up_mbit", "MBIT", *_MBIT),
    show_default="setting sharing.up_mbit",
    help="Mbit/s that leave this machine; 0: no limit.",
)
@click.option(
    "--down",
    type=_Amount("sharing.down_mbit", "MBIT", *_MBIT),
    show_default="setting sharing.down_mbit",
    help="Mbit/s that come to this machine; 0: no limit.",
)
@click.option(
    "--cap",
    "--monthly",
    "cap",
    type=_Amount("sharing.monthly_gb", "GB", "gb", "gb/month"),
    show_default="setting sharing.monthly_gb",
    help="GB (10^9 bytes) in a calendar month.",
)
@click.option(
    "--hours",
    multiple=True,
    type=_Hours("sharing.hours", "TIME", many=True),
    help='When to serve, such as 20-08 or "mon-fri 18:00-23:30". Repeatable.',
)
@click.option("--friends-only", is_flag=True, default=None, help="Serve only the peers in peers.friends.")
@click.option(
    "--policy",
    type=click.Choice(["default", "web"]),
    show_default="setting exit.policy",
    help="What an exit connects to.",
)
@click.option(
    "--region",
    type=SettingType("node.region", "REGION"),
    show_default="setting node.region",
    help="Where this machine is, such as NL.",
)
@click.option(
    "--metrics",
    type=SettingType("sharing.metrics", "IP:PORT"),
    show_default="setting sharing.metrics",
    help="Serve rounded figures at /metrics.",
)
@click.option(
    "--notice",
    type=SettingType("exit.notice", "IP:PORT"),
    show_default="setting exit.notice",
    help="Serve a page that says what an exit is.",
)
@click.option(
    "--allow-destination",
    multiple=True,
    type=SettingType("exit.allow_destinations", "CIDR", many=True),
    help="For tests: a network that the exit reaches although exits refuse it otherwise. Repeatable.",
)
@click.option("--port", type=PORT, show_default="setting peers.port", help="UDP port of the links; 0: any free one.")
@click.option(
    "--address",
    type=SettingType("peers.address", "IP"),
    show_default="setting peers.address",
    help="Address at which peers reach this machine.",
)
@BOOTSTRAP_OPTION
@DHT_OPTION
@ENGINE_OPTION
@LOG_LEVEL_OPTION
@ALLOW_OPTION
@click.pass_context
def share(context: click.Context, /, home: Path, as_json: bool, foreground: bool, **flags: Any) -> None:
    """Serve others: as a relay, as an exit, or as both.

    A relay forwards sealed bytes; an exit reaches destinations for others. It goes by the settings; options count more,
    for this run.

    On a terminal it shows live figures. Elsewhere it writes a line when it is ready and whenever what it offers
    changes; with --json an object, whose keys docs/share.md explains.
    """
    from node.config import load
    from node.share_view import watching

    saved = load(home)
    for way in ("up", "down"):
        flags[way] = flags["limit"] if flags[way] is None else flags[way]
    overrides = overrides_of(flags, _NAMES)
    if flags["role"]:
        overrides["node.roles"] = tuple(dict.fromkeys(flags["role"]))
    elif not {"relay", "exit"}.intersection(saved.node.roles):
        overrides["node.roles"] = ("relay",)
    settings = load(home, overrides)
    if "exit" in settings.node.roles:
        _explain_once(home)
    with watching(as_json=as_json, log_level=settings.node.log_level) as watch:
        run_node(context, overrides, home, as_json=as_json, foreground=foreground, watch=watch)


def _explain_once(home: Path) -> None:
    """Say what an exit means, unless that was said in this home before or nobody is there to read it."""
    from node.config import PARENT_FD_ENV
    from node.files import make_home, write_private

    path = make_home(home) / EXPLAINED_NAME
    if PARENT_FD_ENV in os.environ or path.exists():
        return
    say(_EXIT_MEANS)
    write_private(path, "")
