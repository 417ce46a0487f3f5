/** Errors of a page that come from the proxy, and not from the site. */

const CHROMIUM = /^net::ERR_(PROXY|TUNNEL|SOCKS|MANDATORY_PROXY|NO_SUPPORTED_PROXIES)/;

/**
 * Firefox gives the number only. Source: Firefox's `xpcom/base/ErrorList.py`, module NETWORK (0x804b0000).
 */
const FIREFOX = /^Error code ([0-9]+)$/;
const UNKNOWN_PROXY_HOST = 0x804b002a;
const PROXY_CONNECTION_REFUSED = 0x804b0048;

export function isFromProxy(error) {
  const number = FIREFOX.exec(error);
  return number ? [UNKNOWN_PROXY_HOST, PROXY_CONNECTION_REFUSED].includes(Number(number[1])) : CHROMIUM.test(error);
}
