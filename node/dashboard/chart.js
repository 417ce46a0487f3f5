// Lines over the last minutes, one point a second, kept in this page only.

import { el, svg } from "./dom.js";

export const SECONDS = 180;

/** What was measured lately; `null` where nothing was. */
export class Series {
  constructor() { this.values = []; }

  add(value) {
    this.values.push(value);
    if (this.values.length > SECONDS) this.values.shift();
  }
}

const HEIGHT = 100;

function runs(series, top) {
  const { values } = series, begin = SECONDS - values.length, found = [];
  let points = [];
  for (const [place, value] of values.entries()) {
    if (value === null) { if (points.length) found.push(points); points = []; continue; }
    points.push(`${begin + place},${(HEIGHT - (value / top) * (HEIGHT - 4)).toFixed(1)}`);
  }
  if (points.length) found.push(points);
  return found.map((each) => each.join(" "));
}

const highest = (all) => Math.max(0, ...all.flatMap((series) => series.values.filter((value) => value !== null)));

/** Draw some series.

`lines` are pairs of a name (`back` or `forth`, which give the looks) and a series; `words` says a value to people.
*/
export function chart(title, lines, labels, words) {
  const series = lines.map(([, each]) => each), top = highest(series), last = series.map((each) => each.values.at(-1) ?? null);
  const now = labels.map((label, place) => `${label} ${words(last[place])}`).join(", ");
  const drawn = svg("svg", { class: "chart", viewBox: `0 0 ${SECONDS} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
    "aria-label": `${title} in the last ${SECONDS / 60} minutes. Now: ${now}. Highest: ${words(top)}.` },
  svg("line", { class: "axis", x1: 0, x2: SECONDS, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5, "vector-effect": "non-scaling-stroke" }),
  lines.map(([name, each]) => runs(each, top || 1).map((points) => svg("polyline", { class: name, points }))));
  return el("div", {}, drawn,
    el("p", { class: "legend dim" }, labels.map((label, place) => el("span", { class: lines[place][0] }, `${label} ${words(last[place])}`)),
      `highest ${words(top)}`));
}
