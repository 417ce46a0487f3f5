"""`macrovpn service`: a node that starts when its user logs in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from node.cli_common import Group, common, show

if TYPE_CHECKING:
    from pathlib import Path


@click.group(cls=Group)
def service() -> None:
    """Start this machine's node at each login.

    By systemd, or by the desktop's autostart. The node goes by the settings: `macrovpn config set` says what it does.
    Under systemd it is started again when it crashes; until then browsers that are pointed to it reach nothing.
    """


@service.command()
@common
@click.option("--system-proxy", is_flag=True, help="Have the system's proxy settings point to it while it runs.")
def install(home: Path, as_json: bool, system_proxy: bool) -> None:
    """Start the node at each login.

    By systemd it is also started now, if none runs.
    """
    from node.files import lock_holder, make_home
    from node.login import at_login

    found = at_login(make_home(home), sys.platform)
    found.install(system_proxy=system_proxy)
    started = lock_holder(home) is None and found.start()
    now = "It is being started." if started else "The next login starts it."
    answer = {"installed": True, "by": found.what, "file": str(found.path), "started": started}
    show(as_json, answer, f"Each login starts the node, by {found.what}: {found.path}\n{now}")


@service.command()
@common
def remove(home: Path, as_json: bool) -> None:
    """Start the node at login no longer. One that runs goes on: see `macrovpn down`."""
    from node.login import at_login

    found = at_login(home, sys.platform)
    removed = found.remove()
    text = "The node is started at login no longer." if removed else "No login starts the node of this home."
    show(as_json, {"installed": False, "by": found.what, "file": str(found.path), "removed": removed}, text)


@service.command()
@common
def status(home: Path, as_json: bool) -> None:
    """Say whether a login starts the node."""
    from node.login import at_login

    found = at_login(home, sys.platform)
    installed = found.path.exists()
    text = f"Each login starts the node, by {found.what}: {found.path}" if installed else "No login starts the node."
    show(as_json, {"installed": installed, "by": found.what, "file": str(found.path)}, text)
