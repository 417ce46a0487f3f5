import { button, el, facts, labelled, panel, table } from "./dom.js";
import { ask } from "./node.js";
import * as say from "./say.js";

/** What was spent and earned. */
export async function money(known) {
  const place = el("div");
  const draw = async () => place.replaceChildren(whole(known, await ask("GET", "/v1/wallet"), draw));
  await draw();
  return { title: "Money", node: place };
}

function whole(known, wallet, draw) {
  if (wallet.settlement === "off") {
    return panel("Payments are off", el("p", {}, "This node pays nobody and asks for nothing. ",
      el("a", { href: "#/settings" }, "Settings"), ", payments.settlement, turns them on."));
  }
  const order = async (what, body, done) => { if (await known.attempt(() => ask("POST", `/v1/wallet/${what}`, body), done)) await draw(); };
  return el("div", {},
    el("div", { class: "panels" },
      panel("Spending", el("p", { class: "figure" }, say.coins(wallet.spent)), facts([
        ["Signed away", say.coins(wallet.paid)], ["Locked in channels", say.coins(wallet.locked)],
        ["Present path", wallet.price_per_gb ? `${say.coins(wallet.price_per_gb)} per GB, hops ask steps ${wallet.tariffs.join(", ")}` : "costs nothing"],
        ["Trouble", wallet.trouble]]), capForm(known, wallet, order)),
      panel("Earning", el("p", { class: "figure" }, say.coins(wallet.earned)), facts([
        ["Received in vouchers", say.coins(wallet.received)], ["Claimed", say.coins(wallet.claimed)],
        ["You ask", wallet.tariff ? `step ${wallet.tariff} of 7` : "nothing"]]),
      el("div", { class: "row" }, button("Claim what is due", () => order("claim", {}, "It was claimed.")))),
      panel("Wallet", el("p", { class: "figure" }, say.coins(wallet.balance)), facts([
        ["Settled", wallet.settlement === "local" ? "on this machine, in test coins" : `on chain ${wallet.chain}`],
        ["Account", el("span", { class: "id" }, wallet.account)]]))),
    el("div", { class: "panel" }, wallet.channels.length ? channels(wallet, order) : el("p", {}, "There is no payment channel.")));
}

function capForm(known, wallet, order) {
  const input = el("input", { type: "text", inputmode: "decimal", value: wallet.cap === null ? "" : String(wallet.cap / 1e6) });
  const save = () => {
    const units = input.value.trim() ? say.units(input.value) : null;
    if (input.value.trim() && units === null) return known.attempt(() => { throw new Error("This is no amount of coins, such as 2.5."); });
    return order("cap", { units }, units === null ? "There is no cap now." : "Nothing more is spent beyond this.");
  };
  return el("div", { class: "row" }, labelled("Never spend more than, in coins", input, "Empty for no cap."), button("Set the cap", save));
}

function channels(wallet, order) {
  return table("Payment channels", ["Channel", "Direction", "Neighbour", "State", "Holds", "Paid", ""], wallet.channels.map((channel) => [
    el("span", { class: "id" }, say.short(channel.id)), channel.pays ? "you pay" : "you are paid",
    channel.peer_id ? el("span", { class: "id" }, say.short(channel.peer_id)) : "", channel.state,
    say.coins(channel.deposit), say.coins(channel.paid),
    channel.state === "open" ? button("Close", () => order("close", { channel: channel.id }, "The channel is being closed."),
      { "aria-label": `Close channel ${say.short(channel.id)}` }) : "",
  ]));
}
