"""`macrovpn wallet`: what this node pays, earns and holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from core.errors import MacroVpnError
from node.cli_common import Group, common, json_option, plain, show
from node.cli_completing import CHANNELS
from node.coins import MOST_COINS, coins, read_coins

if TYPE_CHECKING:
    from pathlib import Path

    from click.shell_completion import CompletionItem

_COLUMNS: Final = ("balance", "locked", "due", "spent", "earned")


class CoinsType(click.ParamType[int]):
    """An amount in coins, such as `0.5`; the command gets units."""

    name = "COINS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if type(value) is int:
            return value
        try:
            return read_coins(str(value))
        except ValueError:
            self.fail(f"this must be an amount in coins, from 0 to {MOST_COINS}, with six decimals at most", param, ctx)


class _AmountType(CoinsType):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return super().convert(value, param, ctx) or self.fail("this must be more than nothing", param, ctx)


class _ChannelType(click.ParamType[str]):
    """The first digits of a channel's id."""

    name = "CHANNEL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if re.fullmatch("[0-9a-f]{4,64}", str(value)) is None:
            self.fail("a channel is named by the first 4 or more digits of its id, as in 87bd316b", param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer those that there are."""
        return CHANNELS(ctx, param, incomplete)


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
@common
def wallet(context: click.Context, home: Path, as_json: bool) -> None:
    """Payments: spent, earned, locked, and the path's price."""
    if context.invoked_subcommand is not None:
        given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if given:
            raise click.UsageError(f"Options stand at the end: macrovpn wallet {context.invoked_subcommand} --…")
        return
    from node.cli_ask import ask

    facts = ask(home).wallet()
    show(as_json, facts, wallet_text(facts))


@wallet.command()
@common
def claim(home: Path, as_json: bool) -> None:
    """Have everything paid out that was earned and not claimed yet."""
    from node.cli_ask import ask

    answer = ask(home).wallet_do("claim")
    show(as_json, answer, _claim_text(answer))


@wallet.command()
@common
@click.argument("channel", type=_ChannelType(), required=False)
def close(channel: str | None, home: Path, as_json: bool) -> None:
    """Close CHANNEL, or all that nothing runs on.

    CHANNEL is the first digits of its id. What is left in it comes back after a day.
    """
    from node.cli_ask import ask

    answer = ask(home).wallet_do("close", channel=channel or "")
    count = answer["closing"]
    show(as_json, answer, f"{count} channel{'' if count == 1 else 's'} closing.")


class _CapType(CoinsType):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return -1 if value == "none" else super().convert(value, param, ctx)


@wallet.command()
@common
@click.argument("most", type=_CapType(), metavar="COINS|none")
def cap(most: int, home: Path, as_json: bool) -> None:
    """Spend no more than COINS in all, from the first voucher on. What was spent before counts."""
    from node.cli_ask import ask

    answer = ask(home).wallet_do("cap", units=None if most < 0 else most)
    text = "There is no spending cap." if most < 0 else f"No more than {coins(most)} coins are spent in all."
    show(as_json, answer, text)


@wallet.command()
@common
@click.argument("amount", type=_AmountType())
@click.option("--channel", type=_ChannelType(), show_default="the guard's", help="Which one.")
def deposit(amount: int, channel: str | None, home: Path, as_json: bool) -> None:
    """Put COINS more into a channel that this node pays on."""
    from node.cli_ask import ask

    answer = ask(home).wallet_do("deposit", channel=channel or "", units=amount)
    show(as_json, answer, f"The channel holds {coins(answer['deposit'])} coins now.")


@wallet.command()
@common
@click.argument("file")
def export(file: str, home: Path, as_json: bool) -> None:
    """Write a backup to FILE. It can be restored at any age, and whoever has it can spend what the wallet holds."""
    from pathlib import Path as Folder

    from node.cli_ask import ask

    target = Folder(file).expanduser().absolute()
    answer = ask(home).wallet_do("export", path=str(target))
    show(as_json, answer, f"Written: {target}")


@wallet.command()
@json_option
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
def books(folder: str, as_json: bool) -> None:
    """Print the books of all nodes that run below FOLDER.

    Such as the folder of a demo. It says whether they agree.

    A node's coins are in its balance, locked in channels on which it pays, or due to it. Spent and earned are what was
    carried; they agree within a unit for each link, while nothing is under way.
    """
    from pathlib import Path as Folder

    from node.cli_ask import ask

    homes = sorted(path.parent for path in Folder(folder).absolute().rglob("control.json"))
    if not homes:
        raise NoBooksError(folder)
    top = Folder(folder).absolute()
    rows = [{"node": "client" if home == top else home.name} | ask(home).wallet() for home in homes]
    rows = [row for row in rows if row["settlement"] != "off"]
    if unknown := [row["node"] for row in rows if row["balance"] is None]:
        raise UnknownBalanceError(unknown[0])
    rows = [row | {"due": _due(row)} for row in rows]
    sums = {name: sum(row[name] for row in rows) for name in (*_COLUMNS, "paid", "received")}
    links = sum(channel["pays"] for row in rows for channel in row["channels"])
    agree = sums["paid"] == sums["received"] and abs(sums["spent"] - sums["earned"]) <= links
    show(as_json, {"books": rows, "sums": sums, "agree": agree}, _books_text(rows, sums, agree=agree))


class UnknownBalanceError(MacroVpnError):
    """A node cannot say what it has."""

    def __init__(self, node: str) -> None:
        super().__init__(f"The ledger or chain of {node} does not answer, so what it has is not known. Try again.")


class NoBooksError(MacroVpnError):
    """There is nothing to print."""

    def __init__(self, folder: str) -> None:
        super().__init__(f"No node runs below {folder}.")


# -- text


def _claim_text(answer: dict[str, int]) -> str:
    text = f"Claimed {coins(answer['claimed'])} coins."
    if answer["left"]:
        text += f" {coins(answer['left'])} are left for later: now gas would cost too large a part of them."
    return text


def _due(facts: dict[str, Any]) -> int:
    """Units that are earned by voucher and not claimed."""
    return int(facts["received"] - facts["claimed"])


def wallet_text(facts: dict[str, Any]) -> str:
    """Write what `NodeClient.wallet` returns."""
    if facts["settlement"] == "off":
        return 'Payments are off, and only peers that ask nothing are used. See payments.settlement ("local" or "evm").'
    kind = "test coins of this machine" if facts["settlement"] == "local" else f"chain {plain(facts['chain'])}"
    spent, most = facts["spent"], facts["cap"]
    free = "not known" if facts["balance"] is None else f"{coins(facts['balance'])} coins free"
    if most is None:
        limit = "none; macrovpn wallet cap 0.5 sets one"
    else:
        limit = f"{coins(most)} coins in all, {coins(max(0, most - facts['paid']))} left"
    lines = [
        f"account   {plain(facts['account'])} ({kind})",
        f"balance   {free}, {coins(facts['locked'])} locked in channels",
        f"spent     {coins(spent)}, and {coins(max(0, facts['paid'] - spent))} are paid ahead",
        f"earned    {coins(facts['earned'])}; {coins(facts['claimed'])} claimed, {coins(_due(facts))} not yet",
        f"cap       {limit}",
    ]
    if facts["price_per_gb"] is not None:
        steps = ", ".join(str(step) for step in facts["tariffs"])
        lines.append(f"price     {coins(facts['price_per_gb'])} coins per GB on the present path (steps {steps})")
    if facts["tariff"]:
        lines.append(f"tariff    step {facts['tariff']} is what this node asks")
    if facts["trouble"]:
        lines.append(f"trouble   {plain(facts['trouble'])}")
    if facts["channels"]:
        lines += ["", f"{'channel':<10} {'':<5} {'state':<8} {'deposit':>12} {'paid':>12} {'claimed':>12}  with"]
        lines += [_channel_line(channel) for channel in facts["channels"]]
    return "\n".join(lines)


def cost_text(money: dict[str, Any]) -> str:
    """Write the section `money` of `status` as one line."""
    each = money["price_per_gb"]
    parts = ["no path yet" if each is None else f"{coins(each)} coins per GB" if each else "free"]
    parts.append(f"{coins(money['spent'])} spent")
    if money["cap"] is not None:
        parts.append(f"cap {coins(money['cap'])}")
    if money["trouble"]:
        parts.append(plain(money["trouble"]))
    return "; ".join(parts)


def _channel_line(channel: dict[str, Any]) -> str:
    way = "pays" if channel["pays"] else "earns"
    amounts = " ".join(f"{coins(channel[name]):>12}" for name in ("deposit", "paid", "claimed"))
    return f"{channel['id'][:8]:<10} {way:<5} {channel['state']:<8} {amounts}  {plain(channel['peer_id'])}".rstrip()


def _books_text(rows: list[dict[str, Any]], sums: dict[str, int], *, agree: bool) -> str:
    def line(name: str, row: dict[str, int]) -> str:
        return f"{plain(name):<12}" + "".join(f"{coins(row[column]):>16}" for column in _COLUMNS)

    head = f"{'node':<12}" + "".join(f"{column:>16}" for column in _COLUMNS)
    verdict = "What was spent is what was earned." if agree else "What was spent is NOT what was earned."
    return "\n".join([head, *(line(row["node"], row) for row in rows), line("sum", sums), verdict])
