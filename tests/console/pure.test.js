/** The parts of the console that need no browser. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";
import { decode } from "../../clients/web/switchboard.js";
import { limitRows } from "../../console/account.js";
import { errorIn } from "../../console/api.js";
import { costRows } from "../../console/costs.js";
import { clock, dollars } from "../../console/elements.js";
import { summaryOf } from "../../console/events.js";
import { kindOf, valueOf } from "../../console/forms.js";
import { BIN_MS, parseWav, peakBetween, peaksInSteps } from "../../console/recording.js";
import { amountIn, csv, filtered, merge, NO_FILTERS, rowOf, sorted } from "../../console/rows.js";
import { agentName, barsIn, placedByAudio, placeInRows, restOf, storyOf } from "../../console/story.js";
import { tickSeconds, wordPlaces } from "../../console/timeline.js";
import { account, conversation, events, liveAt, many, SOUNDS, soundsOf, wav, wavOf } from "./fixtures.js";

const story = storyOf(conversation, events);

test("utterances are in order, with their times from the start", () => {
  assert.equal(story.said.length, 7);
  assert.deepEqual(story.said.slice(0, 2).map(({ role, from, to }) => [role, from, to]), [["agent", 300, 4_100], ["user", 4_900, 7_200]]);
  assert.equal(story.length, 24_600);
});

test("words that were cut off are told apart from heard words", () => {
  const { heard, unheard, interrupted } = story.said[2];
  assert.deepEqual([heard, unheard, interrupted], ["On Saturday we close at", "six in the evening. Can I help you with anything else?", true]);
  assert.equal(story.said[0].unheard, "");
  assert.equal(restOf("We close at six. At six, yes.", "We close at"), "six. At six, yes.");
  assert.equal(restOf("Certainly, one moment", "Certainly, one mo"), "");
  assert.equal(restOf("One two", ""), "One two");
});

test("the parts of a latency add up, beside the silence that was recorded", () => {
  const { latency } = story.said[2];
  assert.equal(latency.parts.reduce((sum, { ms }) => sum + ms, 0), 1_110);
  assert.equal(latency.total, 1_110);
  assert.equal(latency.gap, 1_120);
  assert.deepEqual(latency.parts.map(({ name }) => name), ["transcript", "model", "voice", "sending"]);
});

test("the words of an interrupted greeting are known without the model", () => {
  const config = { disclosure: "This call is recorded.", initial_message: "Hello, this is Ada from the corner bakery." };
  const sent = (content, interrupted, from) => ({ event: "message:sent", created_at: conversation.started_at, deliveries: [], data: { message: { role: "agent", content, interrupted, started_at: new Date(Date.parse(conversation.started_at) + from).toISOString(), ended_at: conversation.started_at } } });
  const unheard = (...messages) => storyOf({ ...conversation, messages: [], agent_config: config }, messages).said.map((said) => said.unheard);
  assert.deepEqual(unheard(sent("This call is recorded.", false, 0), sent("Hello, this", true, 10)), ["", "is Ada from the corner bakery."]);
  assert.deepEqual(unheard(sent("This call is recorded.", false, 0), sent("Hello, this is Ada from the corner bakery.", false, 10), sent("We", true, 20)), ["", "", ""]);
});

test("words are within 120 ms of their sound, and bars within 20 ms", () => {
  const file = wav();
  const placed = placedByAudio(story, [...take(peaksInSteps(parseWav(file.buffer)))].at(-1), BIN_MS);
  // Measured apart from the page, by the millisecond.
  const sounds = soundsOf(file);
  const differences = story.said.map(({ from, to }, index) => Math.max(Math.abs(from - SOUNDS[index].from), Math.abs(to - SOUNDS[index].to)));
  assert.ok(Math.max(...differences) > 250, "what the worker reports is further from the sound");
  placed.said.forEach((said, index) => {
    const sound = sounds[said.role].find(({ from, to }) => from < SOUNDS[index].to && to > SOUNDS[index].from);
    assert.ok(Math.abs(said.from - sound.from) <= 120 && Math.abs(said.to - sound.to) <= 120, `${index}: ${said.from} to ${said.to}, heard ${sound.from} to ${sound.to}`);
    if (!said.latency) return;
    const { bars, gap } = said.latency;
    const ended = sounds.user.findLast(({ from }) => from < sound.from).to;
    assert.ok(Math.abs(bars[0].from - ended) <= 20 && Math.abs(bars.at(-1).to - sound.from) <= 20, JSON.stringify(bars));
    assert.equal(bars.reduce((sum, { from, to }) => sum + to - from, 0), gap);
  });
});

test("the silence between two people's speech is found within 20 ms", async () => {
  const words = await readFile(new URL("../../functions/media/tests/support/wait_a_moment.ulaw", import.meta.url));
  const speech = decode("audio/x-mulaw", words.toString("base64"));
  for (const [volume, pause] of [[1, 700], [0.3, 450], [0.1, 1_203]]) {
    // The caller's words, a pause, and the same words of the agent.
    const [ends, begins] = [1_000 + speech.length / 8, 1_000 + speech.length / 8 + pause];
    const samples = new Int16Array(2 * 8 * 6_000);
    speech.forEach((sample, index) => {
      samples[2 * (8_000 + index)] = sample * volume * 32_767;
      samples[2 * (Math.round(begins * 8) + index) + 1] = sample * 32_767;
    });
    const file = wavOf(samples, 2, 8_000);
    const told = [["user", 1_080, ends + 10], ["agent", begins - 40, begins + speech.length / 8 + 250]];
    const said = told.map(([role, from, to]) => ({ role, heard: "", unheard: "", from, to, interrupted: false, kind: "", latency: role === "agent" ? { parts: [], total: 0, gap: null, bars: [] } : null }));
    const placed = placedByAudio({ start: 0, length: 6_000, said, marks: [], speech: [] }, [...take(peaksInSteps(parseWav(file.buffer)))].at(-1), BIN_MS);
    const sounds = soundsOf(file, 600);
    const silence = sounds.agent[0].from - sounds.user.at(-1).to;
    assert.ok(silence > pause && Math.abs(placed.said[1].latency.gap - silence) <= 20, `${placed.said[1].latency.gap} ms are shown, ${silence} ms are heard`);
  }
});

test("the parts of a latency fill their gap", () => {
  const parts = [{ name: "transcript", ms: 500 }, { name: "model", ms: 100 }];
  assert.deepEqual(barsIn(parts, 1_000, 650), [{ name: "transcript", from: 1_000, to: 1_500 }, { name: "model", from: 1_500, to: 1_600 }, { name: "onset", from: 1_600, to: 1_650 }]);
  assert.deepEqual(barsIn(parts, 1_000, 550), [{ name: "transcript", from: 1_000, to: 1_450 }, { name: "model", from: 1_450, to: 1_550 }], "the caller ended later than the worker saw");
  assert.deepEqual(barsIn(parts, 1_000, 60), [{ name: "model", from: 1_000, to: 1_060 }]);
  assert.deepEqual(barsIn(parts, 1_000, -20), []);
});

test("an utterance without sound keeps its place", () => {
  const silent = { channels: [new Uint8Array(3_000), new Uint8Array(3_000)], length: 30_000 };
  assert.deepEqual(placedByAudio(story, silent, BIN_MS).said.map(({ from, to }) => [from, to]), story.said.map(({ from, to }) => [from, to]));
});

test("barge-in, hold phrases, handovers, stand-ins, tools, notes and failed attempts are moments", () => {
  const kinds = story.marks.map(({ kind }) => kind);
  assert.deepEqual([...new Set(kinds)].sort(), ["barge-in", "delivery", "handover", "hold", "note", "stand-in", "state", "tool"]);
  const labels = story.marks.filter(({ kind }) => ["handover", "hold", "stand-in"].includes(kind)).map(({ at, label }) => [at, label]);
  assert.deepEqual(labels, [[18_360, "google gemini-3.5-flash serves"], [18_360, "handover"], [22_000, "hold phrase"]]);
  const failed = story.marks.filter(({ kind }) => kind === "delivery");
  assert.deepEqual(failed.map(({ at, text }) => [at, text]), [[7_400, "Webhook https://hooks.example.com/calls failed: 500"]]);
  assert.deepEqual(story.marks.map(({ at }) => at), story.marks.map(({ at }) => at).sort((a, b) => a - b));
});

test("a live call has what happened so far", () => {
  const live = liveAt(5_000);
  const so = storyOf(live.conversation, live.events);
  assert.equal(so.said.length, 1);
  assert.deepEqual(so.speech.map(({ role }) => role), ["agent"]);
});

test("a message without an event is not lost", () => {
  const { said } = storyOf(conversation, events.filter(({ event }) => event !== "message:sent"));
  assert.equal(said.length, 7);
});

test("a conversation that never started has a story", () => {
  const silent = { ...conversation, started_at: null, messages: [] };
  const { said, length } = storyOf(silent, []);
  assert.deepEqual([said, Number.isFinite(length)], [[], true]);
});

test("utterances are as wide as their time and do not cover the next", () => {
  const places = wordPlaces(story, 40);
  story.said.forEach((said, index) => {
    const next = story.said.findIndex(({ role }, other) => other > index && role === said.role);
    if (next > 0) assert.ok(places[index].left + places[index].width <= places[next].left);
  });
  assert.equal(places[0].width, (3_800 / 1_000) * 40);
});

test("chips that would overlap are in two rows, and ticks are apart", () => {
  assert.deepEqual(placeInRows([{ left: 0, width: 50 }, { left: 20, width: 50 }, { left: 60, width: 10 }], 2), [0, 1, 0]);
  for (const scale of [0.05, 1, 7, 40, 400]) assert.ok(tickSeconds(scale) * scale >= 60 || tickSeconds(scale) === 1_800);
});

test("a WAV is read, and its peaks are where someone speaks", () => {
  const file = wav();
  const read = parseWav(file.buffer);
  assert.deepEqual([read.rate, read.channels, read.samples.length], [8_000, 2, 24.6 * 8_000 * 2]);
  const steps = [...take(peaksInSteps(read))];
  const { channels, length } = steps.at(-1);
  assert.equal(length, 24_600);
  assert.equal(channels[0].length, 24_600 / BIN_MS);
  assert.ok(peakBetween(channels[0], 5_000, 7_000) > 0.1 && peakBetween(channels[1], 5_000, 7_000) === 0);
  assert.ok(peakBetween(channels[1], 500, 4_000) > 0.1 && peakBetween(channels[0], 500, 4_000) === 0);
});

function* take(generator) {
  for (;;) {
    const { done, value } = generator.next();
    yield value;
    if (done) return;
  }
}

test("a long recording is read in steps", () => {
  const steps = [...take(peaksInSteps(parseWav(wav(120).buffer)))];
  assert.ok(steps.length > 4, `${steps.length} steps`);
});

test("a file that is no WAV, or ends early, is an error or short", () => {
  assert.throws(() => parseWav(new TextEncoder().encode("<?xml version='1.0'?><Error/>").buffer), /not a WAV/);
  assert.throws(() => parseWav(new ArrayBuffer(0)), /not a WAV/);
  assert.throws(() => parseWav(wav(1).buffer.slice(0, 40)), /16-bit/);
  assert.equal(parseWav(wav(1).buffer.slice(0, 47)).samples.length, 0);
});

test("rows are filtered by every filter and every word", () => {
  const rows = many(300).map(rowOf);
  assert.equal(filtered(rows, NO_FILTERS).length, 300);
  assert.equal(filtered(rows, { ...NO_FILTERS, type: "web_call" }).length, 100);
  assert.equal(filtered(rows, { ...NO_FILTERS, type: "web_call", agent: "Ben, front desk" }).length, 50);
  assert.equal(filtered(rows, { ...NO_FILTERS, text: "+14155551003 ADA" }).length, 0);
  assert.equal(filtered(rows, { ...NO_FILTERS, text: "+14155551003 ben" }).length, 1);
  assert.equal(filtered(rows, { ...NO_FILTERS, status: "started" }).length, 0);
});

test("rows are filtered by who answered, by cost and by score", () => {
  const rows = many(100).map((each, index) => rowOf({ ...each, phone_call: each.phone_call && { ...each.phone_call, answered_by: index % 2 ? "machine_start" : null }, quality: index < 10 ? { turn_score: index / 10 } : null }));
  const costs = (cost) => filtered(rows, { ...NO_FILTERS, cost });
  assert.ok(costs("0.03").length > 0 && costs("0.03").every(({ cost }) => cost >= 0.03));
  assert.deepEqual([costs("").length, costs("none").length, costs("$0,049").length], [100, 100, rows.filter(({ cost }) => cost >= 0.049).length]);
  const answered = filtered(rows, { ...NO_FILTERS, answered: "machine start" });
  assert.ok(answered.length > 20 && answered.every(({ type }) => type !== "web_call"));
  assert.equal(rowOf({ ...conversation, phone_call: { ...conversation.phone_call, answered_by: "human", reached: "voicemail" } }).answered, "voicemail");
  assert.equal(filtered(rows, { ...NO_FILTERS, score: "0.45" }).length, 5);
  assert.deepEqual(["1", "1,5", " $2 ", "", "x"].map(amountIn), [1, 1.5, 2, null, null]);
});

test("rows are sorted both ways, those without a value last", () => {
  const rows = [3, null, 1, 2].map((cost, index) => ({ ...rowOf(conversation), id: `cnv_${index}`, cost }));
  const costs = (descending) => sorted(rows, { by: "cost", descending }).map(({ cost }) => cost);
  assert.deepEqual([costs(false), costs(true)], [[1, 2, 3, null], [3, 2, 1, null]]);
});

test("a conversation that ended replaces its live row", () => {
  const known = new Map();
  assert.equal(merge(known, [liveAt(1_000).conversation]), true);
  assert.equal(merge(known, [liveAt(2_000).conversation]), false);
  assert.equal(merge(known, [{ ...conversation, id: liveAt(1).conversation.id }]), true);
  assert.equal([...known.values()][0].status, "ended");
});

test("the CSV keeps commas, quotes and numbers, and runs no formula", () => {
  const row = { ...rowOf(conversation), agent: '=HYPERLINK("http://x"), Ada' };
  const [head, line, rest] = csv([row]).split("\r\n");
  assert.equal(head, "id,created_at,type,status,other_number,own_number,agent,agent_id,seconds,ended_reason,answered_by,turn_score,cost_usd");
  assert.ok(line.includes(`"'=HYPERLINK(""http://x""), Ada"`), line);
  assert.ok(line.includes(",+14155550100,+14155550199,") && line.endsWith(",24.6,agent_ended,,,0.030944"), line);
  assert.equal(rest, "");
  assert.ok(csv([{ ...row, party: "+1+cmd" }]).includes(",'+1+cmd,"));
});

test("cost parts add up to the total", () => {
  const rows = costRows(conversation.cost_breakdown);
  assert.equal(rows.reduce((sum, { cost }) => sum + cost * 1e6, 0).toFixed(0), "30944");
  assert.equal(rows.length, 5);
  assert.equal(costRows({ ...conversation.cost_breakdown, telephony: null }).length, 4);
  assert.ok(costRows({ ...conversation.cost_breakdown, total: 0 }).every(({ share }) => share === 0));
});

test("limits are shown with their use, also beyond the limit", () => {
  const rows = limitRows(account.limits);
  assert.deepEqual(rows[0], { name: "Live outbound calls", used: "3", most: "10", standard: "10", value: 3, max: 10 });
  const byName = (name) => rows.find((row) => row.name.startsWith(name));
  assert.deepEqual([byName("API").most, byName("API").max, byName("Cost").used], ["20, 40 at once", 40, "$101.25"]);
});

test("errors are in words, each at its field", () => {
  const detail = [{ loc: ["body", "voice", "speed"], msg: "Too fast" }, { loc: ["body", "webhooks", 0, "url"], msg: "No URL" }];
  const { fields, message } = errorIn(422, detail, null);
  assert.deepEqual([...fields], [["voice.speed", "Too fast"], ["webhooks.0.url", "No URL"]]);
  assert.equal(message, "voice.speed: Too fast\nwebhooks.0.url: No URL");
  assert.equal(errorIn(503, "Try again", "abc").message, "Try again (request abc)");
  assert.equal(errorIn(500, undefined, null).message, "The API answered with 500.");
});

test("a schema decides the kind of a field", () => {
  const schemas = { Id: { type: "string" }, Tool: { type: "object" }, A: { properties: {} }, Voice: { oneOf: [], discriminator: { mapping: { a: "#/components/schemas/A" } } } };
  const kind = (schema, name = "x") => kindOf(name, schema, schemas).kind;
  assert.equal(kind({ type: ["string", "null"] }), "text");
  assert.equal(kind({ type: ["string", "null"] }, "prompt"), "long");
  assert.equal(kind({ anyOf: [{ $ref: "#/components/schemas/Id" }, { type: "null" }] }), "text");
  assert.equal(kind({ anyOf: [{ type: "number" }, { type: "null" }] }), "number");
  assert.equal(kind({ anyOf: [{ type: "boolean" }, { type: "null" }] }), "flag");
  assert.equal(kind({ type: "array", items: { type: "string" } }), "lines");
  assert.equal(kind({ anyOf: [{ type: "array", items: { $ref: "#/components/schemas/Tool" } }, { type: "null" }] }), "json");
  assert.equal(kind({ anyOf: [{ $ref: "#/components/schemas/Voice" }, { type: "null" }] }), "block");
  assert.throws(() => valueOf("x", kindOf("x", { type: "number" }, {}), "fast"), /not a number/);
  assert.throws(() => valueOf("x", kindOf("x", { type: "object" }, {}), "{"), /not JSON/);
});

test("times, money and names are short", () => {
  assert.deepEqual([clock(65_400), clock(65_460, true), clock(-3_600, true), clock(59_960, true), clock(null)], ["1:05", "1:05.5", "-0:03.6", "1:00.0", ""]);
  assert.deepEqual([dollars(0.030944), dollars(0, 6), dollars(null)], ["$0.0309", "$0.000000", ""]);
  assert.equal(agentName({ initial_message: "x".repeat(80) }, "agt_1").length, 48);
  assert.equal(agentName({ prompt: null }, "agt_1"), "agt_1");
  assert.equal(summaryOf({ event: "function_call:triggered", data: { function: { name: "f", arguments: { a: 1 } } } }), 'f({"a":1})');
});
