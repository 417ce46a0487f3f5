// The page: gets in, listens to the node, and shows one section at a time.

import { Series } from "./chart.js";
import { button, el } from "./dom.js";
import { ask, enter, listen } from "./node.js";
import * as say from "./say.js";
import { money } from "./view_money.js";
import { now } from "./view_now.js";
import { peers } from "./view_peers.js";
import { route } from "./view_route.js";
import { seen } from "./view_seen.js";
import { settings } from "./view_settings.js";
import { sharing } from "./view_sharing.js";
import { sites } from "./view_sites.js";

const SECTIONS = { now, route, seen, peers, money, sharing, sites, settings };
const byId = (name) => document.getElementById(name);

/** What is known of the node; sections read it, and are told when it has changed. */
const known = {
  status: null,
  back: new Series(), forth: new Series(), rtt: new Series(), firstByte: new Series(),
  /** Do something, and say what went wrong, or that it is done: `done` is a sentence, or makes one of the answer. */
  async attempt(work, done = "") {
    try {
      const found = await work();
      notice(typeof done === "function" ? done(found) : done, true);
      return found;
    } catch (error) {
      notice(error.message, false);
      return undefined;
    }
  },
};

function notice(text, fine) {
  const place = byId("notice");
  place.textContent = text;
  place.classList.toggle("fine", fine);
  place.hidden = !text;
}

let shown = null, latest = 0;

async function show() {
  const name = location.hash.slice(2) in SECTIONS ? location.hash.slice(2) : "now", turn = ++latest;
  for (const link of document.querySelectorAll("nav a")) {
    link.toggleAttribute("aria-current", link.hash === `#/${name}`);
  }
  shown?.leave?.();
  shown = null;
  try {
    const section = await SECTIONS[name](known);
    if (turn !== latest) return;
    shown = section;
    document.title = `${section.title} – Macro VPN`;
    byId("main").replaceChildren(el("h1", {}, section.title), section.node);
  } catch (error) {
    if (turn === latest) byId("main").replaceChildren(el("p", {}, error.message), button("Try again", show));
  }
}

function heard(name, value) {
  if (name === "status") {
    const first = known.status === null;
    known.status = value;
    header(value);
    if (first) show();
  } else if (name === "second") {
    known.back.add(value.back_bytes_s);
    known.forth.add(value.forth_bytes_s);
    known.rtt.add(value.rtt_ms);
    known.firstByte.add(value.first_byte_ms);
  }
  shown?.update?.(name);
}

function header(status) {
  const [looks, word] = say.state(status.state), client = status.roles.includes("client");
  byId("state").replaceChildren(el("strong", { class: looks }, word), sentence(status));
  byId("switch").hidden = !client;
  byId("switch").setAttribute("aria-checked", String(status.state !== "down"));
  document.querySelector("nav").hidden = false;
}

function sentence(status) {
  if (status.reason) return ` – ${status.reason}`;
  if (status.state === "up" && status.exit_region) return ` – sites see an address in ${say.region(status.exit_region)}`;
  return "";
}

function lost(error) {
  byId("state").replaceChildren(el("strong", { class: "bad" }, "No answer"));
  byId("switch").hidden = true;
  if (error.status === 401) {
    document.querySelector("nav").hidden = true;
    byId("main").replaceChildren(
      el("h1", {}, "This page is locked"),
      el("p", {}, "It shows your node to nobody but you. Open it with ", el("code", {}, "macrovpn dashboard"),
        ", which gives it a code that counts once."));
  } else {
    known.status = null;
    byId("main").replaceChildren(el("p", {}, error.message), el("p", { class: "dim" }, "This page tries again by itself."));
  }
}

function colours() {
  const theme = byId("theme"), set = () => {
    document.documentElement.dataset.theme = theme.value;
    localStorage.setItem("theme", theme.value);
  };
  theme.value = localStorage.getItem("theme") ?? "";
  theme.addEventListener("change", set);
  set();
}

async function flip() {
  const on = byId("switch").getAttribute("aria-checked") !== "true";
  byId("switch").disabled = true;
  const status = await known.attempt(() => ask("POST", on ? "/v1/on" : "/v1/off"));
  byId("switch").disabled = false;
  if (status) heard("status", status);
}

colours();
byId("switch").addEventListener("click", flip);
addEventListener("hashchange", () => { notice("", true); show(); byId("main").focus(); });
await enter().catch((error) => notice(error.message, false));
listen(heard, lost);
