/** Errors of a page that come from the proxy, and not from the site. */

const CHROMIUM = /^net::ERR_(PROXY|TUNNEL|SOCKS|MANDATORY_PROXY|NO_SUPPORTED_PROXIES)/;

/**
 * Firefox gives the number only. Source: Firefox's `xpcom/base/ErrorList.py`, module NETWORK (0x804b0000).
 */
const FIREFOX = /^Error code ([0-9]+)$/;
const FIREFOX_NUMBERS = new Set([0x804b002a, 0x804b0048]); // NS_ERROR_UNKNOWN_PROXY_HOST, NS_ERROR_PROXY_CONNECTION_REFUSED

export function isFromProxy(error) {
  const number = FIREFOX.exec(error);
  return number ? FIREFOX_NUMBERS.has(Number(number[1])) : CHROMIUM.test(error);
}
