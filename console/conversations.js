// @ts-check
/**
 * The list of conversations: live, filtered, sorted, exported. Only the rows in view are in the page.
 *
 * @module
 */

import { ApiError, get, PAGE, pages, pause } from "./api.js";
import { announce, badge, clock, dateTime, dollars, el, emptyState, errorBox, fill } from "./elements.js";
import { csv, filtered, merge, NO_FILTERS, sorted, TYPES } from "./rows.js";

/** Conversations that the list reads at first; a button reads all that the API lists. */
const FIRST = 2_000;
const ALL = 10_000;
/** Time between two looks for new conversations, in milliseconds. */
const LIVE_MS = 4_000;
/** Older calls that go on and are looked at each time: the oldest. */
const OLDER = 10;
/** Rows beyond the view, above and below. */
const MARGIN = 12;

/** Filters and order survive a visit to a conversation. */
const kept = {
  filters: { ...NO_FILTERS },
  order: /** @type {import("./rows.js").Order} */ ({ by: "created", descending: true }),
};

/** @type {[import("./rows.js").Order["by"], string, string][]} */
const COLUMNS = [
  ["created", "Time", ""],
  ["type", "Type", "narrow-hides"],
  ["party", "Other side", ""],
  ["agent", "Agent", "narrow-hides"],
  ["status", "Status", ""],
  ["seconds", "Duration", "number"],
  ["cost", "Cost", "number narrow-hides"],
];

/** Forgets the filters of an account that signs out. */
export function forgetFilters() {
  kept.filters = { ...NO_FILTERS };
}

/** @param {HTMLElement} main @param {AbortSignal} signal */
export async function showConversations(main, signal) {
  document.title = "Conversations · Switchboard";
  const list = new ConversationList(signal);
  fill(main, list.element);
  main.focus({ preventScroll: true });
  await list.load(FIRST);
  await list.follow();
}

class ConversationList {
  /** @param {AbortSignal} signal */
  constructor(signal) {
    this.signal = signal;
    /** @type {Map<string, import("./rows.js").Row>} */
    this.known = new Map();
    /** @type {import("./rows.js").Row[]} */
    this.rows = [];
    this.isLoaded = false;
    this.hasMore = false;
    const choice = (/** @type {keyof typeof kept.filters} */ name, /** @type {string} */ label, /** @type {[string, string][]} */ options) =>
      el("label", {}, label, el("select", { onchange: (/** @type {any} */ event) => this.#filter(name, event.target.value) },
        el("option", { value: "" }, "all"), ...options.map(([value, text]) => el("option", { value, selected: kept.filters[name] === value }, text))));
    const status = choice("status", "Status", [["queued", "queued"], ["started", "live"], ["ended", "ended"]]);
    const type = choice("type", "Type", Object.entries(TYPES));
    // Their choices are what the rows have.
    const [agent, answered] = [choice("agent", "Agent", []), choice("answered", "Answered by", [])];
    this.found = /** @type {const} */ (["agent", "answered"]).map((key, index) => ({ key, label: [agent, answered][index], select: [agent, answered][index].querySelector("select") }));
    const amount = (/** @type {"cost" | "score"} */ name, /** @type {string} */ label, /** @type {string} */ sample) => {
      const input = el("input", { type: "text", inputmode: "decimal", value: kept.filters[name], placeholder: sample, oninput: () => this.#filter(name, input.value) });
      return el("label", {}, label, input);
    };
    const cost = amount("cost", "Cost from ($)", "0.05");
    this.score = amount("score", "Score up to", "0.8");
    const search = el("input", { type: "search", value: kept.filters.text, placeholder: "number, id, agent", oninput: () => this.#filter("text", search.value) });
    this.exporter = el("button", { type: "button", onclick: () => this.#export() }, "Export CSV");
    this.count = el("p", { class: "hint", role: "status" });
    this.problem = el("div");
    this.heads = el("tr", { "aria-rowindex": 1 });
    this.body = el("tbody");
    this.table = el("table", { class: "list" }, el("caption", { class: "unseen" }, "Conversations"), el("thead", {}, this.heads), this.body);
    this.scroller = el("div", { class: "list-scroll", tabindex: 0, role: "group", "aria-label": "Conversations", onscroll: () => this.#draw() }, this.table);
    this.space = el("div");
    this.element = el("div", { class: "conversations" },
      el("div", { class: "page-head" }, el("h1", {}, "Conversations"), el("div", { class: "actions" }, this.exporter)),
      el("form", { class: "filters", role: "search", "aria-label": "Filters", onsubmit: (/** @type {Event} */ event) => event.preventDefault() }, el("label", {}, "Search", search), status, type, agent, answered, cost, this.score),
      this.problem, this.count, this.scroller, this.space);
    this.observer = new ResizeObserver(() => this.#draw());
    this.observer.observe(this.scroller);
    signal.addEventListener("abort", () => this.observer.disconnect());
    this.#heads();
  }

  /** @param {number} limit */
  async load(limit) {
    try {
      this.hasMore = await pages("conversations", limit, (items) => {
        merge(this.known, items);
        this.#update();
      }, this.signal);
    } finally {
      this.isLoaded = true;
    }
    this.#update();
  }

  /** Looks for new and changed conversations while the page is in view. */
  async follow() {
    for (;;) {
      await pause(LIVE_MS, this.signal);
      if (document.hidden) continue;
      try {
        const { items } = await get(`conversations?limit=${PAGE}`, this.signal);
        fill(this.problem);
        const isChanged = merge(this.known, items);
        if ((await this.#refreshOlder(items)) || isChanged) this.#update();
      } catch (error) {
        this.signal.throwIfAborted();
        fill(this.problem, errorBox(error));
      }
    }
  }

  /** Looks again at calls that went on when they were last seen, and are not among the newest. @param {any[]} newest */
  async #refreshOlder(newest) {
    const seen = new Set(newest.map(({ id }) => id));
    const open = [...this.known.values()].filter(({ id, status }) => status !== "ended" && !seen.has(id)).slice(-OLDER);
    let isChanged = false;
    for (const { id } of open) {
      try {
        isChanged = merge(this.known, [await get(`conversations/${id}`, this.signal)]) || isChanged;
      } catch (error) {
        if (!(error instanceof ApiError && error.status === 404)) throw error;
        isChanged = this.known.delete(id) || isChanged;
      }
    }
    return isChanged;
  }

  /** @param {keyof typeof kept.filters} name @param {string} value */
  #filter(name, value) {
    kept.filters[name] = value;
    this.scroller.scrollTop = 0;
    this.#update();
  }

  #heads() {
    fill(this.heads, ...COLUMNS.map(([by, name, style]) => {
      const isSorted = kept.order.by === by;
      const direction = isSorted ? (kept.order.descending ? "descending" : "ascending") : null;
      const sort = () => {
        kept.order = { by, descending: isSorted ? !kept.order.descending : by === "created" || by === "seconds" || by === "cost" };
        this.#heads();
        this.#update();
        this.heads.querySelectorAll("button")[COLUMNS.findIndex(([other]) => other === by)].focus();
      };
      const arrow = isSorted ? el("span", { "aria-hidden": "true" }, kept.order.descending ? " ↓" : " ↑") : null;
      return el("th", { scope: "col", class: style || null, "aria-sort": direction }, el("button", { type: "button", onclick: sort }, name, arrow));
    }));
  }

  #update() {
    const everything = [...this.known.values()];
    for (const { key, label, select } of this.found) {
      // The chosen one stays in the list, whatever conversations there are.
      const names = [...new Set([...everything.map((row) => row[key]), kept.filters[key]])].filter(Boolean).sort();
      label.hidden = names.length === 0;
      if (names.length + 1 === select.options.length) continue;
      fill(select, el("option", { value: "" }, "all"), ...names.map((name) => el("option", { value: name, selected: name === kept.filters[key] }, name)));
    }
    // Not every deployment measures it.
    this.score.hidden = kept.filters.score === "" && everything.every(({ score }) => score === null);
    this.rows = sorted(filtered(everything, kept.filters), kept.order);
    this.exporter.disabled = this.rows.length === 0;
    const more = this.hasMore && this.isLoaded ? " There are older ones." : "";
    const text = !this.isLoaded && everything.length === 0 ? "Loading…" : `${this.rows.length} of ${everything.length}${this.isLoaded ? "" : " so far"}.${more}`;
    if (this.count.textContent !== text) fill(this.count, text);
    const isEmpty = this.isLoaded && this.rows.length === 0;
    this.scroller.hidden = isEmpty;
    if (isEmpty && everything.length === 0) {
      fill(this.space, emptyState("No conversation yet", el("p", {}, "Create an agent and talk to it in your browser, or place a call with ", el("code", {}, "POST /conversations/create_phone_call"), "."), el("a", { class: "button", href: "#/agents" }, "Go to the agents")));
    } else if (isEmpty) fill(this.space, emptyState("No conversation matches", el("p", {}, "Change the filters above.")));
    else fill(this.space, this.hasMore && this.isLoaded && this.known.size < ALL ? el("button", { type: "button", onclick: () => this.#more() }, "Load older conversations") : null);
    this.#draw();
  }

  async #more() {
    this.isLoaded = false;
    try {
      await this.load(ALL);
    } catch (error) {
      if (!this.signal.aborted) fill(this.problem, errorBox(error));
    }
  }

  /** Makes the rows in view. Two empty rows are as high as the others. */
  #draw() {
    const height = Number.parseFloat(getComputedStyle(this.scroller).getPropertyValue("--row")) || 36;
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / height) - MARGIN);
    const last = Math.min(this.rows.length, Math.ceil((this.scroller.scrollTop + this.scroller.clientHeight) / height) + MARGIN);
    const space = (/** @type {number} */ rows) => {
      if (rows === 0) return null;
      const row = el("tr", { class: "space", "aria-hidden": "true" }, el("td"));
      row.style.height = `${rows * height}px`;
      return row;
    };
    const focused = document.activeElement?.closest("tr")?.id;
    this.table.setAttribute("aria-rowcount", String(this.rows.length + 1));
    fill(this.body, space(first), ...this.rows.slice(first, last).map((row, index) => rowElement(row, first + index + 2)), space(this.rows.length - last));
    if (focused) document.getElementById(focused)?.querySelector("a")?.focus({ preventScroll: true });
  }

  #export() {
    const url = URL.createObjectURL(new Blob(["\ufeff", csv(this.rows)], { type: "text/csv" }));
    el("a", { href: url, download: "conversations.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    announce(`${this.rows.length} conversations exported.`);
  }
}

/** @param {import("./rows.js").Row} row @param {number} index */
function rowElement({ id, created, type, party, agent, status, seconds, reason, cost }, index) {
  const state = status === "started" ? badge("live", "started") : badge(status);
  return el("tr", { id: `row-${id}`, "aria-rowindex": index },
    el("td", {}, el("a", { href: `#/conversations/${id}` }, ...dateTime(created).split(" ").flatMap((part) => [" ", el("span", {}, part)]))),
    el("td", { class: "narrow-hides" }, TYPES[type] ?? type),
    el("td", {}, party),
    el("td", { class: "narrow-hides wide", title: agent }, agent),
    el("td", {}, state, reason && el("span", { class: "hint narrow-hides" }, ` ${reason.replaceAll("_", " ")}`)),
    el("td", { class: "number" }, seconds === null ? "" : clock(seconds * 1_000)),
    el("td", { class: "number narrow-hides" }, dollars(cost)));
}
