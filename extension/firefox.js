/**
 * Firefox asks here for each request where it goes. Its PAC would come from an address, and what cannot be loaded makes
 * a browser go direct.
 */
import { api } from "./api.js";
import { CLOSED, endpointOf } from "./closed.js";
import { kept } from "./kept.js";
import { isDirect, readRules } from "./rules.js";

const DIRECT = { type: "direct" };
const EVERYWHERE = { origins: ["<all_urls>"] };
const LOOPBACK = /^(127(\.[0-9]{1,3}){3}|\[::1\]|([^.]+\.)*localhost\.?)$/;

const nowhere = { type: "http", ...CLOSED };

/** Where things go that no rule sends directly; null: as without this extension. */
let plan = Promise.resolve(null);

async function readPlan() {
  const { on, pac, proxy } = await kept();
  if (!on) return null;
  readRules(pac);
  const endpoint = endpointOf(proxy);
  return endpoint ? { type: "http", ...endpoint } : nowhere;
}

export function listen(changed, failed) {
  plan = readPlan();
  // While the background page starts, Firefox holds requests back until this listener has answered.
  api.proxy.onRequest.addListener(answer, { urls: ["<all_urls>"] });
  api.proxy.onError.addListener(failed);
  api.permissions.onAdded.addListener(changed);
  api.permissions.onRemoved.addListener(changed);
}

/** Must not throw, nor answer with anything that Firefox does not know: then Firefox would go direct. */
async function answer({ url }) {
  try {
    const through = await plan;
    if (!through) return undefined;
    const { hostname } = new URL(url);
    // As with a PAC: what is on this machine is not reached through a proxy.
    return LOOPBACK.test(hostname) || isDirect(url, hostname) ? DIRECT : through;
  } catch {
    return nowhere;
  }
}

/** Whether a rule sends a page past the proxy, so that its errors are the site's. */
export const isPast = async (url) => (await answer({ url })) === DIRECT;

/** Go by what is kept from now on. If that is no PAC, nothing goes anywhere. */
export async function apply() {
  plan = readPlan();
  await plan;
}

export const clear = apply;

/** Firefox asks only about the sites which the user lets this extension see. */
export const isOurs = () => api.permissions.contains(EVERYWHERE);
