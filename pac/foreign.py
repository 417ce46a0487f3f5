"""Read hosts out of a PAC script that somebody else wrote, without running it.

Taken is what stands in the body of `FindProxyForURL`, not inside of anything else, as

    if (dnsDomainIs(host, ".example.com") || shExpMatch(host, "*.example.org")) return "DIRECT";

Each side of `||` is read by itself. What is sent to a proxy there becomes a rule that tunnels. A side that asks for
more (`&&`, `!`, a look-up, the URL) is left out and told: without running the script nobody knows what it says.
"""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Final, NamedTuple

from core.errors import ConfigError
from pac.lists import Imported, LeftOut
from pac.rule import Action, Kind, Rule

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENTRY: Final = "FindProxyForURL"

_TOKEN: Final = re.compile(
    r"""
    (?P<word> [A-Za-z_$][A-Za-z0-9_$]* )
    | (?P<blank> \s+ | //[^\n]* | /\*.*?\*/ )
    | (?P<text> "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
    | (?P<mark> === | == | !== | != | \|\| | && | . )
    """,
    re.VERBOSE | re.DOTALL,
)

_TESTS: Final = ("dnsDomainIs", "localHostOrDomainIs", "shExpMatch", "isInNet", "isInNetEx", "isPlainHostName")

_MAX_DEPTH: Final = 20
"""Of parentheses in parentheses; people write two or three."""

_NOT_READ: Final = "what this asks for cannot be told without running the script"


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def is_pac(text: str) -> bool:
    """Whether a file is a PAC script."""
    return re.search(rf"\b{_ENTRY}\b", text) is not None


def read_pac(text: str, action: Action | None = None) -> Imported:
    """Read the conditions of a PAC script.

    Args:
        text: the script.
        action: what shall happen to hosts for which it says `DIRECT`; None: they are bypassed.
    """
    tokens = _tokens(text)
    host, body = _body(tokens)
    found: dict[Rule, None] = {}
    read: set[int] = set()
    depth = 0
    for at, token in enumerate(body):
        depth += (token.text == "{") - (token.text == "}") if token.kind == "mark" else 0
        if depth or token.text != "if" or token.kind != "word" or not _begins(body, at):
            continue
        end = _closing(body, at + 1)
        goes = _returned(body[end + 1 : end + 5])
        if goes is None:
            continue
        for term in _sides(body[at + 2 : end]):
            try:
                rule = _rule(term, host)
            except ConfigError:
                continue
            found[replace(rule, action=(action or Action.BYPASS) if goes == "DIRECT" else Action.TUNNEL)] = None
            read.update(id(part) for part in term)
    left_out = [LeftOut(token.line, _NOT_READ) for token in tokens if token.text in _TESTS and id(token) not in read]
    return Imported(tuple(found), tuple(left_out))


def _tokens(text: str) -> list[_Token]:
    tokens = []
    line = 1
    for match in _TOKEN.finditer(text):
        kind, text = str(match.lastgroup), match[0]
        if kind != "blank":
            tokens.append(_Token(kind, text, line))
        if kind in ("blank", "text"):
            line += text.count("\n")
    return tokens


def _body(tokens: Sequence[_Token]) -> tuple[str, Sequence[_Token]]:
    """Find the name of the function's second parameter, and what is between its braces."""
    entry = next((at for at, token in enumerate(tokens) if token.text == _ENTRY), len(tokens))
    start = next((at for at in range(entry, len(tokens)) if tokens[at].text == "{"), len(tokens))
    names = [token.text for token in tokens[entry + 1 : start] if token.kind == "word" and token.text != "function"]
    return names[1] if len(names) == 2 else "host", tokens[start + 1 : _closing(tokens, start)]


def _closing(tokens: Sequence[_Token], start: int) -> int:
    """Find the mark that closes the one at `start`; the end, if there is none."""
    depth = 0
    for at in range(start, len(tokens)):
        if tokens[at].kind == "mark":
            depth += (tokens[at].text in "({[") - (tokens[at].text in ")}]")
        if not depth:
            return at
    return len(tokens)


def _begins(tokens: Sequence[_Token], at: int) -> bool:
    """Whether a statement begins here that depends on no other; a line that ends in a text needs no semicolon."""
    if not at:
        return True
    before = tokens[at - 1]
    return before.text in ("{", "}", ";", "else") or (before.kind == "text" and before.line < tokens[at].line)


def _returned(tokens: Sequence[_Token]) -> str | None:
    """Give the first thing that a statement returns, if it is a text and the statement does nothing else."""
    after = tokens[1:] if tokens and tokens[0].text == "{" else tokens
    if len(after) < 2 or after[0].text != "return" or after[1].kind != "text":
        return None
    if (
        len(after) > 2
        and after[2].text not in (";", "}")
        and (after[2].kind != "word" or after[2].line == after[1].line)
    ):
        return None  # the text is a part of something longer
    return after[1].text[1:-1].partition(";")[0].strip().upper()


def _sides(tokens: Sequence[_Token], depth: int = 0) -> list[Sequence[_Token]]:
    """Split a condition at each `||` that is not inside of parentheses, and take those around a side away."""
    if depth > _MAX_DEPTH:
        return []
    sides: list[Sequence[_Token]] = []
    start = at = 0
    while at < len(tokens):
        if tokens[at].text == "(" and tokens[at].kind == "mark":
            at = _closing(tokens, at)
        elif tokens[at].text == "||" and tokens[at].kind == "mark":
            sides.append(tokens[start:at])
            start = at + 1
        at += 1
    last = tokens[start:]
    if not sides and last and last[0].text == "(" and _closing(last, 0) == len(last) - 1:
        return _sides(last[1:-1], depth + 1)
    if not sides:
        return [last]
    return [part for side in (*sides, last) for part in _sides(side, depth + 1)]


def _rule(term: Sequence[_Token], host: str) -> Rule:
    """Read what a term asks for.

    Raises:
        ConfigError: it is none of the forms that are known, or its text is no host.
    """
    shape = " ".join("TEXT" if token.kind == "text" else token.text for token in term)
    shape = shape.replace(f"{host} . toLowerCase ( )", host).replace("===", "==")
    texts = [token.text[1:-1] for token in term if token.kind == "text"]
    if any(re.search(r"[\\\s:]", text) for text in texts[:1]) and shape != f"isInNetEx ( {host} , TEXT )":
        raise ConfigError("", "this is no host")
    if shape == f"shExpMatch ( {host} , TEXT )":
        rule = Rule.parse(texts[0])
        known = rule.kind in (Kind.EXACT, Kind.WILDCARD)
    elif shape == f"dnsDomainIs ( {host} , TEXT )":
        rule = Rule.parse(("*" if texts[0].startswith(".") else ".") + texts[0])
        known = "*" not in texts[0]
    elif shape in (f"localHostOrDomainIs ( {host} , TEXT )", f"{host} == TEXT", f"TEXT == {host}"):
        rule = Rule.parse(texts[0])
        known = rule.kind is Kind.EXACT or (rule.kind is Kind.NETWORK and "/" not in texts[0])
    elif shape in (f"isInNet ( {host} , TEXT , TEXT )", f"isInNet ( dnsResolve ( {host} ) , TEXT , TEXT )"):
        rule = Rule.parse(_network(*texts))
        known = True
    elif shape == f"isInNetEx ( {host} , TEXT )":
        rule = Rule.parse(texts[0])
        known = rule.kind is Kind.NETWORK
    else:
        raise ConfigError("", "this form is not known")
    if not known or rule.conditions or rule.action is not Action.BYPASS:
        raise ConfigError("", "this is no host")
    return rule


def _network(address: str, mask: str) -> str:
    try:
        return str(IPv4Network(f"{address}/{mask}"))
    except ValueError as error:
        raise ConfigError("", "a network's mask is wrong") from error
