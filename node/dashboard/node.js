// The node, over its control interface.

const KEY = "macrovpn-token";

export class NodeError extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

async function answered(response) {
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new NodeError(body.error ?? `The node answered ${response.status}.`, response.status);
  return body;
}

async function sent(path, options) {
  try {
    return await fetch(path, { cache: "no-store", credentials: "omit", ...options });
  } catch {
    throw new NodeError("The node does not answer. Is it running? `macrovpn up` starts it.", 0);
  }
}

const headers = () => ({ Authorization: `Bearer ${localStorage.getItem(KEY) ?? ""}` });

/** Ask for something. Rejects with a NodeError, whose message is for people. */
export async function ask(method, path, body) {
  const json = body === undefined ? {} : { body: JSON.stringify(body) };
  const kind = body === undefined ? {} : { "Content-Type": "application/json" };
  return answered(await sent(path, { method, headers: { ...headers(), ...kind }, ...json }));
}

/** Trade the one-time code of the address for a token, and take it out of the address and the history. */
export async function enter() {
  const code = location.hash.slice(1);
  if (!/^[0-9A-Za-z-]{4,64}$/.test(code)) return;
  history.replaceState(null, "", location.pathname);
  const body = JSON.stringify({ code });
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body };
  localStorage.setItem(KEY, (await answered(await sent("/v1/session", options))).token);
}

const LONGEST_PAUSE_MS = 8000;
const MAX_EVENT = 1 << 20;

/** Hear the events `status` and `second` for as long as the page lives.

`lost` is told the error when the node is gone; `tell` gets each event's name and value.
*/
export async function listen(tell, lost) {
  for (let pause = 500; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    try {
      const response = await sent("/v1/events", { headers: headers() });
      if (!response.ok) await answered(response);
      pause = 500;
      await read(response.body.pipeThrough(new TextDecoderStream()).getReader(), tell);
      lost(new NodeError("The node has stopped. `macrovpn up` starts it.", 0));
    } catch (error) {
      lost(error);
      if (error.status === 401) return;
    }
    await new Promise((done) => setTimeout(done, pause));
  }
}

async function read(reader, tell) {
  for (let text = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const events = text.split("\n\n");
    text = events.pop();
    if (text.length > MAX_EVENT) throw new NodeError("The node says more than this page understands.", 0);
    for (const event of events) {
      const name = /^event: (.*)$/m.exec(event)?.[1], data = /^data: (.*)$/m.exec(event)?.[1];
      if (name && data) tell(name, JSON.parse(data));
    }
  }
}
