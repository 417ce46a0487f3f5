/** What the extension keeps: on disk who its node is and whether it is on, in memory what it saw last. */
import { api } from "./api.js";

/**
 * `on`: whether the user turned it on.
 * `port`, `id`, `token`: where the node answers, and what it knows this extension by.
 * `pac`: the node's PAC as it was read last; `digest`: of its rules; `proxy`: its proxy's address.
 */
const EMPTY = { on: false, port: 0, id: "", token: "", pac: "", digest: "", proxy: "" };

const MAX_FAILED = 50;
const AGAIN_WITHIN_MS = 60000;

export const kept = () => api.storage.local.get(EMPTY);

export const keep = (changes) => api.storage.local.set(changes);

/** Forget the node: what came from it, and its token. */
export const forgetNode = () => keep({ port: 0, id: "", token: "", pac: "", digest: "", proxy: "" });

/** What `view.js` made of the last answer. In memory: nothing of a path or a place comes to disk. */
export const seen = async () => (await api.storage.session.get({ view: null })).view;

export const see = (view) => api.storage.session.set({ view });

const failures = async () => (await api.storage.session.get({ failed: [] })).failed;

/** Remember, in memory, which address a tab could not load. */
export async function failedAt(tab, url) {
  const before = await failureOf(tab);
  const at = Date.now();
  const isAgain = before.url === url && at - before.at < AGAIN_WITHIN_MS;
  const others = (await failures()).filter((entry) => entry.tab !== tab);
  await api.storage.session.set({ failed: [...others, { tab, url, at, isAgain }].slice(-MAX_FAILED) });
}

/** @returns {Promise<{url: string, at: number, isAgain: boolean}>} `isAgain`: the same failed a short time before */
export const failureOf = async (tab) =>
  (await failures()).find((entry) => entry.tab === tab) ?? { url: "", at: 0, isAgain: false };

export async function forgetTab(tab) {
  await api.storage.session.set({ failed: (await failures()).filter((entry) => entry.tab !== tab) });
}
