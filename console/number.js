// @ts-check
/**
 * One number: its webhooks, which choose the agent of an inbound call.
 *
 * @module
 */

import { ApiError, get, request } from "./api.js";
import { announce, el, errorBox, fill } from "./elements.js";
import { FieldProblem, fieldOf } from "./forms.js";

/** @param {HTMLElement} main @param {string} number E.164. @param {AbortSignal} signal */
export async function showNumber(main, number, signal) {
  fill(main, el("p", { class: "hint" }, "Loading…"));
  const path = `phone_numbers/${encodeURIComponent(number)}`;
  const [document_, stored] = await Promise.all([get("openapi.json", signal), get(path, signal)]);
  document.title = `${number} · Switchboard`;
  const schemas = document_.components.schemas;
  const field = fieldOf("webhooks", schemas.UpdatePhoneNumberInput.properties.webhooks, schemas, stored.webhooks.length > 0 ? stored.webhooks : null);
  const problem = el("div");
  const save = el("button", { type: "submit", class: "main" }, "Save");
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    save.disabled = true;
    fill(problem);
    try {
      await request("PATCH", path, { webhooks: field.read() });
      announce(`Saved: webhooks of ${number}.`);
      if (!signal.aborted) location.hash = "#/numbers";
    } catch (error) {
      if (!signal.aborted) showProblem(error, field, problem);
      save.disabled = false;
    }
  };
  const example = JSON.stringify([{ url: "https://example.com/who-answers", method: "POST", events: ["phone_call:connection_requested"] }], null, 2);
  fill(main, el("form", { class: "agent-form", novalidate: true, onsubmit: submit },
    el("div", { class: "page-head" }, el("div", {}, el("p", { class: "crumbs" }, el("a", { href: "#/numbers" }, "Numbers")), el("h1", {}, number)), el("div", { class: "actions" }, save)),
    problem, field.element,
    el("p", { class: "hint" }, "When the number is called, the webhook has 5 s to answer with ", el("code", {}, '{"agent_id": "agt_…"}'), ", ", el("code", {}, '{"agent_config": {…}}'), " or ", el("code", {}, '{"reject": true}'), ". After anything else the number's agent takes the call. For example:"),
    el("pre", { class: "example", tabindex: 0, "aria-label": "Example of webhooks" }, example)));
  main.focus({ preventScroll: true });
}

/**
 * Shows an error at its field, or above the form.
 * @param {unknown} error @param {import("./forms.js").Field} field @param {HTMLElement} problem
 */
export function showProblem(error, field, problem) {
  const found = error instanceof FieldProblem ? new Map([[error.path, error.message]]) : error instanceof ApiError ? error.fields : new Map();
  const homeless = [...found].filter(([path, message]) => !field.complain(path, message));
  if (found.size === 0 || homeless.length > 0) fill(problem, errorBox(error));
  /** @type {HTMLElement | null | undefined} */
  const wrong = problem.parentElement?.querySelector("[aria-invalid=true]");
  wrong?.focus();
}
