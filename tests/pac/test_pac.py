"""The PAC script, run in a real JavaScript engine beside the rules it was made from."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import time
from itertools import islice

import pytest
import quickjs
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError
from pac import pac as pac_module
from pac.pac import MAX_SCRIPT_BYTES, build_pac, pac_data_url, to_script, write_pac
from pac.presets import preset_rules
from pac.rules import Action, Rule, RuleSet
from tests.pac.many import disagreements
from tests.pac.strategies import hostile, hosts, ports, rule_texts

VIA = "PROXY 127.0.0.1:1080; SOCKS5 127.0.0.1:1080"


class Browser:
    """What a browser does with a PAC script. Looking up a name fails the test."""

    def __init__(self, *rules: str) -> None:
        self.rules = RuleSet(Rule.parse(text) for text in rules)
        self.script = build_pac(self.rules, "127.0.0.1:1080")
        self._context = quickjs.Context()
        self._context.eval(self.script)

    def calls_us(self) -> float:
        """How many microseconds a call takes, for hosts that no rule names."""
        began = time.process_time()
        visit = "FindProxyForURL('https://a.b.x' + i + '.example/', 'a.b.x' + i + '.example')"
        self._context.eval(f"for (var i = 0; i < 2000; i++) {{ {visit} }}")
        return (time.process_time() - began) * 500

    def asks(self, url: str, host: str) -> str:
        # JSON carries any text into the engine unharmed, lone surrogates as well.
        return str(self._context.eval(f"FindProxyForURL({json.dumps(url)}, {json.dumps(host)})"))


@pytest.mark.parametrize(
    ("rule", "url", "host", "answer"),
    [
        ("example.com", "https://example.com/", "example.com", "DIRECT"),
        ("example.com", "https://www.example.com/", "www.example.com", VIA),
        (".example.com", "https://www.example.com/", "www.example.com", "DIRECT"),
        (".example.com", "https://example.com.evil/", "example.com.evil", VIA),
        ("*.corp.example", "https://corp.example/", "corp.example", VIA),
        ("intra-*.example", "http://intra-7.example/", "intra-7.example", "DIRECT"),
        ("block a.example", "http://a.example/", "a.example", VIA),
        (".example; tunnel .a.example", "http://b.a.example/", "b.a.example", VIA),
        (".example; tunnel .a.example", "http://b.example/", "b.example", "DIRECT"),
        (".a.example; block *.a.example", "http://a.example/", "a.example", "DIRECT"),
        (".a.example; block *.a.example", "http://b.a.example/", "b.a.example", VIA),
        ("block x*.a.example; .a.example", "http://xy.a.example/", "xy.a.example", VIA),
        ("block .a.example; ab*.example", "http://ab.a.example/", "ab.a.example", "DIRECT"),
        ("a.example; a.example:443 mode=speed", "https://a.example/", "a.example", VIA),
        ("a.example; a.example:443 mode=speed", "http://a.example/", "a.example", "DIRECT"),
        ("tunnel 10.2.0.0/16; 10.0.0.0/8", "http://10.2.3.4/", "10.2.3.4", VIA),
        ("10.0.0.0/8", "http://10.2.3.4/", "10.2.3.4", "DIRECT"),
        ("10.0.0.0/8", "http://10.example/", "10.example", VIA),
        ("128.0.0.0/1", "http://255.0.0.1/", "255.0.0.1", "DIRECT"),
        ("[::1]", "http://[::1]:8080/", "::1", "DIRECT"),
        ("fc00::/7", "http://[fdff::1]/", "[fdff::1]", "DIRECT"),
        ("fc00::/7", "http://[fe00::1]/", "[fe00::1]", VIA),
        ("::/1", "http://x/", "1:2:3:4:5:6:7::", "DIRECT"),
        ("::/1", "http://x/", "1:2:3:4::5:6:7:8", VIA),
        ("::/1", "http://x/", "1:2:3:4:5:6:7", VIA),
        ("::/1", "http://x/", "1::2::3", VIA),
        ("a.example:8443", "https://a.example:8443/x", "a.example", "DIRECT"),
        ("a.example:8443", "https://a.example/x:8443", "a.example", VIA),
        ("a.example:443", "https://a.example/", "a.example", "DIRECT"),
        ("a.example:80", "http://user:1@a.example/", "a.example", "DIRECT"),
        ("https://a.example", "http://a.example/", "a.example", VIA),
        ("https://a.example", "wss://a.example/", "a.example", "DIRECT"),
        ("__proto__", "http://__proto__/", "__proto__", "DIRECT"),
        ("a.example", "http://constructor/", "constructor", VIA),
        ("a.example", "", "a.example", "DIRECT"),
        ("a.example:80", "no url", "a.example", VIA),
    ],
)
def test_golden_answers(rule: str, url: str, host: str, answer: str) -> None:
    assert Browser(*rule.split("; ")).asks(url, host) == answer


def test_script_without_rules_sends_everything_to_the_proxy() -> None:
    browser = Browser()
    for host in ("localhost", "10.0.0.1", "example.com", ""):
        assert browser.asks(f"http://{host}/", host) == VIA


def test_error_inside_the_script_does_not_go_direct() -> None:
    browser = Browser("a.example")
    context = quickjs.Context()
    context.eval(browser.script + "; function outcome() { throw new Error('broken'); }")
    assert context.eval("FindProxyForURL('http://a.example/', 'a.example')") == VIA


def test_script_is_small_old_and_asks_no_resolver() -> None:
    script = Browser(*(str(rule) for rule in preset_rules("local"))).script
    assert script.isascii()
    assert len(script) < 6_000  # which `pac.shortlist` reckons with
    assert not re.search(r"dnsResolve|isInNet|isResolvable|myIpAddress|shExpMatch|=>|\blet\b|\bconst\b|`", script)
    assert script.count('"DIRECT"') == 1


@given(
    st.lists(rule_texts, max_size=12),
    st.lists(
        st.tuples(st.sampled_from(["http", "https", "ws", "wss", "ftp", "HTTPS"]), hosts, ports),
        min_size=1,
        max_size=20,
    ),
)
@settings(max_examples=100, deadline=None)
def test_script_and_proxy_decide_alike(texts: list[str], visits: list[tuple[str, str, int]]) -> None:
    browser = Browser(*texts)
    for scheme, host, port in visits:
        answer = browser.asks(f"{scheme}://{host if _plain(host) else 'x'}:{port}/path?query#part", host)
        if not host.isascii():
            assert answer == VIA
            continue
        action = browser.rules.decide(host, port, scheme).action
        assert answer == ("DIRECT" if action is Action.BYPASS else VIA), (texts, scheme, host, port)


@given(st.lists(rule_texts, max_size=6), hostile, hostile)
@settings(max_examples=100, deadline=None)
def test_any_url_is_answered(texts: list[str], url: str, host: str) -> None:
    assert Browser(*texts).asks(url, host) in {"DIRECT", VIA}


@given(hostile | st.recursive(hostile, lambda inner: st.lists(inner) | st.dictionaries(hostile, inner), max_leaves=5))
@settings(max_examples=300, deadline=None)
def test_any_text_is_escaped(value: object) -> None:
    script = to_script(value)
    assert script.isascii()
    assert not re.search(r"[<>&'\n\r]", script)
    if isinstance(value, str):
        expected = json.dumps(value)
        assert quickjs.Context().eval(f"{script} === JSON.parse({json.dumps(expected)})")


def test_escaping_golden() -> None:
    assert to_script("\u2028\"</script>'&\\") == '"\\u2028\\"\\u003c/script\\u003e\\u0027\\u0026\\\\"'


@pytest.mark.parametrize(
    "address",
    [
        "",
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        'x"; DIRECT:1',
        "a;b:1",
        "::1:1080",
        "[::1:1080",
        "1.2:3",
        "a\n:1",
    ],
)
def test_proxy_address_must_be_one(address: str) -> None:
    with pytest.raises(ConfigError):
        build_pac(RuleSet(), address)


def test_ipv6_proxy_address() -> None:
    assert "PROXY [::1]:1080; SOCKS5 [::1]:1080" in build_pac(RuleSet(), "[::1]:1080")


def test_data_url_holds_the_script() -> None:
    script = build_pac(RuleSet(), "127.0.0.1:1080")
    head, _, body = pac_data_url(script).partition(",")
    assert head == "data:application/x-ns-proxy-autoconfig;base64"
    assert base64.b64decode(body, validate=True).decode() == script


def test_fifty_thousand_hosts_fit_a_script() -> None:
    browser = Browser(*(f"host{n}.example" for n in range(50_000)))
    assert browser.asks("https://host49999.example/", "host49999.example") == "DIRECT"
    assert browser.asks("https://host50000.example/", "host50000.example") == VIA
    assert len(browser.script) <= MAX_SCRIPT_BYTES < 1 << 20
    assert browser.calls_us() < 200


def test_what_has_no_room_goes_to_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pac_module, "MAX_SCRIPT_BYTES", 40_000)
    texts = [
        "tunnel 1.host9.long-name-of-a-list.example",
        *(f".host{n}.long-name-of-a-list.example" for n in range(2_000)),
    ]
    browser = Browser(*texts, "tunnel 1.host1999.long-name-of-a-list.example")
    assert 30_000 < len(browser.script) <= 40_000
    assert browser.asks("http://host9.long-name-of-a-list.example/", "host9.long-name-of-a-list.example") == "DIRECT"
    assert browser.asks("http://1.host9.long-name-of-a-list.example/", "1.host9.long-name-of-a-list.example") == VIA
    last = "host1999.long-name-of-a-list.example"
    assert browser.rules.decide(last, 80).action is Action.BYPASS
    assert browser.asks(f"http://{last}/", last) == VIA


def test_hosts_that_take_more_room_than_most_do_not_make_it_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pac_module, "MAX_SCRIPT_BYTES", 40_000)
    browser = Browser(*(f"h.of{n}" for n in range(4_000)))
    assert 30_000 < len(browser.script) <= 40_000
    assert browser.asks("http://h.of9/", "h.of9") == "DIRECT"


def test_only_exceptions_to_a_bypass_are_in_the_script() -> None:
    texts = ["block .ads.example", "tunnel a.b.example", "block 10.1.0.0/16", "block 11.1.0.0/16", "block c*.d.example"]
    rules = RuleSet(map(Rule.parse, [*texts, ".b.example", "10.0.0.0/8"]))
    kept = {str(rule) for rule in write_pac(rules, "127.0.0.1:1080")[1].rules}
    assert kept == {"tunnel a.b.example", "block 10.1.0.0/16", "block c*.d.example", ".b.example", "10.0.0.0/8"}


def test_many_random_rules_and_urls() -> None:
    cases = int(os.environ.get("PAC_CASES", "5000"))
    assert list(islice(disagreements(cases, random.randrange(1 << 32)), 3)) == []


def _plain(host: str) -> bool:
    return not re.search(r"[\s/?#@\\]|[^\x00-\x7f]", host) and host != ""
