/** The console in a browser. `NODE_PACKAGES` is the folder with playwright-core and axe-core, `SHOTS` one for screenshots. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, beforeEach, afterEach, test } from "node:test";
import { AGENT, ENDED, HOSTILE, LIVE, many, SOUNDS, soundsOf, TOKEN, wav } from "./fixtures.js";
import { serve } from "./server.js";

const require = createRequire(`${process.env.NODE_PACKAGES}/`);
const { chromium } = require("playwright-core");
const AXE = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];

let browser, server, world, page, faults;

before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
});
after(() => browser?.close());
beforeEach(async () => {
  server = await serve();
  world = server.world;
  await open({});
});
afterEach(async () => {
  await page.context().close();
  await server.stop();
  assert.deepEqual(faults, [], "the page has no error and breaks no policy");
});

async function open(options) {
  await page?.context().close();
  faults = [];
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, timezoneId: "UTC", ...options });
  page = await context.newPage();
  page.setDefaultTimeout(10_000);
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => {
    // A refused request is what some tests are about.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) faults.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(server.url) && !request.url().startsWith("blob:")) faults.push(`a request to ${request.url()}`);
  });
}

async function visit(hash) {
  await page.goto(`${server.url}/console/#token=${TOKEN}&${hash}`);
}

/** Accessibility faults of the page as it is. */
async function axe() {
  const found = await page.evaluate(`${AXE}; axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] })`);
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("; ")}`);
}

async function shot(name) {
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${name}.png` });
}

/** The time of a profile in which scripts ran, or garbage was collected. */
function scriptMs({ nodes, samples, timeDeltas }) {
  const isScript = new Map(nodes.map(({ id, callFrame }) => [id, !["(idle)", "(program)", "(root)"].includes(callFrame.functionName)]));
  return samples.reduce((sum, node, index) => sum + (isScript.get(node) ? timeDeltas[index] : 0), 0) / 1_000;
}

const texts = (selector) => page.locator(selector).allTextContents();

test("a token opens the list, stays out of the address, and ends with the tab", async () => {
  await page.goto(`${server.url}/console/`);
  await page.getByLabel("Token of your account").fill("sk_wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("The API does not know this token.").waitFor();
  assert.deepEqual(await axe(), []);
  await page.getByLabel("Token of your account").fill(TOKEN);
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: /20:14:56/ }).waitFor();
  assert.ok(!page.url().includes("sk_"));
  assert.equal(await page.evaluate("localStorage.length"), 0);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("Token of your account").waitFor();
  assert.equal(await page.evaluate("sessionStorage.length"), 0);
  await visit("/conversations");
  await page.getByRole("link", { name: /20:14:56/ }).waitFor();
  assert.ok(!page.url().includes("sk_"), "a token in the address is taken out of it");
});

test("an empty account is told what to do", async () => {
  world.conversations = [];
  world.agents = [];
  await visit("/conversations");
  await page.getByRole("heading", { name: "No conversation yet" }).waitFor();
  await page.getByRole("link", { name: "Go to the agents" }).click();
  await page.getByRole("heading", { name: "No agent yet" }).waitFor();
  assert.deepEqual(await axe(), []);
});

test("two thousand conversations are listed in 300 ms of script time", async () => {
  world.conversations = many(2_000);
  await page.goto(`${server.url}/console/`);
  const session = await page.context().newCDPSession(page);
  await session.send("Profiler.enable");
  await session.send("Profiler.start");
  await visit("/conversations");
  await page.getByText("2000 of 2000.").waitFor();
  const ms = scriptMs((await session.send("Profiler.stop")).profile);
  assert.ok(ms > 10 && ms < 300, `${Math.round(ms)} ms of script time`);
  assert.ok((await page.locator("tbody tr").count()) < 80, "only the rows in view are in the page");
  await page.locator(".list-scroll").evaluate((scroller) => (scroller.scrollTop = scroller.scrollHeight));
  await page.locator(`#row-${world.conversations.at(-1).id}`).waitFor();
  assert.deepEqual(await axe(), []);
});

test("the list is searched, filtered and sorted by keyboard, and grows", async () => {
  world.conversations = many(60);
  await visit("/conversations");
  await page.getByText("60 of 60.").waitFor();
  await page.getByLabel("Search").fill("+14155551003 ben");
  await page.getByText("1 of 60.").waitFor();
  await page.getByLabel("Search").fill("");
  await page.getByLabel("Type").selectOption("web");
  await page.getByText("20 of 60.").waitFor();
  await page.getByLabel("Cost from ($)").fill("0.03");
  await page.getByText("7 of 60.").waitFor();
  await page.getByLabel("Cost from ($)").fill("");
  await page.getByText("20 of 60.").waitFor();
  assert.ok(!(await page.getByLabel("Answered by").isVisible()), "no call says who answered");
  await page.getByRole("button", { name: "Duration" }).focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("th[aria-sort]").getAttribute("aria-sort"), "descending");
  const seconds = (await texts("tbody td:nth-child(6)")).map((text) => Number(text.split(":")[0]) * 60 + Number(text.split(":")[1]));
  assert.deepEqual(seconds, [...seconds].sort((a, b) => b - a));
  assert.equal(await page.evaluate("document.activeElement.textContent"), "Duration ↓");
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Export CSV" }).click();
  const csv = await readFile(await (await download).path(), "utf8");
  assert.equal(csv.trim().split("\r\n").length, 21);
  world.conversations = many(61);
  await page.getByText("of 61.").waitFor();
});

test("a live call that is no longer among the newest is seen to end", async () => {
  world.conversations = many(150);
  const old = world.conversations[149];
  world.conversations[149] = { ...old, status: "started", ended_at: null, ended_reason: null, cost_breakdown: null };
  await visit("/conversations");
  await page.getByText("150 of 150.").waitFor();
  await page.getByLabel("Status").selectOption("live");
  await page.getByText("1 of 150.").waitFor();
  world.conversations[149] = old;
  await page.getByText("0 of 150.").waitFor();
  await page.getByRole("heading", { name: "No conversation matches" }).waitFor();
});

test("a conversation is shown as text, whatever its words are", async () => {
  await visit(`/conversations/${ENDED}`);
  await page.getByRole("button", { name: "Play", exact: true }).and(page.locator(":enabled")).waitFor();
  assert.equal(await page.locator(".line p", { hasText: "<script>" }).first().textContent(), HOSTILE);
  assert.equal(await page.locator("main img, main script").count(), 0);
  assert.ok((await page.title()).startsWith("Ada, corner bakery"));
  assert.equal(await page.locator(".line-agent del").textContent(), "six in the evening. Can I help you with anything else?");
  await page.getByText(/^1110 ms: transcript 704, model 52, voice 352, sending 2; silence in the recording 11[45]0 ms$/).waitFor();
  await page.getByText("language model openai failed: rate limit; google gemini-3.5-flash serves").first().waitFor();
  const drawn = await page.locator("canvas").evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((value, index) => index % 4 === 3 && value > 0).length;
  });
  assert.ok(drawn > 5_000, `${drawn} pixels are drawn`);
  assert.deepEqual(await axe(), []);
  await shot("conversation-light");
});

test("words and bars are drawn where the recording has their sound", async () => {
  await visit(`/conversations/${ENDED}`);
  await page.getByRole("button", { name: "Play", exact: true }).and(page.locator(":enabled")).waitFor();
  for (let step = 0; step < 8; step++) await page.getByRole("button", { name: "Show more detail" }).click();
  const boxes = await page.locator(".words").evaluateAll((all) => all.map(({ offsetLeft, offsetWidth }) => [offsetLeft, offsetWidth]));
  const sounds = soundsOf(wav());
  const soundAt = ({ role, from, to }) => sounds[role].find((sound) => sound.from < to && sound.to > from);
  // The widest scale: 400 pixels a second.
  boxes.forEach(([left, width], index) => {
    const { from, to } = soundAt(SOUNDS[index]);
    assert.ok(Math.abs(left / 0.4 - from) <= 120 && Math.abs((left + width) / 0.4 - to) <= 120, `${index}: ${left / 0.4} to ${(left + width) / 0.4}, heard ${from} to ${to}`);
  });
  for (const index of [2, 4, 6]) {
    const begins = soundAt(SOUNDS[index]).from;
    const ended = sounds.user.findLast(({ from }) => from < begins).to;
    const drawn = await page.locator(".timeline-scroll").evaluate(async (scroller, place) => {
      scroller.scrollLeft = place;
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      const canvas = scroller.querySelector("canvas");
      const style = getComputedStyle(canvas);
      const colours = ["transcript", "model", "voice", "sending", "onset"].map((name) => style.getPropertyValue(`--part-${name}`).trim());
      const { data } = canvas.getContext("2d").getImageData(0, 189 * devicePixelRatio, canvas.width, 1);
      const isBar = (at) => colours.includes(`#${[...data.slice(at, at + 3)].map((value) => value.toString(16).padStart(2, "0")).join("")}`);
      const pixels = Array.from({ length: canvas.width }, (_, pixel) => pixel).filter((pixel) => isBar(pixel * 4));
      return [pixels[0], pixels.at(-1) + 1].map((pixel) => (pixel / devicePixelRatio + scroller.scrollLeft) / 0.4);
    }, ended * 0.4 - 200);
    assert.ok(Math.abs(drawn[0] - ended) <= 20 && Math.abs(drawn[1] - begins) <= 20, `${index}: ${drawn}, heard ${ended} to ${begins}`);
  }
});

test("the recording is played from a moment of the transcript", async () => {
  await visit(`/conversations/${ENDED}`);
  await page.getByRole("button", { name: "Play", exact: true }).and(page.locator(":enabled")).waitFor();
  await page.getByRole("button", { name: "Play from 0:14" }).click();
  await page.getByRole("button", { name: "Pause" }).waitFor();
  const at = await page.locator("audio").evaluate((audio) => audio.currentTime);
  assert.ok(at >= 13.9 && at < 20, `${at}`);
});

test("an event shows its attempts, and is delivered again", async () => {
  await page.route("**/redeliver", async (route) => {
    const { items } = await (await fetch(`${server.url}/conversations/${ENDED}/events`, { headers: { authorization: `Bearer ${TOKEN}` } })).json();
    const event = items.find(({ data }) => data?.message?.content?.startsWith("Yes, what"));
    await route.fulfill({ json: { ...event, deliveries: event.deliveries.map((each) => ({ ...each, status: "pending" })) } });
  });
  await visit(`/conversations/${ENDED}`);
  const event = page.locator(".events > li", { hasText: "message:sent" }).filter({ hasText: "Yes, what time" });
  await event.locator("summary").click();
  await event.getByText("<b>no</b>").waitFor();
  assert.equal(await event.locator(".delivery b").count(), 0);
  assert.deepEqual(await axe(), []);
  await event.getByRole("button", { name: "Deliver again" }).click();
  await event.locator("summary").getByText("pending").waitFor();
  await event.locator("summary").getByText("pending").waitFor({ state: "detached" });
});

test("a live call grows on its page, and the focus stays", async () => {
  world.liveMs = 5_000;
  await visit(`/conversations/${LIVE}`);
  await page.getByText("Live. The recording is here after the call.").waitFor();
  assert.equal(await page.locator(".line").count(), 1);
  await page.getByRole("button", { name: "End the call" }).focus();
  world.liveMs = 11_500;
  await page.locator(".line").nth(2).waitFor();
  const wide = await page.locator(".timeline-inner").evaluate((inner) => inner.clientWidth);
  assert.ok(wide < 1_300, `a short call fits by itself: ${wide}`);
  assert.equal(await page.evaluate("document.activeElement.textContent"), "End the call");
  const waits = world.requests.filter(({ path, query }) => path === `/conversations/${LIVE}/events` && query.wait);
  assert.ok(waits.length > 0 && waits.every(({ query }) => Number(query.after) > 0), "it waits for later events");
  assert.deepEqual(await axe(), []);
});

test("times are counted from the start, also for events before it", async () => {
  world.liveMs = -500;
  await visit(`/conversations/${LIVE}`);
  await page.locator(".events time").nth(1).waitFor();
  assert.deepEqual(await texts(".events time"), ["0:00.0", "0:02.7"]);
  world.liveMs = 500;
  await page.locator(".events time").nth(2).waitFor();
  assert.deepEqual((await texts(".events time")).slice(0, 3), ["-0:03.6", "-0:00.9", "0:00.0"]);
});

test("the API's error is at the field that is wrong", async () => {
  await visit(`/agents/${AGENT}`);
  await page.getByLabel("Temperature").fill("3");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("Input should be at most 2").waitFor();
  assert.equal(await page.getByLabel("Temperature").getAttribute("aria-invalid"), "true");
  assert.equal(await page.evaluate("document.activeElement.id"), "field-language_model-temperature");
  assert.deepEqual(await axe(), []);
  await page.getByLabel("Temperature").fill("0.5");
  await page.getByLabel("Webhooks").fill("[");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText(/This is not JSON/).waitFor();
  await page.getByLabel("Webhooks").fill("");
  await page.getByLabel("Prompt").fill("Be brief.");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: "Agents" }).waitFor();
  const { body } = world.requests.filter(({ method }) => method === "PATCH").at(-1);
  assert.deepEqual(Object.keys(body).sort(), ["language_model", "prompt", "webhooks"], "only what was changed is sent");
  assert.equal(body.language_model.temperature, 0.5);
});

test("a new agent leaves to the API what was not chosen, and can end its calls", async () => {
  await visit("/agents/new");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("button", { name: "Save" }).waitFor();
  const { body } = world.requests.find(({ method }) => method === "POST");
  assert.deepEqual([body.voice, body.transcriber, body.language_model.provider, body.language_model.model], [null, null, "openai", "gpt-6-luna"]);
  assert.equal(body.hooks[0].instructions[0].instruction, "hang_up");
});

test("a provider's settings are those of its schema", async () => {
  await visit(`/agents/${AGENT}`);
  await page.locator("#field-voice-provider").selectOption("elevenlabs");
  await page.getByLabel("Voice ID").waitFor();
  await page.getByLabel("Stability").waitFor();
});

test("a number gets its agent, and another number is bought", async () => {
  await visit("/numbers");
  await page.getByLabel("Agent that answers +14155550199").selectOption({ label: "Ada, corner bakery" });
  await page.locator("#announcer", { hasText: "Saved" }).waitFor({ state: "attached" });
  assert.equal(world.numbers[0].inbound_agent_id, AGENT);
  await page.getByLabel("Digits that it contains").fill("415");
  await page.getByRole("button", { name: "Search" }).click();
  await page.getByRole("button", { name: "Buy +14155550123" }).click();
  await page.getByRole("rowheader", { name: "+14155550123" }).waitFor();
  assert.deepEqual(await axe(), []);
});

test("a number is imported, and its webhooks are edited", async () => {
  await visit("/numbers");
  await page.getByLabel("Phone number").fill("+14155550177");
  await page.getByLabel("Account sid").fill("12");
  assert.equal(await page.getByLabel("Auth token").getAttribute("type"), "password");
  await page.getByLabel("Auth token").fill("secret-token-1");
  await page.getByRole("button", { name: "Import" }).click();
  await page.getByText("Should be AC and 32 hexadecimal digits").waitFor();
  assert.equal(await page.evaluate("document.activeElement.id"), "field-account_sid");
  assert.deepEqual(await axe(), []);
  await page.getByLabel("Account sid").fill(`AC${"1".repeat(32)}`);
  await page.keyboard.press("Enter");
  await page.getByRole("rowheader", { name: "+14155550177 imported" }).waitFor();
  assert.ok(!(await page.content()).includes("secret-token-1"));

  await page.getByRole("link", { name: "Webhooks of +14155550199: none" }).click();
  await page.getByRole("heading", { name: "+14155550199", level: 1 }).waitFor();
  await page.getByLabel("Webhooks", { exact: true }).fill('[{"method": "POST", "events": ["phone_call:connection_requested"]}]');
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("0.url: Field required").waitFor();
  assert.equal(await page.evaluate("document.activeElement.id"), "field-webhooks");
  assert.deepEqual(await axe(), []);
  await page.getByLabel("Webhooks", { exact: true }).fill('[{"url": "https://a.example", "method": "POST", "events": ["phone_call:connection_requested"]}]');
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("link", { name: "Webhooks of +14155550199: 1" }).waitFor();
  assert.equal(world.numbers[0].webhooks[0].url, "https://a.example");
});

test("limits show their use, and hosts of webhooks their health", async () => {
  await visit("/account");
  await page.getByRole("row", { name: "Live outbound calls 3" }).waitFor();
  await page.getByText("$101.25").first().waitFor();
  const host = page.getByRole("row", { name: "<b>down</b>.example.com:443 paused until" });
  await host.waitFor();
  assert.equal(await page.locator("main b").count(), 0, "a host is text");
  assert.deepEqual(await axe(), []);
  world.account = { ...world.account, limits: { ...world.account.limits, live_calls: { limit: 10, default_limit: 10, used: 4 } } };
  await page.getByRole("row", { name: "Live outbound calls 4" }).waitFor();
  world.webhooksHealth = { in_flight: 0, slots: 10, hosts: [] };
  await visit("/conversations");
  await visit("/account");
  await page.getByRole("heading", { name: "No agent has a webhook" }).waitFor();
});

test("an answer that comes late changes no other page", async () => {
  let answer = () => {};
  const held = new Promise((done) => (answer = () => done(null)));
  await page.route("**/phone_numbers/*", async (route) => {
    await held;
    await route.fulfill({ json: {} });
  });
  page.on("dialog", (dialog) => dialog.accept());
  await visit("/numbers");
  await page.getByRole("button", { name: /^Remove / }).first().click();
  await page.evaluate("location.hash = '#/conversations'");
  await page.locator(".rows, [role=grid], table").first().waitFor();
  const answered = page.waitForResponse("**/phone_numbers/*");
  answer();
  await answered;
  await page.evaluate("new Promise((done) => setTimeout(done))");
  assert.equal(await page.title(), "Conversations · Switchboard");
});

test("a key is added, shown by its end only, and typed unseen", async () => {
  await visit("/credentials");
  await page.getByRole("button", { name: "Add the key" }).click();
  await page.getByText("Input should be a valid string").waitFor();
  assert.equal(await page.getByLabel("API key").getAttribute("type"), "password");
  await page.getByLabel("API key").fill("sk-secret-x7Qf");
  await page.getByRole("button", { name: "Add the key" }).click();
  await page.getByText("… x7Qf").waitFor();
  assert.ok(!(await page.content()).includes("sk-secret"));
  assert.deepEqual(await axe(), []);
});

for (const [name, options] of [["dark", { colorScheme: "dark" }], ["phone", { viewport: { width: 390, height: 844 }, hasTouch: true }]]) {
  test(`every page is accessible and fits: ${name}`, async () => {
    await open(options);
    const pages = [["/conversations", "Conversations"], [`/conversations/${ENDED}`, "Ada, corner bakery"], ["/agents", "Agents"], [`/agents/${AGENT}`, "Ada, corner bakery"], [`/agents/${AGENT}/talk`, "Talk to it"], ["/numbers", "Numbers"], ["/numbers/%2B14155550199", "+14155550199"], ["/credentials", "Credentials"], ["/account", "Account"]];
    for (const [hash, heading] of pages) {
      await visit(hash);
      await page.getByRole("heading", { name: heading, level: 1 }).waitFor();
      if (hash.endsWith(ENDED)) await page.getByRole("button", { name: "Play", exact: true }).and(page.locator(":enabled")).waitFor();
      assert.deepEqual(await axe(), [], hash);
      assert.ok(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), `${hash} is wider than the screen`);
      await shot(`${hash.replaceAll("/", "-").slice(1, 16)}-${name}`);
    }
  });
}
