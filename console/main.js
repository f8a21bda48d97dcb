// @ts-check
/**
 * The console: signs in, and shows the page that the address names (`#/conversations/{id}`).
 *
 * The token stays in this tab (`sessionStorage`). An address on this machine may bring one (`#token=sk_...`); it is taken out of the
 * address at once.
 *
 * @module
 */

import { showAccount } from "./account.js";
import { showAgent, showAgents } from "./agents.js";
import { ApiError, get, setToken, token } from "./api.js";
import { showConversation } from "./conversation.js";
import { forgetFilters, showConversations } from "./conversations.js";
import { showCredentials } from "./credentials.js";
import { el, errorBox, fill } from "./elements.js";
import { showNumber } from "./number.js";
import { showNumbers } from "./numbers.js";
import { showTalk } from "./talk.js";

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const sections = /** @type {HTMLElement} */ (document.getElementById("sections"));
const signOut = /** @type {HTMLButtonElement} */ (document.getElementById("sign-out"));

/** Ends the page that is shown. */
let shown = new AbortController();

/** @type {[RegExp, (signal: AbortSignal, id: string) => Promise<void>][]} */
const ROUTES = [
  [/^#\/conversations\/(cnv_\w+)$/, (signal, id) => showConversation(main, id, signal)],
  [/^#\/agents\/(agt_\w+|new)$/, (signal, id) => showAgent(main, id, signal)],
  [/^#\/agents\/(agt_\w+)\/talk$/, (signal, id) => showTalk(main, id, signal)],
  [/^#\/agents$/, (signal) => showAgents(main, signal)],
  [/^#\/numbers$/, (signal) => showNumbers(main, signal)],
  [/^#\/numbers\/((?:%2B|\+)\d+)$/, (signal, id) => showNumber(main, decodeURIComponent(id), signal)],
  [/^#\/account$/, (signal) => showAccount(main, signal)],
  [/^#\/credentials$/, (signal) => showCredentials(main, signal)],
  [/^#\/conversations$/, (signal) => showConversations(main, signal)],
];

/**
 * Takes the token out of the address. It signs in on this machine only, whose stack prints such addresses: elsewhere a link must
 * not sign the reader in to another account.
 */
function takeToken() {
  const [, given, path] = /^#token=(sk_\w+)(.*)$/.exec(location.hash) ?? [];
  if (!given) return;
  if (["127.0.0.1", "localhost", "[::1]"].includes(location.hostname)) setToken(given);
  history.replaceState(null, "", path.startsWith("&") ? `#${path.slice(1)}` : "#/conversations");
}

async function route() {
  takeToken();
  shown.abort(new DOMException("another page is shown", "AbortError"));
  shown = new AbortController();
  const { signal } = shown;
  const isSignedIn = token() !== null;
  sections.hidden = signOut.hidden = !isSignedIn;
  if (!isSignedIn) return showSignIn();
  for (const [pattern, show] of ROUTES) {
    const found = pattern.exec(location.hash);
    if (!found) continue;
    for (const link of sections.querySelectorAll("a")) {
      if (location.hash.startsWith(link.getAttribute("href") ?? "")) {
        link.setAttribute("aria-current", "page");
        // On a phone the sections may be wider than the screen.
        link.scrollIntoView({ block: "nearest", inline: "nearest" });
      } else link.removeAttribute("aria-current");
    }
    scrollTo(0, 0);
    try {
      await show(signal, found[1]);
    } catch (error) {
      if (!signal.aborted && token() !== null) fill(main, errorBox(describe(error)), el("a", { href: "#/conversations" }, "Conversations"));
    }
    return;
  }
  location.replace("#/conversations");
}

/** @param {unknown} error */
function describe(error) {
  return error instanceof ApiError && error.status === 404 ? new Error("This account does not have it. It may have been deleted.") : error;
}

/** @param {unknown} [error] */
function showSignIn(error) {
  document.title = "Sign in · Switchboard";
  const input = el("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true, placeholder: "sk_…", "aria-describedby": "token-hint" });
  const problem = el("div", {}, error ? errorBox(error) : null);
  const button = el("button", { type: "submit", class: "main" }, "Sign in");
  const signIn = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const given = input.value.trim();
    if (!/^[\x21-\x7e]+$/.test(given)) return fill(problem, errorBox(new Error("This is not a token: it begins with sk_.")));
    button.disabled = true;
    setToken(given);
    try {
      await get("conversations?limit=1");
      await route();
    } catch (failure) {
      if (token() !== null) {
        setToken(null);
        showSignIn(failure);
      }
    }
  };
  fill(main, el("form", { class: "card sign-in", onsubmit: signIn }, el("h1", {}, "Sign in"), problem, el("label", { for: "token" }, "Token of your account"), input,
    el("p", { class: "hint", id: "token-hint" }, "It stays in this tab and is sent to this API only. ", el("code", {}, "cargo run"), " prints one; on a deployed stack ", el("code", {}, "switchboard tokens"), " makes one."), button));
  input.focus();
}

addEventListener("hashchange", () => void route());
addEventListener("unauthorized", () => {
  const wasSignedIn = token() !== null;
  setToken(null);
  forgetFilters();
  shown.abort(new DOMException("signed out", "AbortError"));
  sections.hidden = signOut.hidden = true;
  if (wasSignedIn) showSignIn(new Error("The API does not know this token."));
});
signOut.addEventListener("click", () => {
  setToken(null);
  forgetFilters();
  void route();
});
// A plain link would change the address, which names the page.
document.getElementById("skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  main.focus({ preventScroll: true });
});
void route();
