// @ts-check
/**
 * The API: the token of this tab, requests, errors in words, lists.
 *
 * @module
 */

/** The base URL of the API: these files are at `console/VERSION/`. */
const BASE = new URL("../../", import.meta.url);
const TOKEN = "switchboard.token";
/** Time limit of a request, in milliseconds: that of the gateway. */
const TIMEOUT_MS = 30_000;
/** Attempts of a request that the API's limit of requests refuses. */
const ATTEMPTS = 4;
/** Maximum number of items on a page of a list. */
export const PAGE = 100;

/** An error of the API, in words; `fields` has the messages of a 422 by the path of their field (`voice.model`). */
export class ApiError extends Error {
  /** @param {number} status @param {string} message @param {Map<string, string>} [fields] */
  constructor(status, message, fields = new Map()) {
    super(message);
    this.status = status;
    this.fields = fields;
  }
}

/** @returns {string | null} The token of this tab. */
export function token() {
  return sessionStorage.getItem(TOKEN);
}

/** @param {string | null} value */
export function setToken(value) {
  if (value === null) sessionStorage.removeItem(TOKEN);
  else sessionStorage.setItem(TOKEN, value);
}

/**
 * Sends a request.
 *
 * @param {string} method
 * @param {string} path Without a slash at the start.
 * @param {object} [body]
 * @param {AbortSignal} [signal] Ends the request.
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export async function request(method, path, body, signal) {
  for (let attempt = 1; ; attempt++) {
    const answer = await send(method, path, body, signal);
    if (answer.status !== 429 || attempt === ATTEMPTS || method !== "GET") return read(answer);
    const seconds = Math.min(Number(answer.headers.get("retry-after")) || 1, 5);
    await pause(seconds * 1_000, signal);
  }
}

/** @param {string} path @param {AbortSignal} [signal] */
export function get(path, signal) {
  return request("GET", path, undefined, signal);
}

/**
 * Waits; an ended signal ends it with an error.
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export function pause(ms, signal) {
  return new Promise((done, fail) => {
    if (signal?.aborted) return fail(signal.reason);
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      done();
    }, ms);
    const stop = () => {
      clearTimeout(timer);
      fail(signal?.reason);
    };
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/**
 * @param {string} method @param {string} path @param {object | undefined} body @param {AbortSignal | undefined} signal
 * @returns {Promise<Response>}
 */
async function send(method, path, body, signal) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  const headers = { authorization: `Bearer ${token() ?? ""}`, ...(body ? { "content-type": "application/json" } : {}) };
  try {
    return await fetch(new URL(path, BASE), {
      method,
      headers,
      body: body ? JSON.stringify(body) : undefined,
      cache: "no-store",
      credentials: "omit",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, limit.aborted ? "The API did not answer within 30 s. Try again." : "The API cannot be reached. Is it running?");
  }
}

/** @param {Response} answer */
async function read(answer) {
  const body = await answer.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    if (answer.ok) throw new ApiError(0, "The answer of the API broke off. Try again.");
    return null;
  });
  if (answer.ok && body !== null) return body;
  const id = answer.headers.get("x-request-id");
  const { message, fields } = errorIn(answer.status, body?.detail, id);
  if (answer.status === 401) dispatchEvent(new Event("unauthorized"));
  throw new ApiError(answer.status, message, fields);
}

/**
 * The words of an error.
 *
 * @param {number} status
 * @param {unknown} detail The answer's `detail`: text, or the list of a 422.
 * @param {string | null} requestId
 */
export function errorIn(status, detail, requestId) {
  /** @type {Map<string, string>} */
  const fields = new Map();
  if (Array.isArray(detail)) {
    for (const { loc, msg } of detail) {
      const path = (loc ?? []).filter((/** @type {unknown} */ step) => step !== "body" && step !== "query").join(".");
      fields.set(path, fields.has(path) ? `${fields.get(path)}; ${msg}` : String(msg));
    }
    const message = [...fields].map(([path, msg]) => (path ? `${path}: ${msg}` : msg)).join("\n");
    return { message: message || "The request is not valid.", fields };
  }
  const text = typeof detail === "string" ? detail : `The API answered with ${status}.`;
  const message = status >= 500 && requestId ? `${text} (request ${requestId})` : text;
  return { message: status === 401 ? "The API does not know this token." : message, fields };
}

/**
 * Reads a list page by page and passes on each page.
 *
 * @param {string} path
 * @param {number} limit Maximum number of items.
 * @param {(items: any[], hasMore: boolean) => void} onPage
 * @param {AbortSignal} [signal]
 * @returns {Promise<boolean>} Whether there are more.
 */
export async function pages(path, limit, onPage, signal) {
  for (let index = 1; index * PAGE <= limit; index++) {
    const { items, has_more: hasMore } = await get(`${path}?index=${index}&limit=${PAGE}`, signal);
    onPage(items, hasMore);
    if (!hasMore) return false;
  }
  return true;
}

/** Every item of a short list: at most 1,000. @param {string} path @param {AbortSignal} [signal] */
export async function all(path, signal) {
  /** @type {any[]} */
  const found = [];
  await pages(path, 1_000, (items) => found.push(...items), signal);
  return found;
}
