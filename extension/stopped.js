/** Stands for a page that could not be loaded through the node: says why, and tries again when the node is back. */
import { $, say, showView, tell } from "./page.js";

const LOOK_EVERY_MS = 2000;
/** Chromium obeys new proxy settings a moment after it took them. */
const PAUSE_MS = 300;

const { url, isAgain, view } = await tell("failure");
const isPage = /^https?:/.test(url);
let isWaiting = !isAgain || view.word !== "up";

/** As soon as the node is up, try once more. */
function show(now) {
  const isUp = now.word === "up";
  showView(isUp ? SITE : now);
  if (!isWaiting || !isUp) return;
  isWaiting = false;
  setTimeout(again, PAUSE_MS);
}

const SITE = {
  word: "up",
  headline: "The node is up",
  reason: "The exit could not reach the site, a rule blocks it, or the way broke off.",
  remedy: "Check the address, or choose a new route in the popup. `macrovpn bypass test` says what the rules do.",
};

const again = () => isPage && location.replace(url);

if (isPage) say($("site"), new URL(url).hostname);
else $("again").disabled = true;
$("again").addEventListener("click", again);
show(view);
setInterval(async () => {
  if (!document.hidden && isWaiting) show(await tell("look"));
}, LOOK_EVERY_MS);
