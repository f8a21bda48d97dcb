// @ts-check
/**
 * The account's numbers: the agent of each, buying or importing one, giving one back.
 *
 * @module
 */

import { all, get, request } from "./api.js";
import { announce, dateTime, el, emptyState, errorBox, fill } from "./elements.js";
import { fieldOf } from "./forms.js";
import { showProblem } from "./number.js";
import { agentName } from "./story.js";

/** @param {HTMLElement} main @param {AbortSignal} signal */
export async function showNumbers(main, signal) {
  document.title = "Numbers · Switchboard";
  fill(main, el("p", { class: "hint" }, "Loading…"));
  const [document_, numbers, agents] = await Promise.all([get("openapi.json", signal), all("phone_numbers", signal), all("agents", signal)]);
  const problem = el("div");
  const again = async () => {
    if (!signal.aborted) await showNumbers(main, signal);
  };
  const rows = numbers.map((number) => row(number, agents, problem, again));
  const names = ["Number", "Inbound calls go to", "Webhooks", "Since", "Actions"];
  const table = el("div", { class: "card scrolls" }, el("table", { class: "plain" }, el("caption", { class: "unseen" }, "Numbers"),
    el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, ...rows)));
  const none = emptyState("No number yet", el("p", {}, "Agents call from a number, and are called on one. Buy one below, or import one of your own account at the carrier."));
  fill(main, el("div", { class: "page-head" }, el("h1", {}, "Numbers")), problem, numbers.length > 0 ? table : none, el("div", { class: "pair" }, purchase(signal, again), importing(document_.components.schemas, again)));
  main.focus({ preventScroll: true });
}

/** @param {any} number @param {any[]} agents @param {HTMLElement} problem @param {() => Promise<void>} again */
function row({ phone_number: number, inbound_agent_id: inbound, webhooks, created_at: created, telephony }, agents, problem, again) {
  const path = `phone_numbers/${encodeURIComponent(number)}`;
  let saved = inbound ?? "";
  const known = agents.map((agent) => el("option", { value: agent.id, selected: agent.id === inbound }, agentName(agent, agent.id)));
  const deleted = inbound && !agents.some(({ id }) => id === inbound) ? el("option", { value: inbound, selected: true }, `${inbound} (deleted)`) : null;
  const select = el("select", { "aria-label": `Agent that answers ${number}`, onchange: async () => {
    fill(problem);
    try {
      await request("PATCH", path, { inbound_agent_id: select.value || null });
      saved = select.value;
      announce(`Saved: calls to ${number}.`);
    } catch (error) {
      fill(problem, errorBox(error));
      select.value = saved;
    }
  } }, el("option", { value: "" }, webhooks.length > 0 ? "the webhook's choice" : "no agent: they are rejected"), deleted, ...known);
  const remove = el("button", { type: "button", class: "quiet", "aria-label": `Remove ${number}`, onclick: async () => {
    if (!window.confirm(`Remove ${number} from this account? It stays with the deployment, which gives it to the next purchase that it fits.`)) return;
    try {
      await request("DELETE", path);
      await again();
    } catch (error) {
      fill(problem, errorBox(error));
    }
  } }, "Remove");
  return el("tr", {}, el("th", { scope: "row" }, number, telephony?.account_sid ? el("span", { class: "hint" }, " imported") : null),
    el("td", {}, select), el("td", {}, el("a", { href: `#/numbers/${encodeURIComponent(number)}`, "aria-label": `Webhooks of ${number}: ${webhooks.length || "none"}` }, webhooks.length === 0 ? "add" : webhooks.length)), el("td", { class: "hint" }, dateTime(created)), el("td", {}, remove));
}

/** @param {AbortSignal} signal @param {() => Promise<void>} again */
function purchase(signal, again) {
  const digits = el("input", { id: "digits", type: "text", inputmode: "tel", placeholder: "415", "aria-describedby": "digits-hint" });
  const found = el("ul", { class: "sale" });
  const search = async (/** @type {Event} */ event) => {
    event.preventDefault();
    fill(found, el("li", { class: "hint" }, "Searching…"));
    try {
      const contains = digits.value.trim() ? `&contains=${encodeURIComponent(digits.value.trim())}` : "";
      const numbers = await get(`phone_numbers/buy?limit=10${contains}`, signal);
      fill(found, ...numbers.map(offer), numbers.length === 0 && el("li", { class: "hint" }, "No such number is on sale."));
    } catch (error) {
      if (!signal.aborted) fill(found, el("li", {}, errorBox(error)));
    }
  };
  /** @param {any} number */
  function offer({ phone_number: number, postal_code: place, iso_country: country }) {
    const buy = el("button", { type: "button", "aria-label": `Buy ${number}`, onclick: async () => {
      buy.disabled = true;
      try {
        await request("POST", "phone_numbers/buy", { phone_number: number });
        announce(`${number} is bought.`);
        await again();
      } catch (error) {
        buy.disabled = false;
        buy.after(errorBox(error));
      }
    } }, "Buy");
    return el("li", {}, el("span", {}, number), el("span", { class: "hint" }, [place, country].filter(Boolean).join(", ")), buy);
  }
  return el("section", { class: "card", "aria-labelledby": "buy-title" }, el("h2", { id: "buy-title" }, "Buy a number"),
    el("form", { class: "inline", onsubmit: search }, el("div", { class: "field" }, el("label", { for: "digits" }, "Digits that it contains"), digits, el("p", { class: "hint", id: "digits-hint" }, "Empty: any number. * stands for any one digit.")), el("button", { type: "submit" }, "Search")), found);
}

/** @param {Record<string, any>} schemas @param {() => Promise<void>} again */
function importing(schemas, again) {
  const properties = schemas.ImportPhoneNumberInput.properties;
  const fields = ["phone_number", "account_sid", "auth_token"].map((name) => fieldOf(name, properties[name], schemas, null));
  const problem = el("div");
  const button = el("button", { type: "submit" }, "Import");
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    button.disabled = true;
    fill(problem);
    try {
      const { phone_number: number } = await request("POST", "phone_numbers/import", Object.fromEntries(fields.map((field) => [field.path, field.read()])));
      announce(`${number} is imported.`);
      await again();
    } catch (error) {
      showProblem(error, { path: "", element: form, read: () => null, complain: (path, message) => fields.some((field) => field.complain(path, message)) }, problem);
      button.disabled = false;
    }
  };
  const form = el("form", { novalidate: true, autocomplete: "off", onsubmit: submit }, problem, ...fields.map(({ element }) => element), button);
  return el("section", { class: "card", "aria-labelledby": "import-title" }, el("h2", { id: "import-title" }, "Import a number"),
    el("p", { class: "hint" }, "A number of your own account at the carrier. Its calls then come here, and the carrier bills you directly."), form);
}
