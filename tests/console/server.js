/** Serves the files of the console beside an API that answers from memory, with the policy of the real one. */

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import * as fixtures from "./fixtures.js";

const ROOT = new URL("../../", import.meta.url);
const TYPES = { css: "text/css", js: "text/javascript", svg: "image/svg+xml", html: "text/html" };
const VERSION = "0123456789abcdef";

/** @returns What the API has; tests change it. */
function state() {
  return { conversations: [fixtures.conversation], agents: [fixtures.agent], liveMs: 9_000, requests: [], account: fixtures.account, webhooksHealth: fixtures.webhooksHealth, numbers: [{ phone_number: "+14155550199", inbound_agent_id: null, webhooks: [], created_at: "2026-11-30T20:00:00.000Z", telephony: { account_sid: null } }], credentials: [] };
}

/** Starts the server on a free port; returns its address, its state, and how to stop it. */
export async function serve() {
  const world = state();
  const server = createServer((request, response) => {
    answer(world, request, response).catch((error) => response.writeHead(500).end(String(error)));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const url = `http://127.0.0.1:${server.address().port}`;
  world.url = url;
  return { url, world, stop: () => new Promise((done) => (server.closeAllConnections(), server.close(done))) };
}

async function answer(world, request, response) {
  const { pathname, searchParams } = new URL(request.url, world.url);
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  if (pathname.startsWith("/console/")) return file(pathname.slice(9), response);
  if (pathname === "/recording.wav") return response.writeHead(200, { "content-type": "audio/wav" }).end(fixtures.wav());
  const json = (status, body) => response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  if (pathname === "/openapi.json") return json(200, JSON.parse(await readFile(new URL("functions/api/tests/http/openapi.json", ROOT))));
  if (request.headers.authorization !== `Bearer ${fixtures.TOKEN}`) return json(401, { detail: "Unauthorized" });
  const body = chunks.length > 0 ? JSON.parse(Buffer.concat(chunks).toString()) : null;
  world.requests.push({ method: request.method, path: pathname, query: Object.fromEntries(searchParams), body });
  const page = (items) => {
    const [index, limit] = [Number(searchParams.get("index") ?? 1), Number(searchParams.get("limit") ?? 100)];
    return json(200, { items: items.slice((index - 1) * limit, index * limit), index, has_more: items.length > index * limit });
  };
  const [, resource, id, rest] = pathname.split("/");
  if (resource === "conversations" && !id) return page(world.conversations);
  if (resource === "conversations" && rest === "recording") return json(200, { recording_url: `${world.url}/recording.wav` });
  if (resource === "conversations" && id) {
    const find = () => (id === fixtures.LIVE ? fixtures.liveAt(world.liveMs) : { conversation: world.conversations.find((each) => each.id === id), events: fixtures.events });
    if (!find().conversation) return json(404, { detail: "Not found" });
    if (rest !== "events") return json(200, find().conversation);
    const later = () => find().events.slice(Number(searchParams.get("after") ?? 0));
    const until = performance.now() + Number(searchParams.get("wait") ?? 0) * 1_000;
    while (later().length === 0 && find().conversation.status !== "ended" && performance.now() < until) await sleep(50);
    return page(later());
  }
  if (resource === "account") return json(200, id === "webhooks" ? world.webhooksHealth : world.account);
  if (resource === "phone_numbers" && id === "buy" && request.method === "GET") return json(200, [{ phone_number: "+14155550123", postal_code: "94107", iso_country: "US" }]);
  if (resource === "phone_numbers" && id === "buy") world.numbers.push({ ...world.numbers[0], phone_number: body.phone_number });
  if (resource === "phone_numbers" && id === "import") {
    if (!/^AC/.test(body.account_sid)) return json(422, { detail: [{ loc: ["body", "account_sid"], msg: "Should be AC and 32 hexadecimal digits", type: "value_error" }] });
    world.numbers.push({ ...world.numbers[0], phone_number: body.phone_number, telephony: { account_sid: body.account_sid } });
    return json(200, world.numbers.at(-1));
  }
  const number = resource === "phone_numbers" && id && world.numbers.find((each) => each.phone_number === decodeURIComponent(id));
  if (number && request.method === "GET") return json(200, number);
  if (number && request.method === "PATCH" && body.webhooks?.some(({ url }) => !url)) return json(422, { detail: [{ loc: ["body", "webhooks", 0, "url"], msg: "Field required", type: "missing" }] });
  if (resource === "phone_numbers" && request.method === "PATCH") Object.assign(world.numbers[0], body);
  if (resource === "phone_numbers") return request.method === "GET" ? page(world.numbers) : json(200, world.numbers[0]);
  if (resource === "credentials" && request.method === "POST") {
    if (!body.api_key) return json(422, { detail: [{ loc: ["body", "api_key"], msg: "Input should be a valid string", type: "string_type" }] });
    world.credentials.push({ id: "crd_01JD9XQ4T0000000000000000A", provider: body.provider, last4: body.api_key.slice(-4), created_at: "2026-11-30T20:00:00.000Z" });
    return json(200, world.credentials[0]);
  }
  if (resource === "credentials") return page(world.credentials);
  if (resource === "agents" && request.method === "PATCH") {
    if (body?.voice?.model === "") return json(422, {});
    if (body?.language_model?.temperature > 2) return json(422, { detail: [{ loc: ["body", "language_model", "temperature"], msg: "Input should be at most 2", type: "less_than_equal" }] });
    return json(200, fixtures.agent);
  }
  if (resource === "agents" && request.method === "POST") return json(200, fixtures.agent);
  if (resource === "agents") return id ? json(200, fixtures.agent) : page(world.agents);
  return json(404, { detail: "Not found" });
}

async function file(path, response) {
  if (path === "") {
    const html = (await readFile(new URL("console/index.html", ROOT), "utf8")).replaceAll('"./', `"${VERSION}/`);
    return response.writeHead(200, { "content-type": "text/html; charset=utf-8", "content-security-policy": POLICY }).end(html);
  }
  const name = path.split("/").pop();
  const source = name === "switchboard.js" ? "clients/web/switchboard.js" : `console/${name}`;
  const content = await readFile(new URL(source, ROOT)).catch(() => null);
  if (content === null) return response.writeHead(404).end();
  response.writeHead(200, { "content-type": TYPES[name.split(".").pop()] }).end(content);
}

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const { url } = await serve();
  console.log(`${url}/console/#token=${fixtures.TOKEN}`);
}
