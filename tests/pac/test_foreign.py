"""PAC scripts of others, read and not run."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pac.foreign import is_pac, read_pac
from pac.rules import Action

SCRIPT = """\
// Made by hand: if (dnsDomainIs(host, ".comment.example")) return "DIRECT";
function helper(host) { if (host == "helper.example") return "DIRECT"; return "PROXY x:1"; }
function FindProxyForURL(url, host) {
  var text = 'if (host == "text.example") return "DIRECT";';
  /* if (host == "block.example") return "DIRECT"; */
  if (dnsDomainIs(host, ".a.example") || shExpMatch(host, "*.b.example") ||
      (host == "c.example" || "d.example" === host))
    return "DIRECT";
  if (localHostOrDomainIs(host.toLowerCase(), 'e.example')) { return 'DIRECT; PROXY x:1'; }
  else if (isInNet(host, "10.0.0.0", "255.0.0.0") || isInNet(dnsResolve(host), "192.168.0.0", "255.255.0.0")) {
    return "DIRECT";
  }
  if (isInNetEx(host, "fc00::/7") || shExpMatch(host, "intra-*.f.example") || host == "192.0.2.7") return "DIRECT"
  if (dnsDomainIs(host, "g.example")) return "PROXY corp.example:8080; DIRECT";
  if (dnsDomainIs(host, ".and.example") && shExpMatch(url, "http:*")) return "DIRECT";
  if (!dnsDomainIs(host, ".not.example")) return "DIRECT";
  if (isPlainHostName(host)) return "DIRECT";
  if (url.length) { if (dnsDomainIs(host, ".nested.example")) return "DIRECT"; }
  if (url.length) if (dnsDomainIs(host, ".nested2.example")) return "DIRECT";
  for (;;) if (dnsDomainIs(host, ".loop.example")) return "DIRECT";
  if (dnsDomainIs(host, ".plus.example")) return "DIRECT" + url;
  if (dnsDomainIs(host, ".plus2.example")) return "DIRECT"
    + url;
  if (dnsDomainIs(host, ".other.example")) { url = ""; return "DIRECT"; }
  if (dnsDomainIs(url, ".url.example")) return "DIRECT";
  if (shExpMatch(host, "10.1.*") || shExpMatch(host, "a?.example") || host == "*.star.example" ||
      host == "block x.example" || host == ".dot.example" || dnsDomainIs(host, "a\\x2eb")) return "DIRECT";
  return "PROXY corp.example:8080";
}
if (dnsDomainIs(host, ".outside.example")) return "DIRECT";
"""


def test_what_is_plain_is_taken_and_the_rest_is_told() -> None:
    assert is_pac(SCRIPT)
    read = read_pac(SCRIPT)
    assert list(map(str, read.rules)) == [
        "*.a.example",
        "*.b.example",
        "c.example",
        "d.example",
        "e.example",
        "10.0.0.0/8",
        "192.168.0.0/16",
        "fc00::/7",
        "intra-*.f.example",
        "192.0.2.7",
        "tunnel .g.example",
    ]
    assert [one.line for one in read.left_out] == [15, 15, 16, 17, 18, 19, 20, 21, 22, 24, 25, 26, 26, 27, 30]


def test_hosts_get_the_action_that_is_asked_for() -> None:
    read = read_pac('var FindProxyForURL = function (u, h) { if (h == "a.example") return "DIRECT"; }', Action.BLOCK)
    assert list(map(str, read.rules)) == ["block a.example"]


@given(st.text("(){}[];|&!=\"'/*\\ \nifreturnDIRECThost.a,", max_size=200))
def test_any_text_is_read(text: str) -> None:
    read_pac(f"function FindProxyForURL(url, host) {{ {text}")


@pytest.mark.parametrize("text", ["(" * 50_000, "if (" * 20_000, "/*" * 50_000, '"' * 50_001, "((a||" * 20_000])
def test_no_script_takes_long(text: str) -> None:
    began = time.process_time()
    assert read_pac(f"function FindProxyForURL(url, host) {{ if ({text}").rules == ()
    assert time.process_time() - began < 5


@pytest.mark.parametrize("between", [" || ", ') return "DIRECT"; if ('])
def test_many_hosts_are_read_fast(between: str) -> None:
    conditions = between.join(f'dnsDomainIs(host, ".h{n}.example")' for n in range(5_000))
    began = time.process_time()
    read = read_pac(f'function FindProxyForURL(url, host) {{ if ({conditions}) return "DIRECT"; }}')
    assert (len(read.rules), read.left_out) == (5_000, ())
    assert time.process_time() - began < 5
