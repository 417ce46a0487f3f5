"""Write the rules as a PAC script: what a browser runs for each request to learn which proxy to use.

The script is ECMAScript 5, looks up no name (that would tell the local resolver where the user goes), and fails
closed: whatever it does not understand, and whatever goes wrong in it, is sent to the proxy.
"""

from __future__ import annotations

import base64
import json
import re
from ipaddress import IPv6Address
from string import Template
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError
from pac.hosts import ENDS_IN_NUMBER, IPV4, MAX_NAME_BYTES, NAME, read_host

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pac.rules import RuleSet, When

MEDIA_TYPE: Final = "application/x-ns-proxy-autoconfig"

_PROXY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")

_SCRIPT: Final = Template("""\
var VIA = $via;
var NAMES = $names;
var GLOBS = $globs;
var NETS4 = $nets4;
var NETS6 = $nets6;
var IS_NAME = new RegExp($is_name);
var IS_IPV4 = new RegExp($is_ipv4);
var ENDS_IN_NUMBER = new RegExp($ends_in_number);

function FindProxyForURL(url, host) {
  try {
    return bypassed(wantedOf(String(url)), String(host)) ? "DIRECT" : VIA;
  } catch (error) {
    return VIA;
  }
}

function has(table, key) {
  return Object.prototype.hasOwnProperty.call(table, key);
}

function fits(when, wanted) {
  if (when === 1) { return true; }
  for (var i = 0; i < when.length; i++) {
    for (var j = 0; j < wanted.length; j++) {
      if (when[i] === wanted[j]) { return true; }
    }
  }
  return false;
}

function hit(table, key, wanted) {
  return has(table, key) && fits(table[key], wanted);
}

function wantedOf(url) {
  var parts = /^([A-Za-z][A-Za-z0-9+.\\-]*):\\/\\/([^\\/?#\\\\]*)/.exec(url);
  if (!parts) { return []; }
  var scheme = parts[1].toLowerCase();
  if (scheme === "ws") { scheme = "http"; }
  if (scheme === "wss") { scheme = "https"; }
  var written = /:([0-9]{1,5})$$/.exec(parts[2]);
  var port = written ? String(parseInt(written[1], 10)) : scheme === "http" ? "80" : scheme === "https" ? "443" : "";
  return [":" + port, scheme + ":", scheme + ":" + port];
}

function bypassed(wanted, host) {
  if (!/^[\\x21-\\x7e]+$$/.test(host)) { return false; }
  host = host.toLowerCase();
  if (host.indexOf(":") >= 0) { return inNets6(groupsOf(host), wanted); }
  if (host.charAt(host.length - 1) === ".") { host = host.slice(0, -1); }
  if (IS_IPV4.test(host)) { return inNets4(host, wanted); }
  if (host.length > $max_name || ENDS_IN_NUMBER.test(host) || !IS_NAME.test(host)) { return false; }
  return isNamed(host, wanted);
}

function isNamed(host, wanted) {
  if (hit(NAMES, "=" + host, wanted) || hit(NAMES, "." + host, wanted)) { return true; }
  for (var dot = host.indexOf("."); dot >= 0; dot = host.indexOf(".", dot + 1)) {
    var tail = host.slice(dot);
    if (hit(NAMES, tail, wanted) || hit(NAMES, "*" + tail, wanted)) { return true; }
  }
  for (var i = 0; i < GLOBS.length; i++) {
    if (globbed(GLOBS[i][0], host) && fits(GLOBS[i][1], wanted)) { return true; }
  }
  return false;
}

function globbed(pieces, host) {
  var last = pieces.length - 1, at = pieces[0].length, end = host.length - pieces[last].length;
  if (at > end || host.slice(0, at) !== pieces[0] || host.slice(end) !== pieces[last]) { return false; }
  for (var i = 1; i < last; i++) {
    var found = host.indexOf(pieces[i], at);
    if (found < 0 || found + pieces[i].length > end) { return false; }
    at = found + pieces[i].length;
  }
  return true;
}

function inNets4(host, wanted) {
  var parts = host.split("."), number = 0;
  for (var i = 0; i < 4; i++) { number = number * 256 + parseInt(parts[i], 10); }
  for (var prefix in NETS4) {
    if (has(NETS4, prefix) && hit(NETS4[prefix], String(Math.floor(number / Math.pow(2, 32 - prefix))), wanted)) {
      return true;
    }
  }
  return false;
}

function groupsOf(host) {
  if (host.charAt(0) === "[" && host.charAt(host.length - 1) === "]") { host = host.slice(1, -1); }
  var colon = host.lastIndexOf(":"), tail = host.slice(colon + 1);
  if (IS_IPV4.test(tail)) {
    var b = tail.split(".");
    host = host.slice(0, colon + 1) + (b[0] * 256 + +b[1]).toString(16) + ":" + (b[2] * 256 + +b[3]).toString(16);
  }
  var halves = host.split("::");
  if (halves.length > 2) { return null; }
  var left = listOf(halves[0]), right = halves.length === 2 ? listOf(halves[1]) : [];
  if (!left || !right) { return null; }
  var missing = 8 - left.length - right.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) { return null; }
  for (; missing > 0; missing--) { left.push(0); }
  return left.concat(right);
}

function listOf(text) {
  if (text === "") { return []; }
  var groups = text.split(":");
  for (var i = 0; i < groups.length; i++) {
    if (!/^[0-9a-f]{1,4}$$/.test(groups[i])) { return null; }
    groups[i] = parseInt(groups[i], 16);
  }
  return groups;
}

function inNets6(groups, wanted) {
  if (!groups) { return false; }
  for (var prefix in NETS6) {
    if (has(NETS6, prefix) && hit(NETS6[prefix], prefixOf(groups, +prefix), wanted)) { return true; }
  }
  return false;
}

function prefixOf(groups, bits) {
  var full = Math.floor(bits / 16), rest = bits % 16, key = [];
  for (var i = 0; i < full; i++) { key.push(groups[i].toString(16)); }
  if (rest) { key.push((groups[full] >> (16 - rest)).toString(16)); }
  return key.join(":");
}
""")


def build_pac(rules: RuleSet, proxy_host_port: str) -> str:
    """Write the PAC script of a set of rules.

    Args:
        rules: the sites for which the script answers `DIRECT`.
        proxy_host_port: where the local proxy listens, such as `127.0.0.1:1080` or `[::1]:1080`.

    Returns:
        ASCII text, about 4 kB and 10 to 30 bytes a rule. Chromium takes scripts of up to 1 MiB from a URL.

    Raises:
        ConfigError: `proxy_host_port` is not a host and a port.

    Source: the PAC file format as Navigator defined it: `FindProxyForURL(url, host)`.
    """
    match = _PROXY.fullmatch(proxy_host_port)
    if match is None or read_host(match["host"]) is None or not 0 < int(match["port"]) < 65536:
        raise ConfigError("proxy address", "a PAC script needs a host and a port such as 127.0.0.1:1080")
    return _SCRIPT.substitute(
        via=to_script(f"PROXY {proxy_host_port}; SOCKS5 {proxy_host_port}"),
        names=to_script({key: _when(when) for key, when in rules.names.items()}),
        globs=to_script([[list(pieces), _when(when)] for pieces, when in rules.globs.items()]),
        nets4=to_script({length: _plain(table) for length, table in rules.nets4.items()}),
        nets6=to_script({length: _grouped(length, table) for length, table in rules.nets6.items()}),
        is_name=to_script(f"^{NAME}$"),
        is_ipv4=to_script(f"^{IPV4}$"),
        ends_in_number=to_script(f"^{ENDS_IN_NUMBER}$"),
        max_name=MAX_NAME_BYTES,
    )


def to_script(value: object) -> str:
    """Write texts, numbers, lists and dictionaries as an ECMAScript 5 literal that is also safe inside HTML.

    Returns:
        JSON in ASCII without `<`, `>`, `&` and `'`. U+2028 and U+2029, which end a line in ECMAScript 5, are escaped.
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return re.sub("[<>&']", lambda found: f"\\u{ord(found[0]):04x}", text)


def pac_data_url(text: str) -> str:
    """Put a PAC script into a `data:` URL, which a browser cannot fail to load.

    Source: RFC 2397.
    """
    return f"data:{MEDIA_TYPE};base64,{base64.b64encode(text.encode()).decode()}"


def _when(when: When) -> int | list[str]:
    return 1 if when is None else sorted(when)


def _plain(table: Mapping[int, When]) -> dict[int, int | list[str]]:
    return {key: _when(when) for key, when in table.items()}


def _grouped(length: int, table: Mapping[int, When]) -> dict[str, int | list[str]]:
    """Write the first `length` bits of IPv6 addresses as the script does: groups of 16 bits in hex, then the rest."""
    full, rest = divmod(length, 16)
    written: dict[str, int | list[str]] = {}
    for key, when in table.items():
        groups = IPv6Address(key << (128 - length)).exploded.split(":")
        parts = [f"{int(group, 16):x}" for group in groups[:full]]
        if rest:
            parts.append(f"{int(groups[full], 16) >> (16 - rest):x}")
        written[":".join(parts)] = _when(when)
    return written
