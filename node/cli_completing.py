"""What a shell offers when a user types Tab: only what this machine knows already, or a running node tells at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import click

NODE_S: Final = 0.5
"""A shell waits for the answer: a node that takes longer is not waited for."""

type _Offer = Iterable[str | tuple[str, str]]


class Completer:
    """Offers words; nothing where they cannot be found out, as whoever types is not to be shown an error.

    Args:
        find: names all that there is in a home, each alone or with a remark.
    """

    def __init__(self, find: Callable[[Path, dict[str, Any]], _Offer]) -> None:
        self._find = find

    def __call__(self, context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer what begins with what was typed."""
        from node.networks import network_home

        try:
            home = context.params["home"]
            if (network := context.params.get("network")) is not None:
                home = network_home(home, network)
            found = [each if isinstance(each, tuple) else (each, "") for each in self._find(home, context.params)]
        except Exception:
            return []
        return [CompletionItem(word, help=remark) for word, remark in found if word.startswith(incomplete)]


def _settings(_home: Path, _given: dict[str, Any]) -> _Offer:
    from node.settings_help import HELP

    return HELP.items()


def values_of(setting: str) -> _Offer:
    """Name what a setting may be, where that is a small number of words."""
    from node.settings_view import choices_of, kind_of

    return ["true", "false"] if kind_of(setting) == "switch" else choices_of(setting)


def _regions(home: Path, _given: dict[str, Any]) -> _Offer:
    import json

    from node.cli_ask import ask

    rows = json.loads(ask(home, 0).call("GET", "regions", NODE_S))["regions"]
    return [(str(row["region"]), f"{row['exits']} exits") for row in rows]


def _networks(home: Path, _given: dict[str, Any]) -> _Offer:
    from node.networks import names

    return names(home)


def _presets_in_use(home: Path, _given: dict[str, Any]) -> _Offer:
    from node.config import load

    return load(home).bypass.presets


def _lists_in_use(home: Path, _given: dict[str, Any]) -> _Offer:
    from node.config import load

    return load(home).bypass.lists


def _own_rules(home: Path, _given: dict[str, Any]) -> _Offer:
    from node.bypass_edit import own_rules

    return [rule.target for rule in own_rules(home)[0]]


def _trusted(home: Path, _given: dict[str, Any]) -> _Offer:
    from node.config import load
    from pac.trusted import parse_networks

    return [network.name for network in parse_networks(load(home).trust.networks)]


def _pairings(home: Path, _given: dict[str, Any]) -> _Offer:
    from node.control.pairing import Pairings

    return [*((paired.id, paired.origin) for paired in Pairings(home)), ("all", "each of them")]


def _channels(home: Path, _given: dict[str, Any]) -> _Offer:
    import json

    from node.cli_ask import ask

    facts = json.loads(ask(home, 0).call("GET", "wallet", NODE_S))
    return [(channel["id"][:8], f"{channel['state']}, with {channel['peer_id']}") for channel in facts["channels"]]


SETTINGS: Final = Completer(_settings)
VALUES: Final = Completer(lambda _home, given: values_of(given["name"]))
REGIONS: Final = Completer(_regions)
NETWORKS: Final = Completer(_networks)
PRESETS_IN_USE: Final = Completer(_presets_in_use)
LISTS_IN_USE: Final = Completer(_lists_in_use)
OWN_RULES: Final = Completer(_own_rules)
TRUSTED: Final = Completer(_trusted)
PAIRINGS: Final = Completer(_pairings)
CHANNELS: Final = Completer(_channels)
