import { el, facts, panel } from "./dom.js";
import { settingsForm } from "./form.js";
import { ask } from "./node.js";
import * as say from "./say.js";

const SECTIONS = ["sharing", "exit"];

const part = (key) => SECTIONS.indexOf(key.split(".")[0]);

/** What this node does for others. */
export async function sharing(known) {
  const live = el("div");
  const draw = () => live.replaceChildren(whole(known.status.sharing));
  draw();
  const rows = (await ask("GET", "/v1/settings")).settings.filter(({ key }) => part(key) >= 0).sort((one, other) => part(one.key) - part(other.key));
  return {
    title: "Sharing",
    node: el("div", {}, live, el("div", { class: "panel" }, el("h2", {}, "What others may use"), settingsForm(known, rows))),
    update: (what) => what === "status" && draw(),
  };
}

function whole(found) {
  if (!found.state) {
    return panel("You serve nobody now", el("p", {}, el("code", {}, "macrovpn share"),
      " makes this machine a relay, or an exit, for others. It holds your limits, keeps no record, and can earn."));
  }
  const states = { open: "takes new work", refusing: "takes nothing new now", draining: "finishes what runs" };
  return panel(`This ${found.roles.join(" and ")} ${states[found.state]}`, facts([
    ["Because of", found.biting.join(", ")],
    ["Carries", `${say.many(found.circuits, "circuit")}, ${say.many(found.flows, "connection")}`],
    ["Speed", found.forth_bytes_s === null ? "" : `${say.speed(found.back_bytes_s)} to users, ${say.speed(found.forth_bytes_s)} from them`],
    ["Carried since the start", found.carried_mb === null ? "" : `${found.carried_mb} MB`],
    ["This month", found.month_mb === null ? "" : `${found.month_mb} MB`],
    ["Earned", found.earned === null ? "" : say.coins(found.earned)],
    ["Exits by", `policy ${found.policy}${found.rules ? `, and ${say.many(found.rules, "rule")} of yours` : ""}`],
  ]));
}
