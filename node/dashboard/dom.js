// Elements without markup in strings: what a peer or a file says is text, and never becomes anything else.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

export const el = (tag, properties = {}, ...children) => filled(document.createElement(tag), properties, children);
export const svg = (tag, properties = {}, ...children) => filled(document.createElementNS(SVG, tag), properties, children);

export const panel = (title, ...children) => el("section", { class: "panel" }, el("h2", {}, title), ...children);

export function facts(pairs) {
  return el("dl", {}, pairs.filter(([, value]) => value !== null && value !== "").map(([name, value]) => [
    el("dt", {}, name), el("dd", {}, value),
  ]));
}

export function table(caption, heads, rows) {
  return el("div", { class: "table", tabindex: "0", role: "region", "aria-label": caption }, el("table", {},
    el("caption", {}, caption),
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell))))),
  ));
}

let fields = 0;

/** A control with its label, and a sentence that explains it. */
export function labelled(text, control, hint = "") {
  control.id ||= `field-${++fields}`;
  if (hint) control.setAttribute("aria-describedby", `${control.id}-hint`);
  return el("div", { class: "grow" },
    el("label", { for: control.id }, text), control,
    hint ? el("p", { class: "dim", id: `${control.id}-hint` }, hint) : "");
}

/** A button that cannot be pressed twice while its work runs. */
export function button(text, work, properties = {}) {
  const pressed = async () => {
    made.disabled = true;
    try { await work(); } finally { made.disabled = false; }
  };
  const made = el("button", { type: "button", ...properties, onclick: pressed }, text);
  return made;
}

export const select = (options, chosen, properties = {}) => el("select", properties,
  options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
