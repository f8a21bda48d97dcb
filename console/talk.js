// @ts-check
/**
 * Talks with an agent: by the microphone, or by a call to a telephone.
 *
 * @module
 */

import { all, get, request } from "./api.js";
import { announce, el, errorBox, fill } from "./elements.js";
import { agentName } from "./story.js";
import { Call } from "./switchboard.js";

/** The audio worklet as a file: the policy of the page forbids the `blob:` of the client. */
const WORKLET_URL = new URL("./worklet.js", import.meta.url).href;
/** What the page says about each state of a call. */
const STATES = { connecting: "Connecting…", live: "Live: speak.", reconnecting: "The connection broke. Reconnecting…", ended: "The call is over." };

/** @param {HTMLElement} main @param {string} id The agent's. @param {AbortSignal} signal */
export async function showTalk(main, id, signal) {
  const [agent, numbers] = await Promise.all([get(`agents/${id}`, signal), all("phone_numbers", signal)]);
  const name = agentName(agent, id);
  document.title = `Talk to ${name} · Switchboard`;
  const head = el("div", { class: "page-head" }, el("div", {}, el("p", { class: "crumbs" }, el("a", { href: "#/agents" }, "Agents"), " / ", el("a", { href: `#/agents/${id}` }, name)), el("h1", {}, "Talk to it")));
  fill(main, head, el("div", { class: "columns" }, microphone(id, signal), telephone(id, numbers)));
  main.focus({ preventScroll: true });
}

/** @param {string} id @param {AbortSignal} signal */
function microphone(id, signal) {
  /** @type {Call | null} */
  let call = null;
  const state = el("p", { class: "call-state", role: "status" }, "Your browser asks for the microphone. Headphones are best.");
  const words = el("ol", { class: "transcript" });
  const after = el("div");
  const start = el("button", { type: "button", class: "main", onclick: () => void begin() }, "Start talking");
  const mute = el("button", { type: "button", hidden: true, "aria-pressed": "false", onclick: () => {
    if (!call) return;
    call.muted = !call.muted;
    mute.setAttribute("aria-pressed", String(call.muted));
  } }, "Mute");
  const end = el("button", { type: "button", hidden: true, onclick: () => call?.hangUp() }, "Hang up");
  const keys = el("div", { class: "keys", role: "group", "aria-label": "Keys of the telephone", hidden: true },
    ...[..."123456789*0#"].map((key) => el("button", { type: "button", onclick: () => call?.pressKey(key) }, key)));

  const isLive = (/** @type {boolean} */ live) => {
    start.hidden = live;
    for (const control of [mute, end, keys]) control.hidden = !live;
  };
  async function begin() {
    start.disabled = true;
    fill(after);
    fill(words);
    try {
      // Asked for before the call is made: its URL is valid for a minute only.
      const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
      if (!navigator.mediaDevices) throw new Error("The microphone needs HTTPS, or this machine: open the console by https://.");
      const stream = await navigator.mediaDevices.getUserMedia({ audio });
      const release = () => stream.getTracks().forEach((track) => track.stop());
      try {
        fill(state, STATES.connecting);
        const { id: conversation, web_call: web } = await request("POST", "conversations/create_web_call", { agent_id: id }, signal);
        fill(after, el("p", {}, el("a", { href: `#/conversations/${conversation}` }, "Timeline, events and costs of this call")));
        const started = await Call.start(web.url, { workletUrl: WORKLET_URL, microphone: stream });
        if (signal.aborted) {
          started.hangUp();
          release();
          return;
        }
        call = started;
        started.addEventListener("conversation", (event) => show(/** @type {CustomEvent} */ (event).detail));
        started.addEventListener("state", () => {
          fill(state, STATES[started.state]);
          if (started.state !== "ended") return;
          release();
          isLive(false);
          fill(start, "Talk again");
          start.focus();
        });
        fill(state, STATES[started.state]);
        isLive(started.state !== "ended");
        if (started.state !== "ended") end.focus();
        else release();
      } catch (error) {
        release();
        throw error;
      }
    } catch (error) {
      if (!signal.aborted) {
        fill(state, "The call did not start.");
        after.prepend(errorBox(inWords(error)));
      }
    }
    start.disabled = false;
  }
  /** @param {{ name: string, data: any }} event */
  function show({ name, data }) {
    if (name === "function_call:triggered") words.append(el("li", { class: "moment moment-tool" }, `Tool ${data.function.name}`));
    if (name !== "message:sent") return;
    const { role, content, interrupted } = data.message;
    const speaker = role === "agent" ? "Agent" : "You";
    words.append(el("li", { class: `line line-${role}` }, el("div", {}, el("span", { class: "speaker" }, speaker, interrupted && el("span", { class: "hint" }, " interrupted")), el("p", {}, content))));
    announce(`${speaker}: ${content}`);
    words.lastElementChild?.scrollIntoView({ block: "nearest" });
  }
  signal.addEventListener("abort", () => call?.hangUp());
  return el("section", { class: "card", "aria-labelledby": "microphone-title" }, el("h2", { id: "microphone-title" }, "With the microphone"), state,
    el("p", { class: "actions" }, start, mute, end), keys, after, words);
}

/** @param {unknown} error */
function inWords(error) {
  if (!(error instanceof DOMException)) return error;
  if (error.name === "NotAllowedError") return new Error("The browser may not use the microphone. Allow it in the address bar, and try again.");
  if (error.name === "NotFoundError") return new Error("There is no microphone.");
  return error;
}

/** @param {string} id @param {any[]} numbers */
function telephone(id, numbers) {
  const title = el("h2", { id: "telephone-title" }, "With a telephone");
  if (numbers.length === 0) return el("aside", { class: "card", "aria-labelledby": "telephone-title" }, title, el("p", {}, "The account has no number to call from. ", el("a", { href: "#/numbers" }, "Buy one"), "."));
  const from = el("select", { id: "from-number" }, ...numbers.map(({ phone_number: number }) => el("option", { value: number }, number)));
  const to = el("input", { id: "to-number", type: "tel", required: true, autocomplete: "tel", placeholder: "+14155550100", "aria-describedby": "to-hint" });
  const problem = el("div");
  const button = el("button", { type: "submit" }, "Call");
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    button.disabled = true;
    fill(problem);
    try {
      const body = { from_number: from.value, to_number: to.value.trim(), agent_id: id };
      const { id: conversation } = await request("POST", "conversations/create_phone_call", body);
      location.hash = `#/conversations/${conversation}`;
    } catch (error) {
      fill(problem, errorBox(error));
      button.disabled = false;
      to.focus();
    }
  };
  return el("aside", { class: "card", "aria-labelledby": "telephone-title" }, title, el("form", { onsubmit: submit },
    el("div", { class: "field" }, el("label", { for: "to-number" }, "Number to call"), to, el("p", { class: "hint", id: "to-hint" }, "With country code. In local mode +14155550100 is a simulated person.")),
    el("div", { class: "field" }, el("label", { for: "from-number" }, "From"), from), problem, button));
}
