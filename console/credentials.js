// @ts-check
/**
 * The customer's own keys of providers: listed, added, deleted. A key is never shown again.
 *
 * @module
 */

import { all, ApiError, get, request } from "./api.js";
import { announce, dateTime, el, emptyState, errorBox, fill } from "./elements.js";
import { FieldProblem, fieldOf } from "./forms.js";

/** @param {HTMLElement} main @param {AbortSignal} signal */
export async function showCredentials(main, signal) {
  document.title = "Credentials · Switchboard";
  fill(main, el("p", { class: "hint" }, "Loading…"));
  const [document_, credentials] = await Promise.all([get("openapi.json", signal), all("credentials", signal)]);
  const problem = el("div");
  const again = async () => {
    if (!signal.aborted) await showCredentials(main, signal);
  };
  const row = (/** @type {any} */ { id, provider, last4, created_at: created }) => {
    const remove = el("button", { type: "button", class: "quiet", "aria-label": `Delete the key of ${provider} that ends with ${last4}`, onclick: async () => {
      if (!window.confirm("Delete this key? Agents that name it can no longer call.")) return;
      try {
        await request("DELETE", `credentials/${id}`);
        await again();
      } catch (error) {
        fill(problem, errorBox(error));
      }
    } }, "Delete");
    return el("tr", {}, el("th", { scope: "row" }, provider), el("td", {}, `… ${last4}`), el("td", {}, el("code", {}, id)), el("td", { class: "hint" }, dateTime(created)), el("td", {}, remove));
  };
  const names = ["Provider", "Key", "Id, for an agent's credential id", "Since", "Actions"];
  const table = el("div", { class: "card scrolls" }, el("table", { class: "plain" }, el("caption", { class: "unseen" }, "Credentials"),
    el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, ...credentials.map(row))));
  const none = emptyState("No key of your own", el("p", {}, "Agents use the deployment's keys. With a key of your own, that provider bills you directly and costs 0 here."));
  fill(main, el("div", { class: "page-head" }, el("h1", {}, "Credentials")), problem, credentials.length > 0 ? table : none, form(document_.components.schemas, again));
  main.focus({ preventScroll: true });
}

/** @param {Record<string, any>} schemas @param {() => Promise<void>} again */
function form(schemas, again) {
  const field = fieldOf("credential", { $ref: "#/components/schemas/CreateCredentialInput" }, schemas, null);
  const problem = el("div");
  const save = el("button", { type: "submit", class: "main" }, "Add the key");
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    save.disabled = true;
    fill(problem);
    try {
      await request("POST", "credentials", field.read());
      announce("The key is stored.");
      await again();
    } catch (error) {
      const found = error instanceof FieldProblem ? new Map([[error.path, error.message]]) : error instanceof ApiError ? error.fields : new Map();
      const homeless = [...found].filter(([path, message]) => !field.complain(`credential.${path}`, message));
      if (found.size === 0 || homeless.length > 0) fill(problem, errorBox(error));
      save.disabled = false;
    }
  };
  return el("form", { class: "narrow", novalidate: true, autocomplete: "off", onsubmit: submit }, problem, field.element, save);
}
