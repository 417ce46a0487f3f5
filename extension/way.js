/** How this browser is made to use the node, and nothing else. */
import { ASKS_FOR_EACH_REQUEST, api } from "./api.js";
import * as chromium from "./chromium.js";
import * as firefox from "./firefox.js";

const way = ASKS_FOR_EACH_REQUEST ? firefox : chromium;

export const { listen, isOurs, isPast } = way;

/**
 * What would leave beside the proxy: WebRTC's datagrams, with this machine's addresses; and, in Firefox, names that it
 * looks up before they are asked for.
 */
const PRIVACY = {
  webRTCIPHandlingPolicy: ASKS_FOR_EACH_REQUEST ? "proxy_only" : "disable_non_proxied_udp",
  ...(ASKS_FOR_EACH_REQUEST && { networkPredictionEnabled: false }),
};

const settings = () => Object.entries(PRIVACY).map(([name, value]) => [api.privacy.network[name], value]);

export async function apply(pac) {
  await way.apply(pac);
  await Promise.all(settings().map(([setting, value]) => setting.set({ value })));
}

export async function clear() {
  await way.clear();
  await Promise.all(settings().map(([setting]) => setting.clear({})));
}

/** Whether another extension, or a policy, decides what WebRTC may do. */
export async function isPrivate() {
  const found = await Promise.all(settings().map(async ([setting, value]) => (await setting.get({})).value === value));
  return found.every(Boolean);
}
