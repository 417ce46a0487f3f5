/** What is said of the state: on the button, in the popup and on the page that stands for one that cannot be loaded. */

const GOOD = "#0b7a4b";
const WAITING = "#8a6100";
const BAD = "#b3261e";

const START = "Start it with `macrovpn up`. Nothing leaves meanwhile but what a bypass rule names.";

/**
 * @param {object} facts
 * @param {boolean} facts.on the user turned it on
 * @param {boolean} facts.paired a node is known
 * @param {boolean} facts.ours this extension decides about the proxy
 * @param {boolean} facts.sealed and about WebRTC
 * @param {object | null} facts.status the node's answer
 * @param {number} facts.refused its HTTP status if it refused, else 0
 * @param {boolean} facts.stranger something else answers at its port
 * @returns {Record<"word" | "badge" | "color" | "headline" | "reason" | "remedy" | "region", string>}
 */
export function viewOf(facts) {
  const row = rowOf(facts);
  const { status } = facts;
  const [badge, color, headline, reason, remedy] = row.slice(1);
  return { word: row[0], badge, color, headline, reason, remedy, region: status ? regionOf(status.exit_region) : "" };
}

function rowOf({ on, paired, ours, sealed, status, refused, stranger }) {
  if (!on) return paired ? ["off", "", GOOD, "Off", "Sites see your own address.", ""] : UNPAIRED;
  if (!ours) return OTHERS;
  if (!paired) return CLOSED;
  if ([401, 403, 404].includes(refused)) return REVOKED;
  if (stranger) return STRANGER;
  if (!status) return ["gone", "!", BAD, "Blocked: the node does not answer", "It is not running, or hangs.", START];
  const reason = sentence(status.reason);
  const because = sentence(status.direct_because);
  if (because) return ["direct", "DIR", WAITING, "Direct: a trusted network", because, ""];
  switch (status.state) {
    case "up":
      return sealed ? up(status) : LEAKY;
    case "connecting":
      return ["connecting", "…", WAITING, "Connecting", reason, "Pages wait or are refused until it is done."];
    case "down":
      return ["down", "!", BAD, "Blocked: the node is switched off", reason, "Switch it on with `macrovpn on`."];
    case "leaving":
      return ["leaving", "!", BAD, "Blocked: the node is stopping", reason, START];
    default:
      return ["blocked", "!", BAD, "Blocked: no way to an exit", reason, "`macrovpn doctor` says more."];
  }
}

const PAIR = "Run `macrovpn pair`, and enter the code it prints.";
const UNPAIRED = ["unpaired", "", GOOD, "Not paired with a node", "", PAIR];
const CLOSED = ["unpaired", "!", BAD, "Blocked: not paired with a node", "Nothing leaves.", PAIR];
const REVOKED = [
  "revoked", "!", BAD, "Blocked: the node does not know this browser any more", "Its pairing was revoked.", PAIR,
];
const STRANGER = [
  "stranger", "!", BAD, "Blocked: another program answers at the node's port", "It was told nothing.", START,
];
const OTHERS = [
  "others", "!", BAD, "Not protected",
  "Something else decides about this browser's proxy: another extension, a policy, or a permission that was taken away.",
  "Switch the other extension off, or give this one back its permission for all sites.",
];
const LEAKY = [
  "leaky", "!", BAD, "Sites may learn your address",
  "Pages go through the tunnel, but something else decides what WebRTC may do.",
  "Switch the other extension off.",
];

const up = (status) => {
  const region = regionOf(status.exit_region);
  return ["up", region.slice(0, 2) || "on", GOOD, region ? `On: leaving from ${nameOf(region)}` : "On", "", ""];
};

const sentence = (text) => (typeof text === "string" ? text.slice(0, 400) : "");

/** A region as the node writes it, `NL` or `US-CA`; empty if it is none. */
export const regionOf = (text) => (/^[A-Z]{2}(-[A-Z0-9]{1,3})?$/.test(text) ? text : "");

/** A region in words. */
export function nameOf(region) {
  const [country, part] = region.split("-");
  const name = new Intl.DisplayNames(["en"], { type: "region" }).of(country);
  return part ? `${name}, ${part}` : name;
}
