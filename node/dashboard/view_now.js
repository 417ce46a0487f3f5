import { chart } from "./chart.js";
import { button, el, facts, labelled, select } from "./dom.js";
import { ask } from "./node.js";
import * as say from "./say.js";
import { worldMap } from "./worldmap.js";

/** How things stand. */
export async function now(known) {
  const place = el("div", { class: "panels" }), map = el("div"), charts = el("div"), more = el("div"), choices = el("div");
  place.append(
    el("section", { class: "panel wide" }, el("h2", {}, "Your path"), map),
    el("section", { class: "panel" }, el("h2", {}, "Speed and delay"), charts),
    el("section", { class: "panel" }, el("h2", {}, "At a glance"), more),
    el("section", { class: "panel" }, el("h2", {}, "What you want"), choices));

  const drawPath = async () => {
    const { circuits } = await ask("GET", "/v1/route");
    const used = circuits.find((each) => each.in_use) ?? circuits[0];
    map.replaceChildren(worldMap(used?.hops ?? []), el("p", {}, used ? inWords(used.hops) : "There is no path now."));
  };
  const draw = (what) => {
    if (what === "second") return drawCharts(known, charts);
    more.replaceChildren(glance(known.status));
    return drawPath().catch((error) => map.replaceChildren(el("p", {}, error.message)));
  };
  drawCharts(known, charts);
  await draw("status");
  choices.append(await wants(known));
  return { title: "Now", node: place, update: draw };
}

const inWords = (hops) => `You, then ${hops.map((hop) => `a ${hop.role === "exit" ? "last hop, the exit," : hop.role} in ${say.region(hop.region)}`).join(", then ")}, then the site.`;

function drawCharts(known, place) {
  place.replaceChildren(
    chart("Speed", [["back", known.back], ["forth", known.forth]], ["down", "up"], (value) => say.speed(value ?? 0)),
    chart("Delay", [["back", known.rtt], ["forth", known.firstByte]], ["to the exit and back", "first byte"], say.ms));
}

function glance(status) {
  const { money, sharing } = status;
  return facts([
    ["Sites see", status.exit_region ? say.region(status.exit_region) : ""],
    ["Open connections", String(status.flows)],
    ["Known peers", String(status.peers)],
    ["Circuits", String(status.circuits)],
    ["Cost now", money.price_per_gb === undefined ? "payments are off" : money.price_per_gb ? `${say.coins(money.price_per_gb)} per GB` : "nothing"],
    ["Spent", money.spent === undefined ? "" : say.coins(money.spent)],
    ["Earned", money.earned === undefined ? "" : say.coins(money.earned)],
    ["You serve", sharing.state ? `${sharing.roles.join(" and ")}, ${sharing.state}` : "nobody"],
    ["Network", status.private ? `${status.network} (private)` : status.network],
    ["Browser's proxy", status.proxy],
    ["Goes direct", status.direct_because],
    ["Know this", status.not_hidden],
  ]);
}

async function wants(known) {
  const { regions } = await ask("GET", "/v1/regions"), { status } = known;
  const mode = select(Object.entries(say.MODES), status.mode);
  const boxes = regions.map(({ region, exits, wanted }) => {
    const box = el("input", { type: "checkbox", value: region, checked: wanted });
    return el("label", {}, box, ` ${say.region(region)} (${say.many(exits, "exit")})`);
  });
  const checked = () => boxes.map((label) => label.querySelector("input")).filter((box) => box.checked).map((box) => box.value);
  const save = button("Use this", () => known.attempt(
    () => ask("PATCH", "/v1/settings", { "tunnel.mode": mode.value, "tunnel.regions": checked() }),
    "New connections go by this from now on."), { class: "main" });
  const trust = status.trust.state === "asking" ? button(`Trust the network ${status.trust.name} for now`,
    () => known.attempt(() => ask("POST", "/v1/trust/confirm"), "It is trusted until it changes.")) : "";
  return el("div", {},
    el("div", { class: "row" }, labelled("Mode", mode, "Speed takes two hops; privacy takes three, padded evenly.")),
    el("fieldset", {}, el("legend", {}, "Countries to appear in; none chosen means anywhere"),
      boxes.length ? el("div", { class: "checks" }, boxes) : el("p", { class: "dim" }, "No exit has told its country yet.")),
    el("div", { class: "row" }, save, hopButton(known), trust));
}

export const hopButton = (known, then = () => {}) => button("New route", async () => {
  if (await known.attempt(() => ask("POST", "/v1/hop"), "New connections take another path now.")) await then();
});
