"""`macrovpn completion`: how a shell completes this program's commands, options and values."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from node.cli_common import Command, json_option, show

_VARIABLE = "_MACROVPN_COMPLETE"
"""Of the environment; where it is set, the program prints what the shell may offer, as click does."""


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
@click.pass_context
def completion(context: click.Context, /, shell: str, as_json: bool) -> None:
    """Print what makes a shell complete commands with Tab.

    \b
    bash: eval "$(macrovpn completion bash)"   in ~/.bashrc
    zsh:  eval "$(macrovpn completion zsh)"    in ~/.zshrc
    fish: macrovpn completion fish | source    in ~/.config/fish/config.fish

    It completes settings and their values, presets, rules, networks, regions, pairings and channels, too.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    complete = kind(context.find_root().command, {}, "macrovpn", _VARIABLE)
    # Not its own `source`: that of bash starts one to see whether it is new enough, also where another one will read.
    script = ShellComplete.source(complete)
    show(as_json, {"shell": shell, "script": script}, script.strip())
