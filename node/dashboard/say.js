// Figures and names for people.

const regions = new Intl.DisplayNames([navigator.language, "en"], { type: "region" });

export function region(code) {
  if (!code) return "an unknown country";
  try { return regions.of(code) ?? code; } catch { return code; }
}

export function speed(bytes) {
  const bits = bytes * 8;
  if (bits < 1e3) return `${Math.round(bits)} bit/s`;
  const [unit, name] = bits < 1e6 ? [1e3, "kbit/s"] : bits < 1e9 ? [1e6, "Mbit/s"] : [1e9, "Gbit/s"];
  return `${(bits / unit).toPrecision(3)} ${name}`;
}

const UNITS_PER_COIN = 1e6;

export const coins = (units) => (units === null || units === undefined ? "none"
  : `${(units / UNITS_PER_COIN).toLocaleString("en", { maximumFractionDigits: 6 })} coins`);

/** Read coins as units; null where it is no amount. */
export function units(text) {
  if (!/^\d{1,9}(\.\d{1,6})?$/.test(text.trim())) return null;
  return Math.round(Number(text) * UNITS_PER_COIN);
}

export const ms = (value) => (value === null || value === undefined ? "–" : `${Math.round(value)} ms`);
export const short = (id) => (id.length > 16 ? `${id.slice(0, 6)}…${id.slice(-6)}` : id);

export function age(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export const many = (count, one, more = `${one}s`) => `${count} ${count === 1 ? one : more}`;

export const MODES = { speed: "speed", balanced: "balanced", privacy: "privacy" };

const STATES = {
  up: ["good", "On"], connecting: ["wait", "Connecting"], down: ["dim", "Off"], blocked: ["bad", "Blocked"],
  leaving: ["wait", "Stopping"],
};
export const state = (word) => STATES[word] ?? ["dim", word];
