// The path on a map that is drawn from this folder's data.

import { svg } from "./dom.js";
import { HEIGHT, LAND, PLACES, WIDTH } from "./map.js";
import * as say from "./say.js";

/** Draw where a path's hops are, as far as that is known. */
export function worldMap(hops) {
  const known = hops.filter((hop) => hop.region in PLACES);
  const points = known.map((hop) => PLACES[hop.region]);
  const named = new Map();
  for (const hop of known) named.set(hop.region, [...(named.get(hop.region) ?? []), hop.role]);
  const words = hops.map((hop) => `${hop.role} in ${say.region(hop.region)}`).join(", then ");
  return svg("svg", { class: "map", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
    "aria-label": hops.length ? `Path: ${words}` : "There is no path now." },
  svg("path", { class: "land", d: LAND }),
  points.slice(1).map((end, place) => svg("path", { class: "way", d: arc(points[place], end) })),
  marks([...named].map(([code, roles]) => [PLACES[code], `${say.region(code)}: ${roles.join(", ")}`])));
}

/** Of the words on the map, in its own units: from line to line, from the dot, and what a letter takes at most in the mean. */
const LINE = 17, BESIDE = 12, LETTER = 8.5;

/** Dots with words beside them, which make way for each other. */
function marks(places) {
  const written = [];
  return places.toSorted(([one], [other]) => one[1] - other[1]).map(([[x, y], words]) => {
    const left = x > WIDTH * 0.7;
    let line = Math.max(y + 5, LINE);
    const width = BESIDE + words.length * LETTER;
    const [from, to] = left ? [x - width, x] : [x, x + width];
    for (const [begin, end, before] of written) if (from < end && begin < to) line = Math.max(line, before + LINE);
    written.push([from, to, line]);
    return [svg("circle", { cx: x, cy: y, r: 7 }),
      svg("text", { x: left ? x - BESIDE : x + BESIDE, y: line, "text-anchor": left ? "end" : "start" }, words)];
  });
}

function arc([x1, y1], [x2, y2]) {
  const lift = Math.min(60, Math.hypot(x2 - x1, y2 - y1) / 4);
  return `M${x1} ${y1}Q${(x1 + x2) / 2} ${Math.max(4, (y1 + y2) / 2 - lift)} ${x2} ${y2}`;
}
