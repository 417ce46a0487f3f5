/**
 * Chromium's proxy settings, with the PAC's text in them. A PAC's address would not do: what cannot be loaded makes a
 * browser go direct. Chromium keeps them, also while this extension's worker sleeps and across restarts.
 */
import { api } from "./api.js";
import { CLOSED } from "./closed.js";

const CLOSED_PAC = `function FindProxyForURL() { return "PROXY ${CLOSED.host}:${CLOSED.port}"; }`;

export function listen(changed, failed) {
  api.proxy.settings.onChange.addListener(changed);
  api.proxy.onProxyError.addListener(failed);
}

/** Send everything to the node, as its PAC says; without one, nowhere. */
export const apply = (pac) =>
  api.proxy.settings.set({
    value: { mode: "pac_script", pacScript: { data: pac || CLOSED_PAC, mandatory: true } },
    scope: "regular",
  });

/** Chromium's errors say by themselves whether they come from the proxy. */
export const isPast = async () => false;

export const clear = () => api.proxy.settings.clear({ scope: "regular" });

/** Who decides about the proxy: `levelOfControl` of Chromium's settings. */
export async function isOurs() {
  const { levelOfControl } = await api.proxy.settings.get({});
  return levelOfControl === "controlled_by_this_extension" || levelOfControl === "controllable_by_this_extension";
}
