/** What the extension keeps: on disk who its node is and whether it is on, in memory what it saw last. */
import { api } from "./api.js";

/**
 * `on`: whether the user turned it on. `port`, `token`: where the node answers, and what it knows this extension by.
 * `pac`: the node's PAC as it was read last; `digest`: of its rules; `proxy`: its proxy's address.
 */
const EMPTY = { on: false, port: 0, token: "", pac: "", digest: "", proxy: "" };

const MAX_FAILED = 50;

export const kept = () => api.storage.local.get(EMPTY);

export const keep = (changes) => api.storage.local.set(changes);

/** Forget the node: what came from it, and its token. */
export const forgetNode = () => keep({ port: 0, token: "", pac: "", digest: "", proxy: "" });

/** What `view.js` made of the last answer. In memory: nothing of a path or a place comes to disk. */
export const seen = async () => (await api.storage.session.get({ view: null })).view;

export const see = (view) => api.storage.session.set({ view });

/** Remember, in memory, which address a tab could not load. */
export async function failedAt(tab, url) {
  const { failed } = await api.storage.session.get({ failed: [] });
  const others = failed.filter((entry) => entry.tab !== tab);
  await api.storage.session.set({ failed: [...others, { tab, url }].slice(-MAX_FAILED) });
}

export async function failureOf(tab) {
  const { failed } = await api.storage.session.get({ failed: [] });
  return failed.find((entry) => entry.tab === tab)?.url ?? "";
}

export async function forgetTab(tab) {
  const { failed } = await api.storage.session.get({ failed: [] });
  await api.storage.session.set({ failed: failed.filter((entry) => entry.tab !== tab) });
}
