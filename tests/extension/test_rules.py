"""What Firefox's extension does with a host, beside the PAC script that the node would give it."""

from __future__ import annotations

import json

import pytest
import quickjs
from hypothesis import given, settings
from hypothesis import strategies as st

from pac.pac import build_pac
from pac.rules import Rule, RuleSet
from scripts import extension
from tests.pac.strategies import hosts, rule_texts

PROXY = "127.0.0.1:1080"


def engine(pac: str) -> quickjs.Context:
    """What Firefox's background page has of it."""
    context = quickjs.Context()
    context.eval(extension.RULES.read_text().replace("export ", ""))
    context.eval(f"readRules({json.dumps(pac)})")
    return context


def is_direct(context: quickjs.Context, url: str, host: str) -> bool:
    return bool(context.eval(f"isDirect({json.dumps(url)}, {json.dumps(host)})"))


def test_the_file_is_what_the_pac_does() -> None:
    assert extension.RULES.read_text() == extension.rules_text()


@given(rules=st.lists(rule_texts, max_size=6), host=hosts)
@settings(max_examples=100)
def test_rules_decide_as_in_the_pac(rules: list[str], host: str) -> None:
    pac = build_pac(RuleSet(map(Rule.parse, rules)), PROXY)
    url = f"https://{host}:8443/"
    script = quickjs.Context()
    script.eval(pac)
    answer = script.eval(f"FindProxyForURL({json.dumps(url)}, {json.dumps(host)})")
    assert is_direct(engine(pac), url, host) is (answer == "DIRECT")


@pytest.mark.parametrize(
    ("rule", "url", "host", "direct"),
    [
        (".example.com", "https://www.example.com/", "www.example.com", True),
        (".example.com", "https://example.com.evil/", "example.com.evil", False),
        ("https://example.com:8443", "wss://example.com:8443/", "example.com", True),
        ("https://example.com:8443", "https://example.com/", "example.com", False),
        ("[fc00::/8]", "https://[fc00::1]/", "[fc00::1]", True),
        ("*.a-*.example", "https://b.a-1.example/", "b.a-1.example", True),
    ],
)
def test_a_rule(rule: str, url: str, host: str, *, direct: bool) -> None:
    assert is_direct(engine(build_pac(RuleSet([Rule.parse(rule)]), PROXY)), url, host) is direct


def test_without_a_pac_nothing_is_direct() -> None:
    assert not is_direct(engine(""), "https://example.com/", "example.com")


@pytest.mark.parametrize("text", ["<html>", "var TABLE = {};", "var GROUPS = [[1]];", "var GROUPS = alert(1);"])
def test_what_is_no_pac_is_refused(text: str) -> None:
    with pytest.raises(quickjs.JSException):
        engine(text)


def test_a_refused_pac_leaves_the_rules_as_they_were() -> None:
    context = engine(build_pac(RuleSet([Rule.parse("example.com")]), PROXY))
    with pytest.raises(quickjs.JSException):
        context.eval("readRules('nonsense')")
    assert is_direct(context, "https://example.com/", "example.com")
