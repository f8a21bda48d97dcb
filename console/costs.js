// @ts-check
/**
 * The cost of a conversation, part by part.
 *
 * @module
 */

import { dollars, el } from "./elements.js";

/** The parts of a cost as rows. Pure. @param {any} cost `cost_breakdown` of a conversation. */
export function costRows(cost) {
  const amount = (/** @type {any} */ part) => {
    if (part.input_tokens !== undefined) return `${part.input_tokens} in, ${part.output_tokens} out`;
    if (part.characters !== undefined) return `${part.characters} characters`;
    return `${part.seconds.toFixed(1)} s`;
  };
  const parts = /** @type {const} */ ([["Agent", "agent"], ["Language model", "language_model"], ["Transcriber", "transcriber"], ["Voice", "voice"], ["Telephony", "telephony"]]);
  return parts.flatMap(([name, key]) => {
    const part = cost[key];
    if (!part) return [];
    const share = cost.total > 0 ? part.cost / cost.total : 0;
    return [{ name, provider: part.provider, amount: amount(part), cost: part.cost, estimated: part.estimated === true, share }];
  });
}

/** @param {any} cost */
export function costTable(cost) {
  const rows = costRows(cost);
  const row = (/** @type {any} */ part) => {
    const bar = el("span", { class: "share" });
    bar.style.width = `${Math.round(part.share * 100)}%`;
    return el("tr", {},
      el("th", { scope: "row" }, part.name, el("span", { class: "hint" }, ` ${part.provider}`)),
      el("td", {}, part.amount),
      el("td", { class: "number" }, dollars(part.cost, 6), part.estimated && el("abbr", { title: "estimated" }, " ≈"), bar));
  };
  const total = el("tr", { class: "total" }, el("th", { scope: "row" }, "Total"), el("td", {}), el("td", { class: "number" }, dollars(cost.total, 6)));
  return el("table", { class: "costs" }, el("caption", {}, "Cost"),
    el("thead", { class: "unseen" }, el("tr", {}, el("th", { scope: "col" }, "Part"), el("th", { scope: "col" }, "Amount"), el("th", { scope: "col" }, "USD"))),
    el("tbody", {}, ...rows.map(row), total));
}
