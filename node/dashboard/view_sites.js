import { button, el, labelled, table } from "./dom.js";
import { ask } from "./node.js";
import * as say from "./say.js";

const SHOWN = 500;

/** Which sites go their own way. */
export async function sites(known) {
  const place = el("div"), input = el("input", { type: "text", autocomplete: "off", spellcheck: "false" });
  const draw = (found) => {
    const lists = found.sources.map(({ source, count }) => `${source}: ${say.many(count, "rule")}`).join("; ");
    place.replaceChildren(rulesTable(found, change), el("p", { class: "dim" }, `Obeyed in all: ${lists || "nothing"}.`));
  };
  const change = async (method, rule, done) => {
    const found = await known.attempt(() => ask(method, "/v1/bypass", { rule }), done);
    if (found) { draw(found); if (method === "POST") input.value = ""; }
  };
  const add = el("form", { class: "row", onsubmit: (event) => { event.preventDefault(); change("POST", input.value, "It is obeyed from the next connection on."); } },
    labelled("Add a rule", input, "“example.org” goes direct, “block ads.example” is refused, “tunnel *.example.com region=NL” is carried over that country."),
    el("button", { class: "main", type: "submit" }, "Add"));
  draw(await ask("GET", "/v1/bypass"));
  return {
    title: "Sites", node: el("div", { class: "panel" },
      el("p", {}, "What a rule lets go direct is not protected: the site sees your own address."), add, place),
  };
}

function rulesTable(found, change) {
  const note = found.rules.length > SHOWN ? `; the first ${SHOWN} of ${found.rules.length}` : "";
  return table(`Your own rules${note}`, ["Rule", ""], found.rules.slice(0, SHOWN).map(({ rule }) => [
    el("code", {}, rule), button("Remove", () => change("DELETE", rule, "The rule is gone."), { "aria-label": `Remove ${rule}` }),
  ]));
}
