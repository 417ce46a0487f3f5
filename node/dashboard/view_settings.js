import { button, el, panel } from "./dom.js";
import { settingsForm } from "./form.js";
import { ask } from "./node.js";

/** All settings, browsers that may ask, and an invite. */
export async function settings(known) {
  const { settings: rows } = await ask("GET", "/v1/settings"), groups = Map.groupBy(rows, ({ key }) => key.split(".")[0]);
  const node = el("div", {},
    el("p", {}, "They stand in your settings file; your comments there stay."),
    [...groups].map(([name, found]) => el("details", { class: "panel" },
      el("summary", {}, el("strong", {}, name), ` – ${found.map(({ key }) => key.split(".")[1].replaceAll("_", " ")).join(", ")}`),
      settingsForm(known, found))),
    await browsers(known), known.status.private ? invites(known) : "");
  return { title: "Settings", node };
}

async function browsers(known) {
  const place = el("div");
  const draw = ({ pairings }) => place.replaceChildren(pairings.length ? el("ul", {}, pairings.map(({ id, origin }) => el("li", { class: "row" },
    el("span", { class: "id grow" }, origin),
    button("Revoke", async () => {
      const left = await known.attempt(() => ask("DELETE", "/v1/pairings", { id }), "That browser may ask nothing any more.");
      if (left) draw(left);
    }, { "aria-label": `Revoke ${origin}` })))) : el("p", {}, "None. ", el("code", {}, "macrovpn pair"), " gives a code for the browser button."));
  draw(await ask("GET", "/v1/pairings"));
  return panel("Browsers with the button", place);
}

function invites(known) {
  const place = el("p", { class: "id" });
  return panel("Your private network", el("p", {}, "Whoever has an invite can join. Give it to people you trust."), place,
    button("Make an invite", async () => {
      const found = await known.attempt(() => ask("GET", "/v1/invite"));
      if (found) place.textContent = found.invite;
    }));
}
