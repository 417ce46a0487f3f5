"""What each command is asked in `test_commands`: a row for every one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Bad:
    """A call that must fail, with words of the reason."""

    arguments: tuple[str, ...]
    words: str
    code: int = 2


def bad(*arguments: str, words: str, code: int = 2) -> Bad:
    return Bad(arguments, words, code)


@dataclass(frozen=True, slots=True)
class Row:
    """What is tried of one command.

    Args:
        good: calls that succeed beside a node.
        bad: calls that fail beside one.
        missing: words of the refusal of a call without arguments; empty where that is a good one.
        asks: it needs a running node.
        home: it has `--home`.
        ends: how it may end besides with 0, because of what it finds.
    """

    good: tuple[tuple[str, ...], ...] = ((),)
    bad: tuple[Bad, ...] = ()
    missing: str = ""
    asks: bool = False
    home: bool = True
    ends: int = 0


EXTRA: Final = bad("surplus", words="unexpected extra argument (surplus)")
UNKNOWN_NETWORK: Final = bad("--network", "nowhere", words="You are in no private network 'nowhere'.", code=1)
NO_HOME: Final = bad("--home", "", words="the name of a folder is missing")
SHARED: Final = (EXTRA, UNKNOWN_NETWORK, NO_HOME)
ASKING: Final = Row(bad=SHARED, asks=True)
NAMELESS: Final = "Missing argument 'NAME'."

ROWS: Final[dict[str, Row]] = {
    "status": Row(good=((), ("--watch",)), bad=SHARED),
    "hop": ASKING,
    "pac": Row(good=((), ("--data-url",)), bad=SHARED, asks=True),
    "demo": Row(
        bad=(
            EXTRA,
            bad("--relays", "1", words="A path of 3 hops needs 2 relays and an exit."),
            bad("--exits", "none", words="'none' is not a valid integer range"),
            bad("--set", "exit:x.y=1", words="there is no setting x.y"),
        ),
    ),
    "up": Row(bad=(*SHARED, bad("--hops", "9", words="9 is not in the range"), bad("--region", "x", words="must be"))),
    "down": Row(bad=SHARED),
    "on": ASKING,
    "off": ASKING,
    "env": ASKING,
    "share": Row(
        good=(("--role", "relay"), ("--role", "exit", "--background")),
        bad=(*SHARED, bad("--limit", "fast", words="it must be a number, as in 20 or 20mbit")),
    ),
    "network create": Row(
        good=(("home",),),
        bad=(
            bad("No Name", words="must be the name of a network"),
            bad("main", words="main is the public network", code=1),
            bad("work", words="You are in a network work already", code=1),
        ),
        missing=NAMELESS,
    ),
    "network join": Row(
        good=(("INVITE", "--as", "home"),),
        bad=(
            bad("hello", words="This is not an invite: one begins with macrovpn1:"),
            bad("OTHER", "--as", "work", words="you are in another network work already", code=1),
        ),
        missing="Missing argument 'INVITE'.",
    ),
    "network invite": Row(
        good=(("work",),),
        bad=(bad("home", words="You are in no private network 'home'.", code=1),),
        missing=NAMELESS,
    ),
    "network list": Row(bad=(EXTRA, NO_HOME)),
    "network leave": Row(
        good=(("work", "--yes"),),
        bad=(
            bad("home", "--yes", words="You are in no private network 'home'.", code=1),
            bad("work", words="Nothing was removed. With --yes nothing is asked.", code=1),
        ),
        missing=NAMELESS,
    ),
    "route": Row(good=((), ("--explain",)), bad=SHARED, asks=True),
    "peers": ASKING,
    "bypass add": Row(
        good=(("a.example", "block .ads.example", "--preset", "banking"),),
        bad=(
            bad("", words='"": a rule has 1 to 300 characters'),
            bad("block", ".a.example", words="A rule of several words is one argument, in quotes"),
            bad("--preset", "everything", words="must be"),
        ),
        missing="Name a rule or a --preset.",
    ),
    "bypass remove": Row(
        good=(("own.example",), ("--preset", "local")),
        bad=(
            bad("other.example", words="There is no rule other.example among your own.", code=1),
            bad("--list", "ads", words="The list ads is not in use", code=1),
        ),
        missing="Name a rule, a --preset or a --list.",
    ),
    "bypass list": Row(good=((), ("--all",)), bad=SHARED),
    "bypass import": Row(
        good=(("FILE", "--name", "ads"),),
        bad=(
            bad("FOLDER/none", words="does not exist"),
            bad("FILE", "--name", "My List", words="A list needs a --name"),
            bad("EMPTY", words="Nothing in this file could be taken as a rule.", code=1),
        ),
        missing="Missing argument 'FILE'.",
    ),
    "bypass test": Row(
        good=(("https://own.example/x",),),
        bad=(bad("http://a b/", words="this is none; write for example https://www.example.com/"),),
        missing="Missing argument 'URL'.",
    ),
    "trust list": Row(bad=SHARED),
    "trust add": Row(good=(("home",),), bad=(bad("a/b", words="a network's name has 1 to 31"),), missing=NAMELESS),
    "trust remove": Row(
        good=(("office",),),
        bad=(bad("home", words="No trusted network is called home.", code=1),),
        missing=NAMELESS,
    ),
    "trust confirm": ASKING,
    "trust here": Row(bad=SHARED),
    "wallet": Row(bad=(bad("steal", words="No such command 'steal'."), UNKNOWN_NETWORK, NO_HOME), asks=True),
    "wallet claim": ASKING,
    "wallet close": Row(good=((), ("87bd",)), bad=(bad("zz", words="a channel is named by the first 4"),), asks=True),
    "wallet cap": Row(
        good=(("0.5",), ("none",)),
        bad=(bad("much", words="this must be an amount in coins"),),
        missing="Missing argument 'COINS|none'.",
        asks=True,
    ),
    "wallet deposit": Row(
        good=(("1", "--channel", "87bd"),),
        bad=(
            bad("0", words="this must be more than nothing"),
            bad("1.2345678", words="this must be an amount in coins"),
        ),
        missing="Missing argument 'AMOUNT'.",
        asks=True,
    ),
    "wallet export": Row(good=(("FOLDER/backup",),), missing="Missing argument 'FILE'.", asks=True),
    "wallet books": Row(
        good=(("HOME",),),
        bad=(
            bad("FOLDER/none", words="does not exist"),
            bad("FOLDER/empty", words="No node runs below", code=1),
        ),
        missing="Missing argument 'FOLDER'.",
        home=False,
    ),
    "config list": Row(bad=SHARED),
    "config get": Row(
        good=(("tunnel.mode",), ("peers.bootstrap",), ("exit.policy",)),
        bad=(bad("tunnel.mod", words="there is no setting tunnel.mod; tunnel.mode is the nearest"),),
        missing=NAMELESS,
    ),
    "config set": Row(
        good=(("tunnel.regions", "NL, DE"), ("peers.dht", "false")),
        bad=(
            bad("tunnel.hops", "9", words="tunnel.hops: it must be"),
            bad("no.setting", "1", words="there is no setting no.setting"),
            bad("tunnel.mode", words="Missing argument 'VALUE'."),
        ),
        missing=NAMELESS,
    ),
    "service install": Row(bad=SHARED),
    "service remove": Row(bad=SHARED),
    "service status": Row(bad=SHARED),
    "doctor": Row(bad=SHARED, ends=1),
    "pair": Row(
        good=((), ("--list",), ("--revoke", "all")),
        bad=(
            *SHARED,
            bad("--list", "--revoke", "all", words="are two wishes; say one"),
            bad("--revoke", "0", words="No browser is paired under 0.", code=1),
        ),
        asks=True,
    ),
    "dashboard": Row(good=(("--print",),), bad=SHARED, asks=True),
    "completion": Row(
        good=(("bash",), ("zsh",), ("fish",)),
        bad=(bad("powershell", words="'powershell' is not one of 'bash', 'zsh', 'fish'"),),
        missing="Missing argument '{bash|zsh|fish}'.",
        home=False,
    ),
}
"""`INVITE`, `OTHER`, `FILE`, `EMPTY`, `HOME` and `FOLDER` stand for what `Place` has."""
