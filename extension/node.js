/** Ask the node on this machine, over its control interface. */

const LIMIT_MS = 5000;
/** A new route has to be built first. */
export const ROUTE_LIMIT_MS = 35000;
const MAX_ANSWER_BYTES = 4 << 20;
/** Of one event; a status has some kilobytes. */
const MAX_EVENT_CHARS = 256 << 10;

/** The node answered, and refused. */
export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** Nothing answers, or what does is no node. */
export class Silent extends Error {
  constructor() {
    super("The node does not answer.");
  }
}

/** Something answers at the node's port, and cannot show that it is the node. */
export class Stranger extends Error {
  constructor() {
    super("Another program answers at the node's port.");
  }
}

/**
 * Read a pairing code, such as `41081-K7QF-2M9X`.
 * @returns {{port: number, code: string} | null} where to hand it in and the whole code; null if it is none.
 */
export function readCode(text) {
  const code = text.trim().toUpperCase().replace(/\s*[-–—]\s*|\s+/g, "-");
  const found = /^([1-9][0-9]{0,4})-([0-9A-Z]{2,8}(?:-[0-9A-Z]{2,8}){0,7})$/.exec(code);
  const port = found ? Number(found[1]) : 0;
  return port > 0 && port < 65536 ? { port, code } : null;
}

async function send(port, token, method, path, body, signal) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(`http://127.0.0.1:${port}/v1/${path}`, {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
  } catch {
    proved = "";
    throw new Silent();
  }
}

/** The token of a node that has shown that it is the node. While it is away, another program can take its port. */
let proved = "";

const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** What the node of a pairing answers to a nonce at this port: only it and this extension know the token's digest. */
async function proofOf({ port, token }, nonce) {
  const digest = await crypto.subtle.digest("SHA-256", encoder.encode(token));
  const key = await crypto.subtle.importKey("raw", digest, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return hex(await crypto.subtle.sign("HMAC", key, encoder.encode(`${port}:${nonce}`)));
}

const encoder = new TextEncoder();

/** Show the token to nobody but the node. Throws as `ask`. */
async function meet(node) {
  if (proved === node.token) return;
  const nonce = hex(crypto.getRandomValues(new Uint8Array(32)));
  const answer = await send(node.port, "", "POST", "hello", { id: node.id, nonce }, AbortSignal.timeout(LIMIT_MS));
  const { proof } = objectOf(await textOf(await good(answer)));
  if (proof !== (await proofOf(node, nonce))) throw new Stranger();
  proved = node.token;
}

/** Read an answer's body, at most `MAX_ANSWER_BYTES`. */
async function textOf(response) {
  const parts = [];
  let bytes = 0;
  const decoder = new TextDecoder();
  try {
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) return parts.join("") + decoder.decode();
      bytes += value.length;
      if (bytes > MAX_ANSWER_BYTES) {
        await reader.cancel();
        break;
      }
      parts.push(decoder.decode(value, { stream: true }));
    }
  } catch {
    // cut off, or too late
  }
  throw new Silent();
}

function objectOf(text) {
  try {
    const value = JSON.parse(text);
    if (value !== null && typeof value === "object" && !Array.isArray(value)) return value;
  } catch {
    // no JSON
  }
  throw new Silent();
}

async function good(response) {
  if (response.ok) return response;
  const { error } = objectOf(await textOf(response));
  throw new Refused(response.status, String(error ?? "The node refused.").slice(0, 500));
}

async function textFrom(node, method, path, body, limitMs = LIMIT_MS) {
  await meet(node);
  const response = await send(node.port, node.token, method, path, body, AbortSignal.timeout(limitMs));
  return textOf(await good(response));
}

/**
 * @param {{port: number, id: string, token: string}} node
 * @returns {Promise<object>} its answer
 * @throws {Refused | Silent | Stranger}
 */
export async function ask(node, method, path, body, limitMs) {
  return objectOf(await textFrom(node, method, path, body, limitMs));
}

/** The text of the PAC. Throws as `ask`. */
export const askPac = (node) => textFrom(node, "GET", "pac");

/**
 * Trade a code for a pairing. Throws as `ask`.
 * @returns {Promise<{port: number, id: string, token: string}>}
 */
export async function pair({ port, code }) {
  const response = await send(port, "", "POST", "pair", { code }, AbortSignal.timeout(LIMIT_MS));
  const { id, token } = objectOf(await textOf(await good(response)));
  if (![id, token].every((text) => typeof text === "string" && /^[\x21-\x7e]{1,512}$/.test(text))) throw new Silent();
  return { port, id, token };
}

/**
 * What happens, as it happens.
 * @param {AbortSignal} signal ends it
 * @yields {{event: string, data: object}}
 * @throws {Refused | Silent | Stranger} also when it ends
 */
export async function* events(node, signal) {
  await meet(node);
  const response = await good(await send(node.port, node.token, "GET", "events", undefined, signal));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const blocks = (text + value.replaceAll("\r", "")).split("\n\n");
      text = blocks.pop();
      if (text.length > MAX_EVENT_CHARS) break;
      for (const block of blocks) {
        const event = readEvent(block);
        if (event) yield event;
      }
    }
  } catch (error) {
    if (error instanceof Silent) throw error; // data that is no object
  } finally {
    await reader.cancel().catch(() => {});
  }
  throw new Silent();
}

function readEvent(block) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  return data.length ? { event, data: objectOf(data.join("\n")) } : null;
}
