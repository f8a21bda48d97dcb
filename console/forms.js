// @ts-check
/**
 * Forms made from the schemas of the OpenAPI document, with the API's errors at their fields.
 *
 * @module
 */

import { el, fill } from "./elements.js";

/**
 * @typedef {object} Kind What a schema allows.
 * @property {"text" | "long" | "number" | "flag" | "lines" | "json" | "block"} kind
 * @property {string} about
 * @property {any} initial The default.
 * @property {boolean} [isInteger]
 * @property {number} [min]
 * @property {number} [max]
 * @property {Record<string, any>} [choices] Of a block: the schema of each provider.
 * @property {boolean} [isOptional] Of a block: whether the API has a default.
 *
 * @typedef {object} Field
 * @property {string} path
 * @property {HTMLElement} element
 * @property {() => any} read Throws a {@link FieldProblem}.
 * @property {(path: string, message: string) => boolean} complain Shows an error; false if the path is not below this field.
 */

/** A text that its field cannot take. */
export class FieldProblem extends Error {
  /** @param {string} path @param {string} message */
  constructor(path, message) {
    super(message);
    this.path = path;
  }
}

const LONG = new Set(["prompt", "initial_message", "disclosure"]);
/** Fields that are typed unseen. */
const SECRET = new Set(["api_key", "auth_token"]);

/** Pure. @param {string} name @param {any} schema @param {Record<string, any>} schemas @returns {Kind} */
export function kindOf(name, schema, schemas) {
  const resolve = (/** @type {any} */ given) => (given?.$ref ? schemas[given.$ref.split("/").pop()] : given);
  const outer = resolve(schema);
  const inner = resolve((outer.anyOf ?? [outer]).find((/** @type {any} */ each) => each.type !== "null"));
  const types = [inner.type].flat().filter((type) => type !== "null");
  const base = { about: (schema.description ?? inner.description ?? "").replaceAll("`", ""), initial: schema.default };
  if (inner.discriminator) {
    const choices = Object.entries(inner.discriminator.mapping).map(([provider, ref]) => [provider, resolve({ $ref: ref })]);
    const isOptional = (outer.anyOf ?? []).some((/** @type {any} */ each) => each.type === "null");
    return { kind: "block", ...base, choices: Object.fromEntries(choices), isOptional };
  }
  if (types.includes("boolean")) return { kind: "flag", ...base };
  if (types.includes("number") || types.includes("integer")) {
    return { kind: "number", ...base, isInteger: !types.includes("number"), min: inner.minimum, max: inner.maximum };
  }
  if (types.includes("array") && resolve(inner.items)?.type === "string") return { kind: "lines", ...base };
  if (types.includes("string")) return { kind: LONG.has(name) ? "long" : "text", ...base };
  return { kind: "json", ...base };
}

/** A name as a label: `initial_message` is "Initial message". @param {string} name */
export function labelOf(name) {
  const words = name.replaceAll("_", " ").replace(/\b(api|id|url)\b/g, (word) => word.toUpperCase());
  return words[0].toUpperCase() + words.slice(1);
}

/**
 * @param {string} path @param {any} schema @param {Record<string, any>} schemas @param {any} value
 * @returns {Field}
 */
export function fieldOf(path, schema, schemas, value) {
  const name = path.split(".").pop() ?? path;
  const kind = kindOf(name, schema, schemas);
  return kind.kind === "block" ? block(path, name, kind, schemas, value) : plain(path, name, kind, value);
}

/** @param {string} path @param {string} name @param {Kind} kind @param {any} value @returns {Field} */
function plain(path, name, kind, value) {
  const id = `field-${path.replaceAll(".", "-")}`;
  const attributes = { id, "aria-describedby": `${id}-about ${id}-problem`, spellcheck: kind.kind === "long" };
  const lines = kind.kind === "lines" ? (value ?? []).join("\n") : kind.kind === "json" ? (value === null || value === undefined ? "" : JSON.stringify(value, null, 2)) : (value ?? "");
  /** @type {any} */
  let input;
  if (kind.kind === "flag") input = el("input", { ...attributes, type: "checkbox", checked: value === true });
  else if (kind.kind === "number") input = el("input", { ...attributes, type: "text", inputmode: kind.isInteger ? "numeric" : "decimal", value: lines });
  else if (kind.kind === "text") input = el("input", { ...attributes, type: SECRET.has(name) ? "password" : "text", value: lines, autocomplete: "off" });
  else {
    const rows = Math.min(14, Math.max(kind.kind === "long" ? 3 : 2, String(lines).split("\n").length + 1));
    input = el("textarea", { ...attributes, rows, class: kind.kind === "json" ? "code" : null }, lines);
  }
  const problem = el("p", { class: "error", id: `${id}-problem`, hidden: true });
  const hint = kind.kind === "json" ? `${kind.about} As JSON.` : kind.kind === "lines" ? `${kind.about} One per line.` : kind.about;
  const complain = (/** @type {string} */ below, /** @type {string} */ message) => {
    if (below !== path && !below.startsWith(`${path}.`)) return false;
    const place = below.slice(path.length + 1);
    fill(problem, place ? `${place}: ${message}` : message);
    problem.hidden = false;
    input.setAttribute("aria-invalid", "true");
    return true;
  };
  input.addEventListener("input", () => {
    problem.hidden = true;
    input.removeAttribute("aria-invalid");
  });
  const label = el("label", { for: id }, labelOf(name));
  const about = el("p", { class: "hint", id: `${id}-about` }, hint);
  const element = el("div", { class: `field field-${kind.kind}` }, ...(kind.kind === "flag" ? [input, label] : [label, input]), about, problem);
  return { path, element, read: () => readInput(path, kind, input), complain };
}

/** @param {string} path @param {Kind} kind @param {any} input */
function readInput(path, kind, input) {
  if (kind.kind === "flag") return input.checked;
  const text = input.value.trim();
  if (kind.kind === "lines") return text.split("\n").map((/** @type {string} */ line) => line.trim()).filter(Boolean);
  if (text === "") return null;
  return valueOf(path, kind, text);
}

/** The value that a text means. Pure. @param {string} path @param {Kind} kind @param {string} text */
export function valueOf(path, kind, text) {
  if (kind.kind === "number") {
    const number = Number(text);
    if (!Number.isFinite(number)) throw new FieldProblem(path, "This is not a number.");
    return number;
  }
  if (kind.kind !== "json") return text;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new FieldProblem(path, `This is not JSON: ${error instanceof Error ? error.message : error}`);
  }
}

/** A provider and its settings. @param {string} path @param {string} name @param {Kind} kind @param {Record<string, any>} schemas @param {any} value @returns {Field} */
function block(path, name, kind, schemas, value) {
  const choices = kind.choices ?? {};
  const id = `field-${path}-provider`;
  const settings = el("div", { class: "settings" });
  /** @type {Field[]} */
  let fields = [];
  const choose = (/** @type {string} */ provider, /** @type {any} */ given) => {
    const properties = Object.entries(choices[provider]?.properties ?? {}).filter(([key]) => key !== "provider");
    const first = ["model", "voice_id", "speaker"];
    properties.sort(([a], [b]) => Number(first.includes(b)) - Number(first.includes(a)));
    fields = properties.map(([key, schema]) => fieldOf(`${path}.${key}`, schema, schemas, given && key in given ? given[key] : /** @type {any} */ (schema).default));
    fill(settings, ...fields.map(({ element }) => element));
  };
  // Without a choice, the API decides.
  const names = kind.isOptional ? ["", ...Object.keys(choices)] : Object.keys(choices);
  const provider = value?.provider ?? names[0];
  const select = el("select", { id, onchange: () => choose(select.value, select.value === value?.provider ? value : null) },
    ...names.map((each) => el("option", { value: each, selected: each === provider }, each || "default of the API")));
  choose(provider, value);
  const problem = el("p", { class: "error", hidden: true });
  const complain = (/** @type {string} */ below, /** @type {string} */ message) => {
    if (below !== path && !below.startsWith(`${path}.`)) return false;
    if (fields.some((field) => field.complain(below, message))) return true;
    fill(problem, message);
    problem.hidden = false;
    return true;
  };
  const read = () => select.value === "" ? null : ({ provider: select.value, ...Object.fromEntries(fields.map((field) => [field.path.slice(path.length + 1), field.read()])) });
  const element = el("fieldset", {}, el("legend", {}, labelOf(name)), el("p", { class: "hint" }, kind.about),
    el("div", { class: "field" }, el("label", { for: id }, "Provider"), select), problem, settings);
  return { path, element, read, complain };
}
