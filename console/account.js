// @ts-check
/**
 * The account: its limits with their present use, and the health of its webhooks. The page looks again by itself.
 *
 * @module
 */

import { get, pause } from "./api.js";
import { badge, dateTime, dollars, el, emptyState, errorBox, fill } from "./elements.js";

/** Time between two looks, in milliseconds. */
const LOOK_MS = 5_000;

/** Limits as people read them; the third is what they count. @type {[string, string, "count" | "rate" | "usd"][]} */
const LIMITS = [
  ["live_calls", "Live outbound calls", "count"],
  ["inbound_calls", "Live inbound and web calls", "count"],
  ["waiting_calls", "Calls that wait to be dialled", "count"],
  ["calls_per_second", "Calls that start per second", "rate"],
  ["requests_per_second", "API requests per second", "rate"],
  ["phone_numbers", "Phone numbers", "count"],
  ["numbers_bought_per_day", "Numbers bought today", "count"],
  ["daily_spend_usd", "Cost of today's calls", "usd"],
];

/** @type {Record<string, string>} */
const TONES = { responding: "good", failing: "warn", paused: "bad", idle: "queued" };

/**
 * The rows of the limits. Pure.
 * @param {any} limits `limits` of the account.
 * @returns {{ name: string, used: string, most: string, standard: string, value: number, max: number }[]}
 */
export function limitRows(limits) {
  return LIMITS.map(([key, name, kind]) => {
    const { limit, default_limit: standard, used, burst } = limits[key];
    const text = (/** @type {number} */ value) => (kind === "usd" ? dollars(value, 2) : String(value));
    const most = kind === "rate" ? `${limit}, ${burst} at once` : text(limit);
    return { name, used: text(used), most, standard: text(standard), value: used, max: burst ?? limit };
  });
}

/** @param {HTMLElement} main @param {AbortSignal} signal */
export async function showAccount(main, signal) {
  document.title = "Account · Switchboard";
  fill(main, el("p", { class: "hint" }, "Loading…"));
  const problem = el("div");
  const limits = el("section", { class: "card", "aria-labelledby": "limits-title" });
  const webhooks = el("section", { class: "card", "aria-labelledby": "webhooks-title" });
  const facts = el("p", { class: "facts" });
  let shown = "";
  const look = async () => {
    const [account, health] = await Promise.all([get("account", signal), get("account/webhooks", signal)]);
    const text = JSON.stringify([account, health]);
    // An unchanged page is left alone, so that the focus stays where it is.
    if (text === shown) return;
    shown = text;
    fill(facts, `${account.name} · `, el("code", {}, account.id), ` · the counts of the day begin again ${dateTime(account.day_ends_at)}`);
    fill(limits, ...limitsOf(account.limits));
    fill(webhooks, ...healthOf(health));
  };
  await look();
  fill(main, el("div", { class: "page-head" }, el("div", {}, el("h1", {}, "Account"), facts)), problem, el("div", { class: "stack" }, limits, webhooks));
  main.focus({ preventScroll: true });
  for (;;) {
    await pause(LOOK_MS, signal);
    if (document.hidden) continue;
    try {
      await look();
      fill(problem);
    } catch (error) {
      signal.throwIfAborted();
      fill(problem, errorBox(error));
    }
  }
}

/** @param {any} limits */
function limitsOf(limits) {
  const row = (/** @type {ReturnType<typeof limitRows>[number]} */ { name, used, most, standard, value, max }) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "number" }, used),
      el("td", { class: "narrow-hides" }, el("meter", { min: 0, max: Math.max(max, 1), high: max * 0.8, value: Math.min(value, max), "aria-label": `${name}: ${used} of ${most}` })),
      el("td", {}, most), el("td", { class: "hint narrow-hides" }, standard));
  const names = [["Limit", ""], ["In use", "number"], ["", "narrow-hides"], ["Most", ""], ["Default", "narrow-hides"]];
  const { calling_codes: codes, is_default: isDefault } = limits.destination_countries;
  const countries = codes.length === 0 ? "None: the account has bought no number." : `${codes.join(", ")}${isDefault ? " (those of the numbers that it bought)" : ""}`;
  return [
    el("h2", { id: "limits-title" }, "Limits and usage"),
    el("div", { class: "scrolls", tabindex: 0, role: "group", "aria-label": "Limits" }, el("table", { class: "plain" }, el("caption", { class: "unseen" }, "Limits"),
      el("thead", {}, el("tr", {}, ...names.map(([name, style]) => (name ? el("th", { scope: "col", class: style || null }, name) : el("td", { class: style }))))), el("tbody", {}, ...limitRows(limits).map(row)))),
    el("dl", { class: "below" }, el("dt", {}, "Countries"), el("dd", {}, countries), el("dt", {}, "Premium-rate and satellite numbers"), el("dd", {}, limits.restricted_numbers ? "allowed" : "not allowed")),
    el("p", { class: "hint" }, "The operator of this deployment changes limits: ", el("code", {}, "switchboard accounts limits"), "."),
  ];
}

/** @param {any} health */
function healthOf({ in_flight: inFlight, slots, hosts }) {
  const title = el("h2", { id: "webhooks-title" }, "Webhooks");
  if (hosts.length === 0) return [title, emptyState("No agent has a webhook", el("p", {}, "A webhook tells your server what happens in a call. Add one to an agent."), el("a", { class: "button", href: "#/agents" }, "Go to the agents"))];
  const row = (/** @type {any} */ { host, state, failures, paused_until: until, in_flight: busy, agents }) =>
    el("tr", {}, el("th", { scope: "row" }, host), el("td", {}, badge(state, TONES[state] ?? "queued"), until && el("span", { class: "hint" }, ` until ${dateTime(until).split(" ")[1]}`)),
      el("td", { class: "number" }, failures), el("td", { class: "number" }, busy),
      el("td", { class: "wraps" }, ...agents.flatMap((/** @type {string} */ id, /** @type {number} */ index) => [index > 0 && ", ", el("a", { href: `#/agents/${id}` }, id)])));
  const names = [["Host", ""], ["State", ""], ["Without a response", "number"], ["Under way", "number"], ["Agents", ""]];
  return [
    title,
    el("div", { class: "scrolls", tabindex: 0, role: "group", "aria-label": "Hosts of webhooks" }, el("table", { class: "plain" }, el("caption", { class: "unseen" }, "Hosts of webhooks"),
      el("thead", {}, el("tr", {}, ...names.map(([name, style]) => el("th", { scope: "col", class: style || null }, name)))), el("tbody", {}, ...hosts.map(row)))),
    el("p", { class: "hint below" }, `${inFlight} of ${slots} requests are under way. A host that gives no response five times in a row is paused for half a minute; its deliveries wait. Any HTTP status is a response: the events of a conversation show each.`),
  ];
}
