/** Where everything is sent while nothing is known of the node: port 9 discards what it gets (RFC 863). */
export const CLOSED = { host: "127.0.0.1", port: 9 };

/** @returns {{host: string, port: number} | null} the proxy's address; null if it is none on this machine. */
export function endpointOf(text) {
  const found = /^(127\.0\.0\.1|\[::1\]):([1-9][0-9]{0,4})$/.exec(text);
  if (!found || Number(found[2]) > 65535) return null;
  return { host: found[1].replace(/[[\]]/g, ""), port: Number(found[2]) };
}
