/** The popup: state, path, speed, cost, and what can be changed about them. */
import { ASKS_FOR_EACH_REQUEST, api } from "./api.js";
import { kept } from "./kept.js";
import { ROUTE_LIMIT_MS, ask, events } from "./node.js";
import { $, say, showView, tell } from "./page.js";
import { nameOf, regionOf } from "./view.js";

const UNITS_PER_COIN = 1e6;
const AGAIN_MS = 2000;

const node = await kept();
const [tab] = await api.tabs.query({ active: true, currentWindow: true });
const site = siteOf(tab?.url);
let bypassed = "";
let isUp = null;
let isFirst = true;

function siteOf(url) {
  if (!/^https?:/.test(url ?? "")) return "";
  return new URL(url).hostname;
}

function show(view) {
  const on = view.word !== "off";
  showView(view);
  $("switch").setAttribute("aria-checked", String(on));
  $("switch").textContent = on ? "On. Turn off" : "Turn on";
  $("switch").disabled = false;
  if (isFirst) $("switch").focus(); // what is disabled while the popup opens takes no autofocus
  isFirst = false;
  $("pair").hidden = !["unpaired", "revoked"].includes(view.word);
  $("node-on").hidden = view.word !== "down";
  $("live").hidden = !["up", "leaky"].includes(view.word);
  if (isUp === !$("live").hidden) return;
  isUp = !$("live").hidden;
  $("route").disabled = !isUp;
  if (isUp) during(Promise.all([showPath(), showRegions(), showSite()]));
}

/** Say what went wrong with something that was begun; while it lasts, it is not begun again. */
async function during(work, ...buttons) {
  for (const button of buttons) button.disabled = true;
  say($("wrong"), "");
  try {
    await work;
  } catch (error) {
    say($("wrong"), error.message);
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

const done = (text) => say($("done"), text);

// -- what is shown

async function showPath() {
  const { circuits = [] } = await ask(node, "GET", "route");
  const [circuit] = circuits.sort((one, other) => other.flows - one.flows);
  const hops = Array.isArray(circuit?.hops) ? circuit.hops : [];
  $("path").replaceChildren(
    ...hops.map(({ role, region }) => {
      const item = document.createElement("li");
      const place = regionOf(region);
      item.textContent = `${role} ${place}`.trim();
      item.title = place ? nameOf(place) : "Nothing says where it is.";
      return item;
    }),
  );
  const delay = hops.at(-1)?.rtt_ms;
  say($("delay"), Number.isFinite(delay) ? `${Math.round(delay)} ms to the exit and back` : "–");
}

async function showRegions() {
  const { regions = [] } = await ask(node, "GET", "regions");
  const known = regions.filter(({ region }) => regionOf(region));
  const wanted = known.filter((entry) => entry.wanted).map(({ region }) => region);
  const all = wanted.length === 0 || wanted.length === known.length;
  const options = [new Option("Any country", "", all, all)];
  if (!all && wanted.length > 1) options.push(new Option(`${wanted.join(", ")} (as set)`, wanted.join(), true, true));
  for (const { region, exits } of known) {
    const isWanted = wanted.length === 1 && !all && region === wanted[0];
    options.push(new Option(`${nameOf(region)} (${Number(exits)})`, region, isWanted, isWanted));
  }
  $("region").replaceChildren(...options);
  $("region").disabled = false;
}

async function showSite() {
  const { rules = [] } = await ask(node, "GET", "bypass");
  bypassed = rules.map(({ rule }) => String(rule)).find((rule) => rule === site || rule === `bypass ${site}`) ?? "";
  $("bypass").disabled = !site;
  $("bypass").textContent = bypassed ? "Tunnel this site" : "Bypass this site";
  $("bypass").title = site ? site : "There is no site in this tab.";
}

function showSpeed({ forth_bytes_s: forth, back_bytes_s: back }) {
  say($("speed"), `↓ ${rate(back)}  ↑ ${rate(forth)}`);
}

function rate(bytes) {
  if (!Number.isFinite(bytes)) return "–";
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(bytes < 1e4 ? 1 : 0)} kB/s` : `${(bytes / 1e6).toFixed(1)} MB/s`;
}

function showCost({ price_per_gb: price, spent } = {}) {
  const coins = (units) => String(+(units / UNITS_PER_COIN).toFixed(6));
  if (!Number.isFinite(spent)) say($("cost"), "nothing");
  else say($("cost"), `${Number.isFinite(price) ? `${coins(price)} coins per GB, ` : ""}${coins(spent)} spent`);
}

/** Show what the node tells, until the popup closes. */
async function follow() {
  for (;;) {
    try {
      for await (const { event, data } of events(node, new AbortController().signal)) {
        if (event === "second") showSpeed(data);
        if (event === "status") {
          showCost(data.money);
          show(await tell("look"));
          if (!$("live").hidden) await showPath();
        }
      }
    } catch {
      show(await tell("look"));
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

// -- what can be done

$("switch").addEventListener("click", () => {
  const isOn = $("switch").getAttribute("aria-checked") === "true";
  during(tell(isOn ? "off" : "on").then(show), $("switch")).then(() => $("switch").focus());
});

$("pair").addEventListener("click", () => api.runtime.openOptionsPage().then(() => window.close()));

$("node-on").addEventListener("click", () => {
  during(ask(node, "POST", "on").then(() => tell("look")).then(show), $("node-on"));
});

$("route").addEventListener("click", () => {
  const work = async () => {
    done("Building a new route …");
    try {
      await ask(node, "POST", "hop", undefined, ROUTE_LIMIT_MS);
      await showPath();
      done("The route is new. What was running goes on.");
    } catch (error) {
      done("");
      throw error;
    }
  };
  during(work(), $("route"));
});

$("bypass").addEventListener("click", () => {
  const work = async () => {
    await ask(node, bypassed ? "DELETE" : "POST", "bypass", { rule: bypassed || site });
    await tell("look");
    done(bypassed ? `${site} goes through the tunnel.` : `${site} goes past the tunnel, and sees your own address.`);
    await api.tabs.reload(tab.id);
    await showSite();
  };
  during(work(), $("bypass"));
});

$("region").addEventListener("change", () => {
  const work = async () => {
    const regions = $("region").value ? $("region").value.split(",") : [];
    const answer = await ask(node, "PATCH", "settings", { "tunnel.regions": regions });
    const isLater = answer.after_restart?.includes("tunnel.regions");
    done(isLater ? "It counts from the node's next start on." : "New connections leave from there.");
  };
  during(work(), $("region"));
});

// -- begin

if (!(await api.extension.isAllowedIncognitoAccess())) {
  const where = ASKS_FOR_EACH_REQUEST ? "Run in Private Windows" : "Allow in Incognito";
  say($("private"), `Private windows go direct until you switch on “${where}” for this extension.`);
}
await during(tell("look").then(show));
if (node.port) follow();
