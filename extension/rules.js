// Written by `python -m scripts.extension --rules` from `pac/script.py`: rules decide here as they do in the PAC.
let TABLE = {}, GLOBS = [], PREFIXES4 = [], PREFIXES6 = [];
const IS_NAME = new RegExp("^[a-z0-9_-]{1,63}(?:\\.[a-z0-9_-]{1,63})*$");
const IS_IPV4 = new RegExp("^(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\\.(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])){3}$");
const ENDS_IN_NUMBER = new RegExp("^(?:.*\\.)?(?:[0-9]+|0x[0-9a-f]*)$");

/**
 * Obey the rules of a PAC from now on: its first lines are data. Without a PAC there are none.
 * @throws if it is no PAC of this node
 */
export function readRules(pac) {
  const data = { GROUPS: [], TABLE: {}, GLOBS: [], PREFIXES4: [], PREFIXES6: [] };
  if (pac) {
    for (const name of Object.keys(data)) {
      data[name] = JSON.parse(new RegExp("^var " + name + " = (.*);$", "m").exec(pac)[1]);
    }
  }
  for (const [found, head, tail, words] of data.GROUPS) {
    for (const word of words.split(" ")) data.TABLE[head + word + tail] = found;
  }
  ({ TABLE, GLOBS, PREFIXES4, PREFIXES6 } = data);
}

/** Whether a rule sends a request past the tunnel. */
export const isDirect = (url, host) => outcome(wantedOf(url), host) === 1;

function told(entry, wanted) {
  if (typeof entry !== "object") { return entry; }
  for (var i = 0; i < entry.length; i++) {
    if (entry[i][0] === 0) { return entry[i][1]; }
    for (var j = 0; j < wanted.length; j++) {
      if (entry[i][0] === wanted[j]) { return entry[i][1]; }
    }
  }
}

function wantedOf(url) {
  var parts = /^([A-Za-z][A-Za-z0-9+.\-]*):\/\/([^\/?#\\]*)/.exec(url);
  if (!parts) { return []; }
  var scheme = parts[1].toLowerCase();
  if (scheme === "ws") { scheme = "http"; }
  if (scheme === "wss") { scheme = "https"; }
  var written = /:([0-9]{1,5})$/.exec(parts[2]);
  var port = written ? String(parseInt(written[1], 10)) : scheme === "http" ? "80" : scheme === "https" ? "443" : "";
  return [":" + port, scheme + ":", scheme + ":" + port];
}

function outcome(wanted, host) {
  if (!/^[\x21-\x7e]+$/.test(host)) { return 0; }
  host = host.toLowerCase();
  if (host.indexOf(":") >= 0) { return ofIPv6(groupsOf(host), wanted); }
  if (host.charAt(host.length - 1) === ".") { host = host.slice(0, -1); }
  if (IS_IPV4.test(host)) { return ofIPv4(host, wanted); }
  if (host.length > 253 || ENDS_IN_NUMBER.test(host) || !IS_NAME.test(host)) { return 0; }
  return ofName(host, wanted);
}

function ofName(host, wanted) {
  var found = told(TABLE["=" + host], wanted) || told(TABLE["." + host], wanted), next = 0;
  for (var dot = host.indexOf("."); dot >= 0 && !found; dot = host.indexOf(".", dot + 1)) {
    var tail = host.slice(dot);
    for (; !found && next < GLOBS.length && GLOBS[next][0] >= tail.length; next++) {
      found = ofGlob(next, host, wanted);
    }
    found = found || told(TABLE["*" + tail], wanted) || told(TABLE[tail], wanted);
  }
  for (; !found && next < GLOBS.length; next++) { found = ofGlob(next, host, wanted); }
  return found;
}

function ofGlob(number, host, wanted) {
  var pieces = GLOBS[number][1], last = pieces.length - 1;
  var at = pieces[0].length, end = host.length - pieces[last].length;
  if (at > end || host.slice(0, at) !== pieces[0] || host.slice(end) !== pieces[last]) { return 0; }
  for (var i = 1; i < last; i++) {
    var found = host.indexOf(pieces[i], at);
    if (found < 0 || found + pieces[i].length > end) { return 0; }
    at = found + pieces[i].length;
  }
  return told(GLOBS[number][2], wanted);
}

function ofIPv4(host, wanted) {
  var parts = host.split("."), number = 0, found = 0;
  for (var i = 0; i < 4; i++) { number = number * 256 + parseInt(parts[i], 10); }
  for (var p = 0; p < PREFIXES4.length && !found; p++) {
    var bits = PREFIXES4[p];
    found = told(TABLE["4/" + bits + "/" + Math.floor(number / Math.pow(2, 32 - bits))], wanted);
  }
  return found;
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
    if (!/^[0-9a-f]{1,4}$/.test(groups[i])) { return null; }
    groups[i] = parseInt(groups[i], 16);
  }
  return groups;
}

function ofIPv6(groups, wanted) {
  var found = 0;
  for (var p = 0; groups && p < PREFIXES6.length && !found; p++) {
    found = told(TABLE["6/" + PREFIXES6[p] + "/" + firstBits(groups, PREFIXES6[p])], wanted);
  }
  return found;
}

function firstBits(groups, bits) {
  var full = Math.floor(bits / 16), rest = bits % 16, key = [];
  for (var i = 0; i < full; i++) { key.push(groups[i].toString(16)); }
  if (rest) { key.push((groups[full] >> (16 - rest)).toString(16)); }
  return key.join(":");
}
