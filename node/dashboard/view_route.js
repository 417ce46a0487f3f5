import { el, panel } from "./dom.js";
import { ask } from "./node.js";
import * as say from "./say.js";
import { hopButton } from "./view_now.js";
import { worldMap } from "./worldmap.js";

/** The circuits, hop by hop, and why. */
export async function route(known) {
  const place = el("div");
  let drawn = "";
  const draw = async () => {
    const { circuits } = await ask("GET", "/v1/explain"), what = signature(circuits);
    if (what === drawn && circuits.length) return titles(place, circuits);  // what somebody has opened stays open
    drawn = what;
    place.replaceChildren(...circuits.map((circuit, number) => circuitPanel(circuit, number + 1)));
    if (!circuits.length) place.append(el("p", {}, known.status.reason || "There is no circuit now."));
  };
  await draw();
  return {
    title: "Route", node: el("div", {}, el("div", { class: "row" }, hopButton(known, draw)), place),
    update: (what) => what === "status" && draw().catch(() => {}),
  };
}

const signature = (circuits) => JSON.stringify(circuits.map(({ hops, options }) => [hops.map((hop) => hop.peer_id), options]));

function titles(place, circuits) {
  for (const [number, title] of place.querySelectorAll("h2").entries()) title.textContent = titleOf(circuits[number], number + 1);
}

function titleOf(circuit, number) {
  const use = circuit.in_use ? `carries ${say.many(circuit.flows, "connection")}` : "is ready";
  return `Circuit ${number} ${use}, ${say.age(circuit.age_s)} old`;
}

function circuitPanel(circuit, number) {
  const wants = Object.entries(circuit.options).map(([name, value]) => `${name}: ${value}`).join(", ");
  return panel(titleOf(circuit, number),
    wants ? el("p", {}, `For sites that want ${wants}.`) : "",
    el("div", { class: "panels" }, worldMap(circuit.hops), el("ol", { class: "hops" }, circuit.hops.map(hopLine))));
}

function hopLine(hop) {
  return el("li", {},
    el("strong", {}, `${hop.role} `), `in ${say.region(hop.region)}`, hop.rtt_ms === null ? "" : `, ${say.ms(hop.rtt_ms)} away`,
    el("div", { class: "id dim" }, hop.peer_id),
    el("div", {}, hop.why),
    hop.serves ? el("div", { class: "dim" }, `Serves ${hop.serves}.`) : "",
    hop.rivals.length ? el("details", {}, el("summary", {}, `${hop.candidates} could stand here`), el("ul", {}, hop.rivals.map(rivalLine))) : "");
}

function rivalLine(rival) {
  const chance = rival.chance === null ? "" : `, chosen ${(100 * rival.chance).toFixed(0)} times of 100`;
  return el("li", {}, el("span", { class: "id" }, say.short(rival.peer_id)),
    ` in ${say.region(rival.region)}, ${say.ms(rival.figures.rtt_ms)}${chance}`);
}
