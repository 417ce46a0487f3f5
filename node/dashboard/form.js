// A form of settings: one control for each, and what is wrong stands where it is wrong.

import { el } from "./dom.js";
import { ask } from "./node.js";

const CONTROLS = {
  switch: (row) => el("input", { type: "checkbox", checked: row.value === true }),
  choice: (row) => el("select", {}, row.choices.map((value) => el("option", { value, selected: value === String(row.value) }, value || "(none)"))),
  list: (row) => (row.choices.length ? checks(row) : el("textarea", { rows: Math.min(8, row.value.length + 2), spellcheck: "false" }, row.value.join("\n"))),
};

const checks = (row) => el("div", { class: "checks", role: "group" }, row.choices.map((value) => el("label", {},
  el("input", { type: "checkbox", value, checked: row.value.includes(value) }), ` ${value}`)));

const text = (row) => el("input", { type: row.secret ? "password" : "text", value: row.secret ? "" : String(row.value),
  placeholder: row.secret && row.value ? "set; write to change it" : "", autocomplete: "off", spellcheck: "false" });

function number(written, row) {
  const found = Number(written);
  if (!written.trim() || Number.isNaN(found)) throw new Error(`This must be ${row.must}.`);
  return found;
}

/** What a control says, as the node wants it; undefined for a secret that stays. */
function read(row, control) {
  switch (row.kind) {
    case "switch": return control.checked;
    case "integer": case "number": return number(control.value, row);
    case "list": return row.choices.length
      ? [...control.querySelectorAll("input")].filter((box) => box.checked).map((box) => box.value)
      : control.value.split("\n").map((line) => line.trim()).filter(Boolean);
    default: return row.secret && !control.value ? undefined : control.value;
  }
}

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
const fromOutside = (source) => !["default", "file", "flag"].includes(source);

function field(row) {
  const control = (CONTROLS[row.kind] ?? text)(row), name = `setting-${row.key.replaceAll(".", "-")}`;
  const error = el("p", { class: "error", id: `${name}-error`, role: "alert" });
  control.id = name;
  control.setAttribute("aria-describedby", `${name}-hint ${name}-error`);
  if (control.getAttribute("role") === "group") control.setAttribute("aria-label", row.key);
  const must = row.kind === "switch" || row.choices.length ? "" : ` It must be ${row.must}.`;
  const when = row.live ? "" : " Takes effect at the next start.";
  const where = fromOutside(row.source) ? ` ${row.source} says this; the file does not count.` : row.pending ? " Changed, and waits for the next start." : "";
  return { row, control, error, node: el("div", { class: "field" },
    el("label", { class: "name", for: name }, row.key), el("p", { class: "dim", id: `${name}-hint` }, `${row.help}${must}${when}${where}`),
    control, error) };
}

/** Make a form of some settings. All that was changed is saved together, or nothing is. */
export function settingsForm(known, rows) {
  const fields = rows.map(field);
  const save = async () => {
    const changes = {};
    for (const each of fields) {
      each.error.textContent = "";
      try {
        const value = read(each.row, each.control);
        if (value !== undefined && !same(value, each.row.value)) changes[each.row.key] = value;
      } catch (error) { each.error.textContent = error.message; each.control.focus(); return; }
    }
    if (!Object.keys(changes).length) { await known.attempt(async () => {}, "Nothing was changed."); return; }
    await known.attempt(() => refused(fields, () => ask("PATCH", "/v1/settings", changes)), (answer) => saved(fields, changes, answer));
  };
  return el("form", { onsubmit: (event) => { event.preventDefault(); save(); } }, fields.map((each) => each.node),
    el("div", { class: "row" }, el("button", { class: "main", type: "submit" }, "Save")));
}

/** Say what the node refuses at the setting that it names. */
async function refused(fields, work) {
  try {
    return await work();
  } catch (error) {
    const at = fields.find((each) => error.message.includes(each.row.key));
    if (at) { at.error.textContent = error.message; at.control.focus(); }
    throw error;
  }
}

/** Remember what is saved; gives the sentence for it. */
function saved(fields, changes, answer) {
  for (const each of fields) if (each.row.key in changes) each.row.value = changes[each.row.key];
  const now = answer.applied.length ? ` Obeyed now: ${answer.applied.join(", ")}.` : "";
  const first = answer.for_new?.length ? " What runs for others now goes on without that limit." : "";
  const later = answer.after_restart.length ? ` After the next start: ${answer.after_restart.join(", ")}.` : "";
  return `Saved.${now}${first}${later}`;
}
