import { button, el, facts, labelled, panel } from "./dom.js";
import { ask } from "./node.js";
import * as say from "./say.js";

const PATIENCE_MS = 4000;
const LEAK = "`macrovpn doctor` says which setting that is; the button for the browser sets all of them.";

/** What a site learns: from the exit, from this browser, and in truth. Opening this section asks the node alone. */
export async function seen(known) {
  const exit = el("div"), drawExit = async () => exit.replaceChildren(...fromTheExit(known.status, await ask("GET", "/v1/health")));
  await drawExit();
  return {
    title: "What a site sees",
    node: el("div", { class: "panels" },
      panel("The address", exit),
      panel("This browser's way", browserCheck(known)),
      panel("Ask a site", askSite(known)),
      panel("What your browser says by itself", byItself())),
    update: (what) => (what === "status" ? drawExit().catch((error) => exit.replaceChildren(el("p", {}, error.message))) : undefined),
  };
}

function fromTheExit(status, { exit }) {
  if (status.direct_because) return [el("p", { class: "bad" }, `Your own address: ${status.direct_because}`)];
  if (!status.roles.includes("client")) return [el("p", {}, "This node has no proxy: it carries for others, and nothing of yours.")];
  if (status.state !== "up" || !exit) return [el("p", {}, "Nothing now: without a path, or while the node is off, nothing is sent.")];
  return [
    facts([
      ["Country", say.region(exit.region)], ["Exit", el("span", { class: "id", title: exit.peer_id }, say.short(exit.peer_id))],
      ["Its addresses", exit.addresses.join(", ") || "it tells none"],
      ["Other exits in use", status.exit_regions.filter((region) => region !== exit.region).map(say.region).join(", ")],
      ["Know this", status.not_hidden],
    ]),
    el("p", { class: "dim" }, "So says the exit's descriptor. An exit may send from another address; “Ask a site” tells. What a rule of yours sends direct sees your own address."),
  ];
}

// -- this browser

const row = ([looks, word, what]) => el("li", {}, el("strong", { class: looks }, word), ` ${what}`);

function browserCheck(known) {
  const results = el("ul", { class: "checked", "aria-live": "polite" });
  const check = async () => {
    results.replaceChildren(row(["wait", "Looking …", ""]));
    const found = await known.attempt(() => Promise.all([comes("http"), comes("https"), webRtc()]));
    results.replaceChildren(...(found ?? []).map(row));
    if (found?.some(([looks]) => looks === "bad")) results.append(el("li", { class: "dim" }, LEAK));
  };
  return el("div", {},
    el("p", { class: "dim" }, "A click asks for two names that exist nowhere, and that your node knows. If this browser does not use the proxy, your name server sees them. "
      + "Then it has WebRTC look for ways out, without a server; a browser may say a made-up name of its own in your local network."),
    button("Check this browser", check, { class: "main" }), results);
}

const after = (ms) => new Promise((done) => setTimeout(done, ms));

/** Whether requests of a scheme come to the proxy, by name. The answer to the request tells nothing; the node does. */
async function comes(scheme) {
  const { name } = await ask("POST", "/v1/probe");
  const options = { mode: "no-cors", cache: "no-store", credentials: "omit" };
  await Promise.race([fetch(`${scheme}://${name}/`, options).catch(() => {}), after(PATIENCE_MS)]);
  const { came } = await ask("POST", "/v1/probed", { name });
  return came ? ["good", "Good:", `what it asks for over ${scheme}:// goes to the proxy, with its name.`]
    : ["bad", "Not protected:", `what it asks for over ${scheme}:// does not go to this node's proxy, or this browser looks names up itself.`];
}

async function candidates() {
  const connection = new RTCPeerConnection(), found = [];
  const over = new Promise((done) => {
    connection.onicecandidate = ({ candidate }) => (candidate ? candidate.candidate && found.push(candidate.candidate.split(" ")[4]) : done());
  });
  try {
    connection.createDataChannel("any");
    await connection.setLocalDescription(await connection.createOffer());
    await Promise.race([over, after(PATIENCE_MS)]);
  } finally { connection.close(); }
  return [...new Set(found)];
}

async function webRtc() {
  if (!globalThis.RTCPeerConnection) return ["good", "Good:", "this browser has no WebRTC."];
  let found;
  try { found = await candidates(); } catch { return ["wait", "Not known:", "WebRTC could not be tried."]; }
  if (!found.length) return ["good", "Good:", "WebRTC finds no way past the proxy."];
  const addresses = found.filter((host) => !host.endsWith(".local"));
  const shown = addresses.length ? ` It also shows them ${addresses.join(", ")}.` : "";
  return ["bad", "Not protected:", `WebRTC is open: sites can have it send past the proxy, and see your own address.${shown}`];
}

// -- what no proxy changes

function byItself() {
  const { colorDepth, height, width } = screen, { deviceMemory, hardwareConcurrency, languages, maxTouchPoints, userAgent } = navigator;
  return el("div", {},
    facts([
      ["Browser and system", userAgent],
      ["Languages", languages.join(", ")],
      ["Time zone", Intl.DateTimeFormat().resolvedOptions().timeZone],
      ["Screen", `${width} × ${height}, ${colorDepth} bits, ${devicePixelRatio} pixels to a point`],
      ["Processors", String(hardwareConcurrency ?? "")], ["Memory", deviceMemory ? `${deviceMemory} GB or more` : ""],
      ["Touch", maxTouchPoints ? say.many(maxTouchPoints, "finger") : "none"],
    ]),
    el("p", { class: "dim" }, "Every site can read this, and Macro VPN changes none of it. With fonts, graphics and cookies it tells you from others, whatever your address is: "
      + "log out, clear cookies, or use a browser that makes everybody look alike. A time zone that does not fit the exit's country is seen, too."));
}

// -- what a site really sees

function askSite(known) {
  const input = el("input", { type: "text", inputmode: "url", autocomplete: "off", spellcheck: "false" }), place = el("div", { "aria-live": "polite" });
  const work = async () => {
    place.replaceChildren(el("p", {}, "Asking …"));
    const found = await known.attempt(() => ask("POST", "/v1/ask", { url: input.value.trim() }));
    place.replaceChildren(...(found ? [
      el("p", {}, `It answered ${found.status}${found.cut ? "; this is the beginning" : ""}:`), el("pre", { tabindex: "0" }, found.text || "(nothing)"),
    ] : []));
  };
  const go = el("button", { class: "main", type: "submit" }, "Ask");
  const submit = async (event) => {
    event.preventDefault();
    go.disabled = true;
    try { await work(); } finally { go.disabled = false; }
  };
  return el("div", {},
    el("form", { class: "row", onsubmit: submit },
      labelled("Address of a site that answers with yours", input, "Your node asks it through the tunnel, without cookies and without your browser's name. None is set: whoever everybody asks would know them all."), go),
    place);
}
