/** What runs while nobody looks: the button, the proxy settings, and the page that explains a failure. */
import { ASKS_FOR_EACH_REQUEST, api } from "./api.js";
import { failedAt, failureOf, forgetTab, keep, kept, see } from "./kept.js";
import { Refused, Stranger, ask, askPac } from "./node.js";
import { isFromProxy } from "./failures.js";
import { viewOf } from "./view.js";
import * as way from "./way.js";

const LOOK = "look";
/** The shortest that Chromium allows. */
const LOOK_EVERY_MIN = 0.5;
const LOOK_PAUSE_MS = 1000;
/** The same as in the manifest. */
const OFF = "Macro VPN is off. Click to turn it on.";

/** Changes of the browser's settings come one after the other. */
let changing = Promise.resolve();
const oneByOne = (change) => (changing = changing.then(change, change));

const turnOn = () =>
  oneByOne(async () => {
    await keep({ on: true });
    await way.apply((await kept()).pac);
    api.alarms.create(LOOK, { periodInMinutes: LOOK_EVERY_MIN });
  });

const turnOff = () =>
  oneByOne(async () => {
    await keep({ on: false });
    await way.clear();
    await api.alarms.clear(LOOK);
  });

let looking = Promise.resolve();
let next = null;
let lookedAt = 0;

/** Look at the node: once more after a look that is under way, and never twice at a time. */
const look = () =>
  (next ??= looking = looking.then(() => {
    next = null;
    return lookNow();
  }));

/** Many requests may fail at once, and more will. */
const lookSoon = () => (Date.now() - lookedAt > LOOK_PAUSE_MS ? look() : null);

/** Ask the node, obey its rules, and say on the button how things stand. */
async function lookNow() {
  lookedAt = Date.now();
  const before = await kept();
  let status = null;
  let refused = 0;
  let stranger = false;
  if (before.on && before.port) {
    try {
      const answer = await ask(before, "GET", "status");
      await follow(before, answer);
      status = answer;
    } catch (error) {
      refused = error instanceof Refused ? error.status : 0;
      stranger = error instanceof Stranger;
    }
  }
  const { on, port } = await kept();
  const [ours, sealed] = await Promise.all([way.isOurs(), on ? way.isPrivate() : true]);
  const view = viewOf({ on, paired: port > 0, ours, sealed, status, refused, stranger });
  await Promise.all([see(view), show(view)]);
  return view;
}

/** Read the PAC again if the rules or the proxy's port have changed. */
async function follow(before, status) {
  const { digest } = await ask(before, "GET", "rules");
  const proxy = String(status.proxy ?? "");
  if (digest === before.digest && proxy === before.proxy) return;
  const pac = await askPac(before);
  await oneByOne(async () => {
    const now = await kept();
    if (!now.on || now.token !== before.token) return;
    await keep({ pac, digest, proxy });
    await way.apply(pac);
  });
}

/**
 * While it is off, a click turns it on; while it is on, a click opens the popup, where it is turned off. Going direct
 * by a slip of the hand would show the user's address.
 */
function show({ word, badge, color, headline, reason }) {
  const isOff = word === "off" || (word === "unpaired" && !badge);
  const name = isOff ? "off" : "on";
  return Promise.all([
    api.action.setPopup({ popup: isOff ? "" : "popup.html" }),
    api.action.setBadgeText({ text: badge }),
    api.action.setBadgeBackgroundColor({ color }),
    api.action.setBadgeTextColor({ color: "#ffffff" }),
    api.action.setIcon({ path: { 16: `icons/${name}16.png`, 32: `icons/${name}32.png` } }),
    api.action.setTitle({ title: word === "off" ? OFF : `Macro VPN. ${headline}. ${reason}`.trim() }),
  ]);
}

async function clicked() {
  const { on, port } = await kept();
  if (!port) {
    await api.runtime.openOptionsPage();
    return;
  }
  if (!on) {
    await turnOn();
    await api.action.setPopup({ popup: "popup.html" });
  }
  await Promise.allSettled([api.action.openPopup(), look()]);
}

/** Put our page where one could not be loaded because of the proxy. */
async function explain({ frameId, tabId, url, error }) {
  if (frameId !== 0 || !isFromProxy(error) || !/^https?:/.test(url) || !(await kept()).on) return;
  if (await way.isPast(url)) return;
  const { incognito } = await api.tabs.get(tabId);
  if (incognito && !ASKS_FOR_EACH_REQUEST) return; // Chromium has no pages of extensions in private windows
  await failedAt(tabId, url);
  await api.tabs.update(tabId, { url: api.runtime.getURL("stopped.html") });
  await look();
}

const TASKS = {
  on: () => turnOn().then(look),
  off: () => turnOff().then(look),
  look: () => look(),
  failure: async (tab) => ({ ...(await failureOf(tab?.id)), view: await look() }),
};

way.listen(() => look(), lookSoon);
api.action.onClicked.addListener(clicked);
api.alarms.onAlarm.addListener(() => look());
api.runtime.onStartup.addListener(begin);
api.runtime.onInstalled.addListener(begin);
api.tabs.onRemoved.addListener(forgetTab);
api.webNavigation.onErrorOccurred.addListener(explain);
api.runtime.onMessage.addListener((message, sender, reply) => {
  const task = Object.hasOwn(TASKS, message?.task) ? TASKS[message.task] : null;
  if (!task || sender.id !== api.runtime.id) return false;
  task(sender.tab).then(reply, (error) => reply({ error: String(error) }));
  return true;
});

async function begin({ reason } = {}) {
  const { on, port } = await kept();
  if (on) await turnOn();
  await look();
  if (reason === "install" && !port) await api.runtime.openOptionsPage();
}
