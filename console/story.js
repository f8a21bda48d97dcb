// @ts-check
/**
 * Puts a conversation's messages and events together: words, marks and responses on one time line. Pure.
 *
 * Times are milliseconds since the conversation's start, where its recording begins.
 *
 * @module
 */

/**
 * @typedef {object} Said
 * @property {"agent" | "user"} role
 * @property {string} heard The words that were said; of the agent those that were heard.
 * @property {string} unheard The agent's words that were generated and never heard.
 * @property {number} from
 * @property {number} to
 * @property {boolean} interrupted
 * @property {string} kind Of the agent's words that are no reply: `hold phrase` or `apology`.
 * @property {Latency | null} latency
 *
 * @typedef {object} Latency
 * @property {{ name: string, ms: number }[]} parts
 * @property {number} total The sum of the parts, as the worker measured them.
 * @property {number | null} gap From the end of the caller's words to the agent's first.
 * @property {{ name: string, from: number, to: number }[]} bars The parts in the gap, which they fill.
 *
 * @typedef {object} Mark A moment.
 * @property {number} at
 * @property {"tool" | "note" | "barge-in" | "hold" | "handover" | "stand-in" | "delivery" | "key" | "state"} kind
 * @property {string} text
 * @property {string} [label] The text on the timeline, if it is shorter.
 *
 * @typedef {object} Speech
 * @property {"agent" | "user"} role
 * @property {number} from
 * @property {number} to
 *
 * @typedef {object} Story
 * @property {number} start The time of the start, in milliseconds of the Unix epoch.
 * @property {number} length
 * @property {Said[]} said
 * @property {Mark[]} marks
 * @property {Speech[]} speech
 */

const PARTS = [
  ["transcript", "transcript_ms"],
  ["model", "model_ms"],
  ["voice", "voice_ms"],
  ["sending", "send_ms"],
];

/** A name for an agent, which has none of its own. @param {any} config @param {string | null} id */
export function agentName(config, id) {
  const name = config?.metadata?.name;
  if (name) return String(name);
  const words = (config?.initial_message ?? config?.prompt ?? "").trim();
  if (words === "") return id ?? "agent without a prompt";
  return words.length > 48 ? `${words.slice(0, 47).trimEnd()}…` : words;
}

/** @param {any} conversation @param {any[]} events @returns {Story} */
export function storyOf(conversation, events) {
  const first = conversation.started_at ?? events[0]?.created_at ?? conversation.created_at;
  const start = Date.parse(first);
  const at = (/** @type {string} */ iso) => Date.parse(iso) - start;
  const said = saidIn(events, conversation.messages ?? [], openingOf(conversation.agent_config), at);
  const marks = events.flatMap((event) => marksOf(event, at));
  for (const { role, interrupted, from, to, kind } of said) {
    if (kind) marks.push({ at: from, kind: "hold", text: `The agent says ${kind === "apology" ? "an" : "a"} ${kind}`, label: kind });
    if (role === "agent" && interrupted) marks.push({ at: to, kind: "barge-in", text: "The caller interrupts the agent", label: "barge-in" });
  }
  marks.sort((a, b) => a.at - b.at);
  const speech = speechIn(events, at);
  const last = events.at(-1);
  const end = conversation.ended_at ?? last?.created_at ?? first;
  const length = Math.max(at(end), 0, ...said.map(({ to }) => to));
  return { start, length, said, marks, speech };
}

/** The words with which an agent begins. No model generates them. @param {any} config @returns {string[]} */
function openingOf(config) {
  return [config?.disclosure, config?.initial_message].filter(Boolean);
}

/**
 * The utterances, in the order of their start. A message that is stored and has no event is there, too.
 * @param {any[]} events @param {any[]} messages @param {string[]} opening The words with which the agent begins.
 * @param {(iso: string) => number} at @returns {Said[]}
 */
function saidIn(events, messages, opening, at) {
  /** @type {Said[]} */
  const said = [];
  let begins = opening;
  /** @type {string[]} */
  let generated = [];
  const known = new Set();
  const add = (/** @type {any} */ message, /** @type {any} */ data) => {
    const { role, content, interrupted, started_at: from, ended_at: to } = message;
    known.add(`${role} ${from} ${content}`);
    let unheard = "";
    if (role === "agent") {
      const isOpening = begins.join(" ").startsWith(content);
      if (interrupted) unheard = restOf((isOpening ? begins : generated).join(" "), content);
      // A disclosure is a message of its own, before the greeting.
      begins = content === begins[0] ? begins.slice(1) : [];
      generated = [];
    }
    said.push({ role, heard: content, unheard, from: at(from), to: at(to), interrupted, kind: (data?.kind ?? "").replaceAll("_", " "), latency: latencyOf(data?.latency) });
  };
  for (const { event, data } of events) {
    if (event === "message:generated") generated.push(data.message.content);
    if (event === "message:sent" && data?.message) add(data.message, data);
  }
  for (const message of messages) {
    if (!known.has(`${message.role} ${message.started_at} ${message.content}`)) add(message, undefined);
  }
  said.sort((a, b) => a.from - b.from);
  return withGaps(said);
}

/** The utterances, each latency with its place before the words. @param {Said[]} said @returns {Said[]} */
function withGaps(said) {
  return said.map((each, index) => {
    const before = said.slice(0, index).findLast(({ role }) => role === "user");
    if (!each.latency || !before) return each;
    const gap = each.from - before.to;
    return { ...each, latency: { ...each.latency, gap, bars: barsIn(each.latency.parts, before.to, gap) } };
  });
}

/**
 * Puts the parts of a latency into the gap from `start`. The worker measures from its own sight of the caller's last sound to the first
 * frame that it sends: what is missing at the end is the silence before the voice's first sound, and a part that began before the
 * gap begins with it.
 * @param {{ name: string, ms: number }[]} parts @param {number} start @param {number} gap
 */
export function barsIn(parts, start, gap) {
  if (gap <= 0) return [];
  const end = start + gap;
  let from = Math.min(start, end - parts.reduce((sum, { ms }) => sum + ms, 0));
  const bars = parts.map(({ name, ms }) => ({ name, from: Math.max(start, from), to: Math.max(start, (from += ms)) }));
  if (from < end) bars.push({ name: "onset", from, to: end });
  return bars.filter((bar) => bar.to > bar.from);
}

/** How far from its reported times the sound of an utterance is looked for, in milliseconds: a voice's clip ends in silence. */
const LOOK_AROUND_MS = 400;
/** The part of an utterance's loudest peak above which a bin is speech, and the least such peak. */
const SPEECH_SHARE = 0.05;
const LEAST_PEAK = 4;

/**
 * Places the utterances where the recording has their sound: from the first to the last loud bin. Those without sound keep
 * their place.
 * @param {Story} story @param {import("./recording.js").Peaks} peaks @param {number} bin Length of a bin in milliseconds.
 * @returns {Story}
 */
export function placedByAudio(story, peaks, bin) {
  const lanes = { user: peaks.channels[0], agent: peaks.channels[1] };
  const said = story.said.map((each, index) => {
    const channel = lanes[each.role];
    const others = story.said.filter(({ role }, other) => role === each.role && other !== index);
    // Half of the pause to the next utterance of the same side belongs to each.
    const before = Math.max(...others.filter(({ from }) => from < each.from).map(({ to }) => (Math.min(to, each.from) + each.from) / 2), 0);
    const after = Math.min(...others.filter(({ from }) => from > each.from).map(({ from }) => (Math.min(each.to, from) + from) / 2), Infinity);
    const first = Math.max(0, Math.floor(Math.max(before, each.from - LOOK_AROUND_MS) / bin));
    const last = Math.ceil(Math.min(after, each.to + LOOK_AROUND_MS) / bin);
    const bins = channel?.subarray(first, last) ?? new Uint8Array();
    const level = Math.max(LEAST_PEAK, SPEECH_SHARE * bins.reduce((most, peak) => Math.max(most, peak), 0));
    const begin = bins.findIndex((peak) => peak >= level);
    if (begin < 0) return each;
    const end = bins.findLastIndex((peak) => peak >= level) + 1;
    return { ...each, from: (first + begin) * bin, to: (first + end) * bin };
  });
  return { ...story, said: withGaps(said) };
}

/** @param {any} stages @returns {Latency | null} */
function latencyOf(stages) {
  if (!stages) return null;
  const parts = PARTS.map(([name, key]) => ({ name, ms: stages[key] ?? 0 })).filter(({ ms }) => ms > 0);
  return { parts, total: parts.reduce((sum, { ms }) => sum + ms, 0), gap: null, bars: [] };
}

/**
 * The words that follow the heard ones in the generated text.
 * @param {string} generated @param {string} heard
 */
export function restOf(generated, heard) {
  const plain = (/** @type {string} */ word) => word.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
  const [words, past] = [generated, heard].map((text) => text.split(/\s+/).filter(Boolean));
  let place = 0;
  for (const word of past) {
    // A word that was cut is heard in part.
    const found = words.findIndex((other, index) => index >= place && index < place + 4 && plain(other).startsWith(plain(word)));
    if (found >= 0) place = found + 1;
  }
  return words.slice(place).join(" ");
}

/** @param {any} event @param {(iso: string) => number} at @returns {Mark[]} */
function marksOf({ event, data, notes, created_at: created, deliveries }, at) {
  /** @type {Mark[]} */
  const marks = [];
  const now = at(created);
  if (event === "function_call:triggered") marks.push({ at: now, kind: "tool", text: `Tool ${data?.function?.name ?? ""}` });
  if (event.startsWith("phone_call:")) marks.push({ at: now, kind: "state", text: event.slice(11).replaceAll("_", " ") });
  for (const note of notes ?? []) marks.push({ at: now, ...noteOf(note) });
  for (const { url, attempts } of deliveries ?? []) {
    for (const { at: tried, status, answer } of attempts) {
      const isWell = status >= 200 && status < 300;
      if (!isWell) marks.push({ at: at(tried), kind: "delivery", text: `Webhook ${url} failed: ${status ?? answer ?? "no response"}`, label: `webhook ${status ?? "failed"}` });
    }
  }
  return marks;
}

/** What a note of the event log says. @param {string} text @returns {{ kind: "note" | "handover" | "stand-in", text: string, label?: string }} */
function noteOf(text) {
  if (text.startsWith("the call was taken over")) return { kind: "handover", text, label: "handover" };
  const standIn = /; (.+) serves$/.exec(text);
  return standIn ? { kind: "stand-in", text, label: `${standIn[1]} serves` } : { kind: "note", text };
}

/** The stretches of speech. One that has not ended is left out. @param {any[]} events @param {(iso: string) => number} at */
function speechIn(events, at) {
  /** @type {Speech[]} */
  const speech = [];
  /** @type {Map<"agent" | "user", number>} */
  const open = new Map();
  for (const { event, data, created_at: created } of events) {
    if (event === "speech:started") open.set(data.role, at(created));
    if (event === "speech:ended" && open.has(data.role)) {
      speech.push({ role: data.role, from: open.get(data.role) ?? 0, to: at(created) });
      open.delete(data.role);
    }
  }
  return speech;
}

/**
 * Places texts in rows so that none covers another: the row of each.
 * @param {{ left: number, width: number }[]} boxes In the order of `left`. @param {number} rows @returns {number[]}
 */
export function placeInRows(boxes, rows) {
  const ends = new Array(rows).fill(-Infinity);
  return boxes.map(({ left, width }) => {
    let row = ends.findIndex((end) => end <= left);
    if (row < 0) row = ends.indexOf(Math.min(...ends));
    ends[row] = Math.max(left + width, ends[row]);
    return row;
  });
}
