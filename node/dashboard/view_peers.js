import { el, labelled, select, table } from "./dom.js";
import { ask } from "./node.js";
import * as say from "./say.js";

const HEADS = ["Peer", "Does", "Country", "Away", "Asks", "Trusted with", "Looks good"];
const SHOWN = 200;

/** Who is known. */
export async function peers() {
  const place = el("div"), role = select([["", "all"], ["relay", "relays"], ["exit", "exits"]], "");
  let found = (await ask("GET", "/v1/peers")).peers;
  const draw = () => {
    const rows = found.filter((peer) => !role.value || peer.roles.includes(role.value)).sort((one, other) => other.score - one.score);
    place.replaceChildren(table(`${say.many(rows.length, "peer")}, the best first${rows.length > SHOWN ? `; the first ${SHOWN}` : ""}`,
      HEADS, rows.slice(0, SHOWN).map(line)));
  };
  role.addEventListener("change", draw);
  draw();
  return {
    title: "Peers",
    node: el("div", { class: "panel" },
      el("p", { class: "dim" }, "Peers are drawn by chance, the better the more often. What counts: round trip, rate, failures and price as measured from here, and how sure that is."),
      el("div", { class: "row" }, labelled("Show", role)), place),
    async update(what) {
      if (what !== "status") return;
      found = await ask("GET", "/v1/peers").then((answer) => answer.peers, () => found);
      draw();
    },
  };
}

function line(peer) {
  const country = peer.region ? say.region(peer.region) : peer.claimed_region ? `says ${say.region(peer.claimed_region)}, not believed` : "not known";
  return [
    el("span", { class: "id", title: peer.peer_id }, say.short(peer.peer_id)),
    peer.roles.join(", ") || "nothing now", country, say.ms(peer.rtt_ms), peer.tariff ? `step ${peer.tariff}` : "nothing",
    peer.pinned ? `kept as ${peer.pinned}` : "", `${peer.score.toFixed(2)} (${Math.round(100 * peer.confidence)} % sure)`,
  ];
}
