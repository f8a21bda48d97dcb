// @ts-check
/**
 * The rows of the list of conversations: filters, order, CSV. Pure.
 *
 * @module
 */

import { agentName } from "./story.js";

/**
 * @typedef {object} Row
 * @property {string} id
 * @property {string} created
 * @property {string} type
 * @property {string} status
 * @property {string} party The number on the other side.
 * @property {string} own The account's number.
 * @property {string} agent The agent's name.
 * @property {string} agentId
 * @property {number | null} seconds From the start to the end.
 * @property {string} reason
 * @property {string} answered Who took a phone call, if that is known.
 * @property {number | null} score The score of its turns, 0 to 1; null if it was not measured.
 * @property {number | null} cost USD.
 * @property {string} text Everything that a search looks at, in lower case.
 *
 * @typedef {{ status: string, type: string, agent: string, answered: string, cost: string, score: string, text: string }} Filters `cost` is the least cost in USD, `score` the highest score; both as they are typed.
 * @typedef {{ by: "created" | "type" | "party" | "agent" | "status" | "seconds" | "cost", descending: boolean }} Order
 */

/** All conversations. @type {Readonly<Filters>} */
export const NO_FILTERS = { status: "", type: "", agent: "", answered: "", cost: "", score: "", text: "" };

/** Types as people read them. @type {Record<string, string>} */
export const TYPES = { inbound_phone_call: "inbound", outbound_phone_call: "outbound", web_call: "web" };

/** @param {any} conversation @returns {Row} */
export function rowOf(conversation) {
  const { id, created_at: created, type, status, phone_call: call, agent_config: config } = conversation;
  const isInbound = type === "inbound_phone_call";
  const party = (isInbound ? call?.from_number : call?.to_number) ?? "browser";
  const own = (isInbound ? call?.to_number : call?.from_number) ?? "";
  const { started_at: started, ended_at: ended } = conversation;
  const seconds = started && ended ? (Date.parse(ended) - Date.parse(started)) / 1_000 : null;
  const agent = agentName(config, conversation.agent_id);
  const reason = conversation.ended_reason ?? "";
  const cost = conversation.cost_breakdown?.total ?? null;
  const answered = (call?.reached ?? call?.answered_by ?? "").replaceAll("_", " ");
  const score = conversation.quality?.turn_score ?? null;
  const metadata = Object.entries(config?.metadata ?? {}).flat();
  const text = [id, party, own, agent, conversation.agent_id, reason, ...metadata].join("\n").toLowerCase();
  const agentId = conversation.agent_id ?? "";
  return { id, created, type, status, party, own, agent, agentId, seconds, reason, answered, score, cost, text };
}

/** @param {Row[]} rows @param {Filters} filters @returns {Row[]} */
export function filtered(rows, { status, type, agent, answered, cost, score, text }) {
  const [least, highest] = [amountIn(cost), amountIn(score)];
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return rows.filter(
    (row) =>
      (status === "" || row.status === status) &&
      (type === "" || row.type === type) &&
      (agent === "" || row.agent === agent) &&
      (answered === "" || row.answered === answered) &&
      (least === null || (row.cost ?? 0) >= least) &&
      (highest === null || (row.score !== null && row.score <= highest)) &&
      words.every((word) => row.text.includes(word)),
  );
}

/** The number that a text means, with a point or a comma; null if it is none. @param {string} text */
export function amountIn(text) {
  const number = Number.parseFloat(text.trim().replace(/^\$/, "").replace(",", "."));
  return Number.isFinite(number) ? number : null;
}

/** Rows in an order; rows without a value are last. @param {Row[]} rows @param {Order} order @returns {Row[]} */
export function sorted(rows, { by, descending }) {
  const direction = descending ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [left, right] = [a[by], b[by]];
    if (left === right) return a.id < b.id ? 1 : -1;
    if (left === null) return 1;
    if (right === null) return -1;
    return left < right ? -direction : direction;
  });
}

/** Newer conversations replace older copies of themselves. @param {Map<string, Row>} known @param {any[]} conversations */
export function merge(known, conversations) {
  let isChanged = false;
  for (const conversation of conversations) {
    const row = rowOf(conversation);
    const before = known.get(row.id);
    if (before && before.status === row.status && before.cost === row.cost && before.answered === row.answered && before.score === row.score) continue;
    known.set(row.id, row);
    isChanged = true;
  }
  return isChanged;
}

const COLUMNS = /** @type {const} */ ([
  ["id", "id"],
  ["created_at", "created"],
  ["type", "type"],
  ["status", "status"],
  ["other_number", "party"],
  ["own_number", "own"],
  ["agent", "agent"],
  ["agent_id", "agentId"],
  ["seconds", "seconds"],
  ["ended_reason", "reason"],
  ["answered_by", "answered"],
  ["turn_score", "score"],
  ["cost_usd", "cost"],
]);

/** The rows as CSV (RFC 4180). @param {Row[]} rows */
export function csv(rows) {
  const lines = rows.map((row) => COLUMNS.map(([, key]) => cell(row[key])).join(","));
  return [COLUMNS.map(([name]) => name).join(","), ...lines, ""].join("\r\n");
}

/** @param {string | number | null} value */
function cell(value) {
  if (value === null) return "";
  let text = String(value);
  // A spreadsheet would run it as a formula. Telephone numbers begin with a plus and stay.
  if (/^[=@\t\r-]/.test(text) || (text.startsWith("+") && !/^\+\d+$/.test(text))) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
