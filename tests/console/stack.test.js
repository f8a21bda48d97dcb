/** The console that a local stack serves: makes an agent, talks to it, calls with it, and looks at the call. */

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { wav } from "./fixtures.js";

const require = createRequire(`${process.env.NODE_PACKAGES}/`);
const { chromium } = require("playwright-core");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required"];
const { API_URL, LOCAL, TOKEN, SHOTS } = process.env;

let browser, page;
const faults = [];

before(async () => {
  // The browser's own sound beeps, which interrupts the agent.
  const silence = `${SHOTS}/silence.wav`;
  await writeFile(silence, wav(5).fill(0, 44));
  const args = [...FLAGS, `--use-file-for-fake-audio-capture=${silence}`];
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
  page = await browser.newPage({ viewport: { width: 1280, height: 860 }, permissions: ["microphone"] });
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) faults.push(message.text());
  });
});
after(() => browser?.close());

test("an agent is made, talked to, called with, and its call is looked at", async () => {
  // Without the slash, so that the redirect is tested, too.
  await page.goto(`${API_URL}/console#token=${TOKEN}`);
  await page.getByRole("heading", { name: "Conversations", exact: true }).waitFor();
  assert.ok(page.url().startsWith(`${API_URL}/console/`), page.url());
  await page.getByRole("link", { name: "Agents", exact: true }).click();
  await page.getByRole("link", { name: "New agent" }).click();
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("button", { name: "Save" }).waitFor();

  await page.getByRole("link", { name: "Talk to it" }).click();
  await page.getByRole("button", { name: "Start talking" }).click();
  await page.getByText("Live: speak.").waitFor();
  await page.locator(".transcript").getByText("Hello, this is Ada from the corner bakery. How can I help you?").waitFor();
  await page.getByRole("button", { name: "Hang up" }).click();
  await page.getByText("The call is over.").waitFor();

  await page.getByLabel("Number to call").fill("+14155550100");
  await page.getByRole("button", { name: "Call", exact: true }).click();
  await page.locator(".line-agent").first().waitFor();
  await page.locator(".line-user").first().waitFor();
  await page.getByRole("button", { name: "End the call" }).click();
  await page.getByText("agent ended", { exact: false }).first().waitFor();
  await page.getByRole("button", { name: "Play", exact: true }).and(page.locator(":enabled")).waitFor();
  await page.getByRole("table", { name: "Cost" }).waitFor();
  await page.getByText("openai / gpt-6-luna").waitFor();
  await page.getByText("deepgram / aura-2-thalia-en").waitFor();
  await page.getByRole("button", { name: /^Play from/ }).first().click();
  await page.getByRole("button", { name: "Pause" }).waitFor();
  await page.screenshot({ path: `${SHOTS}/stack-conversation.png`, fullPage: true });
  assert.equal(await page.getByText("Played without a waveform.").count(), 0, "the page can read the recording");

  await page.getByRole("link", { name: "Conversations" }).first().click();
  await page.getByText("2 of 2.").waitFor();
  assert.deepEqual(faults.splice(0), [], "the page has no error and breaks no policy");
});

test("a number is imported, and the account's page counts it and the call's cost", async () => {
  const { customers_carrier: own } = JSON.parse(await readFile(LOCAL, "utf8"));
  await page.getByRole("link", { name: "Numbers" }).click();
  await page.getByLabel("Phone number").fill(own.phone_number);
  await page.getByLabel("Account sid").fill(own.account_sid);
  await page.getByLabel("Auth token").fill("wrong");
  await page.getByRole("button", { name: "Import" }).click();
  await page.getByText("The carrier does not accept these credentials").waitFor();
  await page.getByLabel("Auth token").fill(own.auth_token);
  await page.getByRole("button", { name: "Import" }).click();
  await page.getByRole("rowheader", { name: `${own.phone_number} imported` }).waitFor();
  await page.getByRole("link", { name: "Account", exact: true }).click();
  await page.getByRole("row", { name: "Phone numbers 2" }).waitFor();
  await page.getByRole("row", { name: /^Cost of today's calls \$0\.0[1-9]/ }).waitFor();
  await page.getByText("+1 (those of the numbers that it bought)").waitFor();
  await page.getByRole("heading", { name: "No agent has a webhook" }).waitFor();
  await page.screenshot({ path: `${SHOTS}/stack-account.png`, fullPage: true });
  const sizes = await page.evaluate("performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('.js')).map(({ encodedBodySize, decodedBodySize }) => [encodedBodySize, decodedBodySize])");
  assert.ok(sizes.length > 10 && sizes.every(([sent, read]) => sent < read), "files are sent compressed");
  assert.deepEqual(faults, [], "the page has no error and breaks no policy");
});
