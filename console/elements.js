// @ts-check
/**
 * Makes elements and formats values. Text enters the page by `textContent` only, so words of a call are never markup.
 *
 * @module
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

const SVG = "http://www.w3.org/2000/svg";
const SVG_NAMES = new Set(["svg", "path", "rect", "line", "g", "title"]);

/**
 * Makes an element.
 *
 * @param {string} name Its tag.
 * @param {Record<string, any>} [attributes] A function is a listener (`onclick`), true an attribute without a value; null
 *   and false leave it out.
 * @param {...(Child | Child[])} children
 * @returns {any} An HTML or SVG element.
 */
export function el(name, attributes = {}, ...children) {
  const made = SVG_NAMES.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, String(value));
  }
  fill(made, ...children);
  return made;
}

/**
 * Replaces the children of an element.
 *
 * @param {Element} parent
 * @param {...(Child | Child[])} children
 */
export function fill(parent, ...children) {
  const nodes = children.flat().filter((child) => child !== null && child !== undefined && child !== false && child !== "");
  parent.replaceChildren(...nodes.map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
}

/** A message that a screen reader says. @param {string} text */
export function announce(text) {
  const announcer = document.getElementById("announcer");
  if (announcer) announcer.textContent = text;
}

/**
 * An error in words, or nothing.
 * @param {unknown} error
 */
export function errorBox(error) {
  const text = error instanceof Error ? error.message : String(error);
  return el("p", { class: "error", role: "alert" }, text);
}

/**
 * An empty state: what is missing, and what to do.
 * @param {string} title
 * @param {...Child} children
 */
export function emptyState(title, ...children) {
  return el("div", { class: "empty" }, el("h2", {}, title), ...children);
}

/** A date and time of the reader's place. @param {string | null} iso */
export function dateTime(iso) {
  if (!iso) return "";
  const date = new Date(iso);
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Minutes and seconds: `4:05`, or `4:05.3` with tenths. @param {number | null} ms @param {boolean} [tenths] */
export function clock(ms, tenths = false) {
  if (ms === null || !Number.isFinite(ms)) return "";
  const sign = ms < 0 ? "-" : "";
  const units = Math.round(Math.abs(ms) / (tenths ? 100 : 1_000));
  const seconds = tenths ? units / 10 : units;
  const minutes = Math.floor(seconds / 60);
  const rest = (seconds - minutes * 60).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, "0");
  return `${sign}${minutes}:${rest}`;
}

/** US dollars. @param {number | null | undefined} cost @param {number} [digits] */
export function dollars(cost, digits = 4) {
  return cost === null || cost === undefined ? "" : `$${cost.toFixed(digits)}`;
}

/** A status as a coloured word. @param {string} status @param {string} [tone] */
export function badge(status, tone = status) {
  return el("span", { class: `badge badge-${tone}` }, status);
}
