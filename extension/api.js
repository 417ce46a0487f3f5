/** What browsers give to extensions: Firefox and newer Chromiums call it `browser`, all Chromiums `chrome`. */
export const api = globalThis.browser ?? globalThis.chrome;

/** Firefox has a listener that says for each request where it goes; Chromium takes a PAC script. */
export const ASKS_FOR_EACH_REQUEST = api.proxy.onRequest !== undefined;
