/** Errors of a page that come from the proxy, and not from the site. */

const CHROMIUM = /^net::ERR_(PROXY|TUNNEL|SOCKS|MANDATORY_PROXY|NO_SUPPORTED_PROXIES)/;

/** Firefox gives the number only. Source: Firefox's `xpcom/base/ErrorList.py`, module NETWORK. */
const FIREFOX = /^Error code ([0-9]+)$/;
const NETWORK = 0x804b0000;
const UNKNOWN_PROXY_HOST = 42;
const PROXY_CONNECTION_REFUSED = 72;
/** What Firefox makes of a proxy's 503, and of its 400, 404 and 500. */
const CONNECTION_REFUSED = 13;
const UNKNOWN_HOST = 30;
/** Other answers of a proxy are this and their status. */
const PROXY_ANSWERED = 1000;

/** Whether an error is one of those, where the page was to be loaded through the proxy. */
export function isFromProxy(error) {
  const found = FIREFOX.exec(error);
  if (!found) return CHROMIUM.test(error);
  const number = Number(found[1]) - NETWORK;
  const isAnswer = number >= PROXY_ANSWERED + 400 && number < PROXY_ANSWERED + 600;
  return isAnswer || [UNKNOWN_PROXY_HOST, PROXY_CONNECTION_REFUSED, CONNECTION_REFUSED, UNKNOWN_HOST].includes(number);
}
