// @ts-check
/**
 * The event log of a conversation: each event with its data, notes and deliveries.
 *
 * @module
 */

import { request } from "./api.js";
import { announce, badge, clock, dateTime, el, errorBox, fill } from "./elements.js";

/** @type {Record<string, string>} */
const TONES = { delivered: "good", pending: "started", failed: "bad", exhausted: "bad", stopped: "queued" };

/** An event in a few words. Pure. @param {any} event */
export function summaryOf({ event, data }) {
  if (data?.message) return `${data.message.role}: ${data.message.content}`;
  if (data?.function) return `${data.function.name}(${typeof data.function.arguments === "string" ? data.function.arguments : JSON.stringify(data.function.arguments)})`;
  if (event === "conversation:duration") return `${data?.duration} s`;
  return data?.role ?? data?.reason ?? data?.ended_reason ?? "";
}

export class EventLog {
  /** @param {string} id The conversation's. @param {(event: any) => void} redelivers Called with an event that is delivered again. */
  constructor(id, redelivers) {
    this.id = id;
    this.redelivers = redelivers;
    /** @type {Map<string, HTMLElement>} */
    this.rows = new Map();
    this.list = el("ol", { class: "events hides-seconds" });
    const box = el("input", { type: "checkbox", onchange: () => this.list.classList.toggle("hides-seconds", !box.checked) });
    this.count = el("span", { class: "count" });
    this.element = el("section", { "aria-labelledby": "events-title" },
      el("div", { class: "section-head" }, el("h2", { id: "events-title" }, "Events ", this.count), el("label", { class: "check" }, box, "every second")),
      this.list);
  }

  /** Shows events; those that are known are shown again. @param {any[]} events @param {number} start */
  show(events, start) {
    for (const event of events) {
      const row = this.#row(event, start);
      const before = this.rows.get(event.id);
      if (before) {
        if (before.querySelector("details")?.open) row.querySelector("details")?.setAttribute("open", "");
        before.replaceWith(row);
      } else this.list.append(row);
      this.rows.set(event.id, row);
    }
    fill(this.count, this.rows.size);
  }

  /** @param {any} event @param {number} start */
  #row(event, start) {
    const { sequence, event: name, created_at: created, deliveries, notes } = event;
    const content = el("div", { class: "event-content" });
    const states = deliveries.map((/** @type {any} */ delivery) => badge(delivery.status, TONES[delivery.status] ?? "queued"));
    const summary = el("summary", {},
      el("span", { class: "sequence" }, sequence),
      el("time", { datetime: created, title: dateTime(created) }, clock(Date.parse(created) - start, true)),
      el("span", { class: "event-name" }, name),
      el("span", { class: "event-summary" }, summaryOf(event)),
      el("span", { class: "states" }, notes?.length ? badge(notes.length === 1 ? "note" : `${notes.length} notes`, "warn") : null, ...states));
    const details = el("details", {
      ontoggle: () => {
        if (details.open) fill(content, ...this.#content(event, start));
      },
    }, summary, content);
    return el("li", { class: name === "conversation:duration" ? "every-second" : null }, details);
  }

  /** @param {any} event @param {number} start */
  #content(event, start) {
    const { id, data, deliveries, notes } = event;
    const again = el("button", {
      type: "button",
      onclick: async () => {
        again.disabled = true;
        try {
          const after = await request("POST", `conversations/${this.id}/events/${id}/redeliver`);
          announce("The event will be delivered again.");
          this.show([after], start);
          this.redelivers(after);
        } catch (error) {
          again.after(errorBox(error));
          again.disabled = false;
        }
      },
    }, "Deliver again");
    const shown = data?.conversation ? { ...data, conversation: "as on this page" } : data;
    return [
      notes?.length ? el("ul", { class: "notes" }, ...notes.map((/** @type {string} */ note) => el("li", {}, note))) : null,
      shown ? el("pre", { tabindex: 0, "aria-label": "Data of the event" }, JSON.stringify(shown, null, 2)) : el("p", { class: "hint" }, "No data."),
      ...deliveries.map(deliveryTable),
      deliveries.length > 0 && again,
      el("p", { class: "hint" }, id),
    ];
  }
}

/** @param {any} delivery */
function deliveryTable({ method, url, status, next_attempt_at: next, attempts }) {
  const row = (/** @type {any} */ attempt) =>
    el("tr", {}, el("td", {}, dateTime(attempt.at)), el("td", {}, attempt.status ?? "no response"),
      el("td", { class: "number" }, `${attempt.latency_ms} ms`), el("td", { class: "answer" }, attempt.answer ?? ""));
  const waits = next ? ` Next attempt ${dateTime(next)}.` : "";
  return el("div", { class: "delivery" },
    el("p", {}, badge(status, TONES[status] ?? "queued"), ` ${method} `, el("code", {}, url), waits),
    attempts.length > 0 &&
      el("table", {}, el("thead", {}, el("tr", {}, ...["Attempt", "Status", "Latency", "Answer"].map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, ...attempts.map(row))));
}
