// @ts-check
/**
 * Agents: the list, and the form of one.
 *
 * @module
 */

import { all, ApiError, get, request } from "./api.js";
import { announce, dateTime, el, emptyState, errorBox, fill } from "./elements.js";
import { FieldProblem, fieldOf } from "./forms.js";
import { agentName } from "./story.js";

/** The order of the form; fields that the API has beyond these follow. */
const ORDER = ["initial_message", "prompt", "disclosure", "language_model", "voice", "transcriber", "max_duration_seconds", "recording", "webhooks", "hooks", "metadata"];

/** The text of a new agent's form. Its tool and hook end the call. */
const SAMPLE = {
  initial_message: "Hello, this is Ada from the corner bakery. How can I help you?",
  prompt: "You are Ada, who works at the corner bakery. Answer in one or two short sentences.",
  language_model: { provider: "openai", tools: [{ type: "function", function: { name: "end_call", description: "Ends the call, after the goodbye." } }] },
  hooks: [{ events: ["function_call:triggered"], filter: "function.name == 'end_call'", instructions: [{ instruction: "hang_up" }] }],
  metadata: { name: "Ada, corner bakery" },
};

/** @param {HTMLElement} main @param {AbortSignal} signal */
export async function showAgents(main, signal) {
  document.title = "Agents · Switchboard";
  fill(main, el("p", { class: "hint" }, "Loading…"));
  const agents = await all("agents", signal);
  const head = el("div", { class: "page-head" }, el("h1", {}, "Agents"), el("div", { class: "actions" }, el("a", { class: "button", href: "#/agents/new" }, "New agent")));
  if (agents.length === 0) {
    fill(main, head, emptyState("No agent yet", el("p", {}, "An agent is a prompt, a voice, a language model and a transcriber. Make one, and talk to it here."), el("a", { class: "button main", href: "#/agents/new" }, "Make an agent")));
  } else fill(main, head, el("ul", { class: "cards" }, ...agents.map(card)));
  main.focus({ preventScroll: true });
}

/** @param {any} agent */
function card(agent) {
  const { id, prompt, language_model: model, voice, transcriber, updated_at: updated } = agent;
  const name = agentName(agent, id);
  const named = (/** @type {any} */ block) => block?.model ?? block?.voice_id ?? block?.speaker ?? block?.provider;
  return el("li", { class: "card" },
    el("h2", {}, el("a", { href: `#/agents/${id}` }, name)),
    el("p", { class: "clamp" }, prompt ?? "No prompt."),
    el("p", { class: "hint" }, [named(model), named(voice), named(transcriber)].filter(Boolean).join(" · ")),
    el("p", { class: "hint" }, `changed ${dateTime(updated)}`),
    el("p", { class: "actions" }, el("a", { class: "button main", href: `#/agents/${id}/talk`, "aria-label": `Talk to ${name}` }, "Talk to it"), el("a", { class: "button", href: `#/agents/${id}`, "aria-label": `Edit ${name}` }, "Edit")));
}

/** @param {HTMLElement} main @param {string} id `new`, or an agent's. @param {AbortSignal} signal */
export async function showAgent(main, id, signal) {
  fill(main, el("p", { class: "hint" }, "Loading…"));
  const isNew = id === "new";
  const [document_, agent] = await Promise.all([get("openapi.json", signal), isNew ? SAMPLE : get(`agents/${id}`, signal)]);
  const schemas = document_.components.schemas;
  const properties = schemas.AgentConfigInput.properties;
  const names = [...ORDER.filter((name) => name in properties), ...Object.keys(properties).filter((name) => !ORDER.includes(name))];
  const fields = names.map((name) => fieldOf(name, properties[name], schemas, name in agent ? agent[name] : properties[name].default));
  // A value that was not touched is not sent: the API knows better what it means.
  const before = new Map(fields.map((field) => [field.path, JSON.stringify(field.read())]));
  const name = isNew ? "New agent" : agentName(agent, id);
  document.title = `${name} · Switchboard`;
  const problem = el("div");
  const save = el("button", { type: "submit", class: "main" }, isNew ? "Create" : "Save");

  /** @param {boolean} everything */
  const values = (everything) => Object.fromEntries(fields.map((field) => [field.path, field.read()]).filter(([path, value]) => everything || JSON.stringify(value) !== before.get(path)));
  /** @param {any} button @param {() => Promise<void>} act */
  const attempt = async (button, act) => {
    button.disabled = true;
    fill(problem);
    try {
      await act();
    } catch (error) {
      if (signal.aborted) return;
      showProblems(error, fields, problem);
    }
    button.disabled = false;
  };
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    void attempt(save, async () => {
      const saved = isNew ? await request("POST", "agents", values(true)) : await request("PATCH", `agents/${id}`, values(false));
      announce("Saved.");
      if (signal.aborted) return;
      location.hash = isNew ? `#/agents/${saved.id}` : "#/agents";
    });
  };
  const duplicate = el("button", { type: "button", onclick: () => attempt(duplicate, async () => {
    const { metadata, ...rest } = values(true);
    const copy = await request("POST", "agents", { ...rest, metadata: { ...metadata, name: `Copy of ${name}` } });
    if (!signal.aborted) location.hash = `#/agents/${copy.id}`;
  }) }, "Duplicate");
  const remove = el("button", { type: "button", class: "quiet", onclick: () => window.confirm("Delete this agent? Its conversations stay.") && attempt(remove, async () => {
    await request("DELETE", `agents/${id}`);
    if (!signal.aborted) location.hash = "#/agents";
  }) }, "Delete");
  const existing = isNew ? [] : [el("a", { class: "button", href: `#/agents/${id}/talk` }, "Talk to it"), duplicate, remove];
  fill(main, el("form", { class: "agent-form", novalidate: true, onsubmit: submit },
    el("div", { class: "page-head" }, el("div", {}, el("p", { class: "crumbs" }, el("a", { href: "#/agents" }, "Agents")), el("h1", {}, name)), el("div", { class: "actions" }, ...existing, save)),
    problem, ...fields.map(({ element }) => element)));
  main.focus({ preventScroll: true });
}

/** Shows each error at its field, and goes to the first one. @param {unknown} error @param {import("./forms.js").Field[]} fields @param {HTMLElement} problem */
function showProblems(error, fields, problem) {
  const found = error instanceof FieldProblem ? new Map([[error.path, error.message]]) : error instanceof ApiError ? error.fields : new Map();
  const homeless = [...found].filter(([path, message]) => !fields.some((field) => field.complain(path, message)));
  if (found.size === 0) fill(problem, errorBox(error));
  else fill(problem, errorBox(homeless.length > 0 ? homeless.map(([path, message]) => `${path}: ${message}`).join("\n") : `${found.size === 1 ? "One field is" : `${found.size} fields are`} wrong.`));
  /** @type {HTMLElement | null | undefined} */
  const wrong = problem.parentElement?.querySelector("[aria-invalid=true]");
  wrong?.focus();
}
