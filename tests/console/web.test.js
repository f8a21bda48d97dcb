/** Web calls in the console that a local stack serves: an interruption, a broken connection, a dead worker. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { breakableLine, speech, useMicrophone } from "./caller.js";
import { soundsOf } from "./fixtures.js";

const require = createRequire(`${process.env.NODE_PACKAGES}/`);
const { chromium } = require("playwright-core");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required"];
const { LOCAL, SHOTS } = process.env;
const GREETING = "Hello, this is Ada from the corner bakery. How can I help you?";
const ANSWER = "On Saturday we close at six in the evening. Can I help you with anything else?";
/** Messages of 20 ms with the agent's audio until it is in the middle of a sentence. */
const MID_SENTENCE = 60;
/** Time limit of what follows in a call. The worker that dies is missed after some seconds. */
const SOON_MS = 60_000;

let stack, line, browser, page, agent, question;
/** What the worker sent to the page: the names of messages, and of events with their role. */
let heard = [];
const faults = [];
const local = async () => JSON.parse(await readFile(LOCAL, "utf8"));

async function api(method, path, body) {
  const headers = { authorization: `Bearer ${stack.token}`, "content-type": "application/json" };
  const answer = await fetch(`${stack.api_url}/${path}`, { method, headers, body: body && JSON.stringify(body) });
  assert.equal(answer.status, 200, `${method} ${path}`);
  return answer.json();
}

before(async () => {
  stack = await local();
  line = await breakableLine(stack.media_url);
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: [...FLAGS, line.flag] });
  agent = await api("POST", "agents", { initial_message: GREETING, prompt: "You are Ada, who works at the corner bakery.", metadata: { name: "Ada" } });
  question = await speech(stack.speech_url, "Good morning, what time do you close on Saturday?");
});
after(async () => {
  await browser?.close();
  await line?.stop();
});
beforeEach(async () => {
  heard = [];
  page = await browser.newPage({ viewport: { width: 1280, height: 860 }, permissions: ["microphone"] });
  page.setDefaultTimeout(SOON_MS);
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource") && !message.text().startsWith("WebSocket connection")) faults.push(message.text());
  });
  page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => {
    const { event, name, data } = JSON.parse(payload);
    heard.push(event === "conversation" ? `${name} ${data?.role ?? data?.message?.role ?? ""}`.trim() : event);
  }));
  await page.addInitScript(useMicrophone);
  await page.goto(`${stack.api_url}/console/#token=${stack.token}&/agents/${agent.id}/talk`);
  await page.getByRole("button", { name: "Start talking" }).click();
  await page.getByText("Live: speak.").waitFor();
});
afterEach(async () => {
  await page.close();
  assert.deepEqual(faults.splice(0), [], "the page has no error and breaks no policy");
});

/** Waits until the messages from the worker are so. */
async function until(what, isSo) {
  const limit = performance.now() + SOON_MS;
  while (!isSo()) {
    assert.ok(performance.now() < limit, `${what} did not happen: ${heard.filter((name) => name !== "media" && name !== "mark").join(", ")}`);
    await page.waitForTimeout(20);
  }
}

/** Waits until the agent is in the middle of what it says after the first `past` messages. */
async function inMidSentence(past = 0) {
  await until("the agent's words", () => heard.slice(past).filter((name) => name === "media").length >= MID_SENTENCE);
}

const say = (words) => page.evaluate((audio) => window.say(audio), words);
const lines = (role) => page.locator(`.transcript .line-${role}`);

/** Asks for the hours after the greeting, and waits until the agent is in the middle of the answer. */
async function ask() {
  await lines("agent").getByText(GREETING).waitFor();
  const past = heard.length;
  await say(question);
  await until("the caller's words", () => heard.slice(past).includes("message:sent user"));
  await inMidSentence(past);
}

/** Opens the page of the call, and returns the call's id. */
async function openConversation() {
  const link = page.getByRole("link", { name: "Timeline, events and costs of this call" });
  const id = (await link.getAttribute("href")).split("/").pop();
  await link.click();
  return id;
}

/** The call went on where it was: the greeting was said once, and the answer is heard to its end. */
async function goesOn() {
  await page.getByText("The connection broke. Reconnecting…").waitFor();
  await page.getByText("Live: speak.").waitFor();
  await lines("agent").getByText(/anything else\?$/).waitFor();
  await page.getByRole("button", { name: "Hang up" }).click();
  await page.getByText("The call is over.").waitFor();
  const id = await openConversation();
  await page.getByText("user ended", { exact: false }).first().waitFor();
  const { messages } = await api("GET", `conversations/${id}`);
  const words = messages.filter(({ role }) => role === "agent").map(({ content }) => content);
  assert.equal(words[0], GREETING);
  assert.equal(words.filter((said) => said.includes("Hello, this is Ada")).length, 1, "the greeting is not repeated");
  const { items } = await api("GET", `conversations/${id}/events?limit=100`);
  assert.equal(items.filter(({ event }) => event === "conversation:started").length, 1);
  await page.locator(".chip-handover").first().waitFor();
  return words.slice(1).join(" ");
}

test("the agent is interrupted, answers, and the page of the call shows it", async () => {
  await inMidSentence();
  await say(question);
  await until("the end of the agent's audio", () => heard.includes("clear"));
  await lines("agent").getByText("interrupted").waitFor();
  await lines("user").getByText(/close on Saturday/i).waitFor();
  await lines("agent").getByText(ANSWER).waitFor();
  await page.getByRole("button", { name: "Hang up" }).click();
  await page.getByText("The call is over.").waitFor();
  const id = await openConversation();
  await page.getByRole("button", { name: "Play", exact: true }).and(page.locator(":enabled")).waitFor();
  await page.locator(".chip-barge-in").first().waitFor();
  assert.match(await lines("agent").first().locator("del").textContent(), /help you\?$/);
  await page.screenshot({ path: `${SHOTS}/web-call.png`, fullPage: true });

  // The sound of the recording, measured apart from the page. A person breathes for half a second in one utterance.
  const { recording_url: url } = await api("GET", `conversations/${id}/recording`);
  const sounds = soundsOf(new Uint8Array(await (await fetch(url)).arrayBuffer()), 600);
  for (let step = 0; step < 10; step++) await page.getByRole("button", { name: "Show more detail" }).click();
  const boxes = await page.locator(".words").evaluateAll((all) => all.map(({ className, offsetLeft, offsetWidth }) => ({ role: className.includes("agent") ? "agent" : "user", from: offsetLeft / 0.4, to: (offsetLeft + offsetWidth) / 0.4 })));
  assert.deepEqual(boxes.map(({ role }) => role), ["agent", "user", "agent"]);
  const places = boxes.map(({ role, from, to }) => sounds[role].find((sound) => sound.from < to && sound.to > from));
  boxes.forEach(({ from, to }, index) => {
    const sound = places[index];
    assert.ok(Math.abs(from - sound.from) <= 120 && Math.abs(to - sound.to) <= 120, `${index}: ${from} to ${to}, heard ${sound.from} to ${sound.to}`);
  });
  const silence = Number(/silence in the recording (\d+) ms/.exec(await page.locator(".latency").textContent())[1]);
  const heardSilence = places[2].from - places[1].to;
  assert.ok(Math.abs(silence - heardSilence) <= 20, `${silence} ms are shown, ${heardSilence} ms are heard`);
});

test("a call goes on after its connection broke", async () => {
  await ask();
  assert.ok(line.count > 0, "the page takes the way that can be cut");
  line.cut();
  assert.equal(await goesOn(), ANSWER, "no word is lost or said twice");
});

test("a call goes on after its worker died", async () => {
  await ask();
  const { media_workers: workers } = await local();
  const holder = workers.find(({ streams }) => streams > 0);
  process.kill(holder.pid, "SIGKILL");
  // A dead worker's last words are estimated: one may be missing.
  assert.match(await goesOn(), /^On Saturday .*anything else\?$/);
});
