/** Pairing: a code from the node's own user becomes a token of this extension. */
import { ASKS_FOR_EACH_REQUEST } from "./api.js";
import { forgetNode, keep, kept } from "./kept.js";
import { Refused, pair, readCode } from "./node.js";
import { $, say, tell } from "./page.js";

const PAIRED = "It is paired. A new code pairs it anew.";
const UNPAIRED = "Only you can see the code: no web page and no other extension can pair instead.";

async function show() {
  const { port } = await kept();
  say($("state"), port ? PAIRED : UNPAIRED);
  $("forget").hidden = !port;
}

async function go() {
  const code = readCode($("code").value);
  if (!code) throw new Error("This is no code. It looks like 41081-K7QF-2M9X: a port, and two groups.");
  try {
    const node = await pair(code);
    await forgetNode();
    await keep(node);
  } catch (error) {
    if (error instanceof Refused) throw error;
    throw new Error(`Nothing answers at port ${code.port}. Does the node run? Ask it for a new code.`);
  }
  await tell("look");
  $("code").value = "";
  say($("done"), "Paired. Click the button in the toolbar, and pages leave from another country.");
  await show();
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("go").disabled = true;
  say($("wrong"), "");
  say($("done"), "");
  try {
    await go();
  } catch (error) {
    say($("wrong"), error.message);
  } finally {
    $("go").disabled = false;
  }
});

$("forget").addEventListener("click", async () => {
  await tell("off");
  await forgetNode();
  await tell("look");
  await show();
});

$("firefox").hidden = !ASKS_FOR_EACH_REQUEST;
await show();
