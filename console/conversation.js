// @ts-check
/**
 * The page of one conversation: timeline, recording, transcript, costs, events. The page of a live call grows.
 *
 * @module
 */

import { ApiError, get, PAGE, pause, request } from "./api.js";
import { costTable } from "./costs.js";
import { announce, badge, clock, dateTime, el, errorBox, fill } from "./elements.js";
import { EventLog } from "./events.js";
import { Player } from "./player.js";
import { BIN_MS, parseWav, peaksOf } from "./recording.js";
import { TYPES } from "./rows.js";
import { agentName, placedByAudio, storyOf } from "./story.js";
import { Timeline } from "./timeline.js";

/** Shortest time between two looks, in milliseconds. */
const LOOK_MS = 1_000;
/** Longest wait for a live call's next event, in seconds. Then its status and the deliveries of the last page of events are read again. */
const WAIT_SECONDS = 5;
/** How long deliveries and the recording are looked for after the end of a call, in milliseconds. */
const SETTLING_MS = 20_000;
/**
 * Largest recording whose waveform is drawn, in bytes: half an hour of a phone call, 17 minutes of a web call. Longer ones are
 * played only.
 */
const MAX_BYTES = 64 * 1024 * 1024;
/** Maximum number of events that are shown. */
const MAX_EVENTS = 10_000;

/**
 * Shows a conversation until `signal` ends.
 * @param {HTMLElement} main @param {string} id @param {AbortSignal} signal
 */
export async function showConversation(main, id, signal) {
  fill(main, el("p", { class: "hint" }, "Loading…"));
  const page = new ConversationPage(id, signal);
  await page.refresh();
  fill(main, page.element);
  main.focus({ preventScroll: true });
  await page.follow();
}

class ConversationPage {
  /** @param {string} id @param {AbortSignal} signal */
  constructor(id, signal) {
    this.id = id;
    this.signal = signal;
    /** @type {any} */
    this.conversation = null;
    /** @type {any[]} */
    this.events = [];
    this.start = 0;
    this.shownHeading = "";
    this.shownWords = "";
    this.blob = "";
    /** @type {import("./recording.js").Peaks | null} */
    this.peaks = null;
    this.isSettling = false;
    this.isFollowing = false;
    /** @type {number | null} */
    this.settlesUntil = null;
    this.hasRecording = false;
    this.head = el("div", { class: "page-head" });
    this.length = el("span");
    this.problem = el("div");
    this.player = new Player(0);
    this.timeline = new Timeline((ms) => this.player.seek(ms));
    this.transcript = el("ol", { class: "transcript" });
    this.side = el("aside", { "aria-label": "Details" });
    this.log = new EventLog(id, (event) => this.#settleAgain(event));
    this.player.addEventListener("moved", () => this.timeline.moveCursor(this.player.at, !this.player.audio.paused));
    this.element = el("div", { class: "conversation" },
      this.head, this.problem,
      el("section", { class: "card", "aria-label": "Timeline and recording" },
        el("div", { class: "timeline-head" }, this.player.element, legend(), this.timeline.controls), this.timeline.element),
      el("div", { class: "columns" },
        el("section", { "aria-labelledby": "transcript-title" }, el("h2", { id: "transcript-title" }, "Transcript"), this.transcript), this.side),
      this.log.element);
    signal.addEventListener("abort", () => this.#close());
  }

  get isLive() {
    return this.conversation.status !== "ended";
  }

  /** Reads the conversation, and its events from the page of the first one that may have changed. */
  async refresh() {
    const first = this.isSettling ? 1 : Math.floor(this.events.length / PAGE) + 1;
    const conversation = await get(`conversations/${this.id}`, this.signal);
    /** @type {any[]} */
    const found = [];
    const kept = this.events.slice(0, (first - 1) * PAGE);
    while (kept.length + found.length < MAX_EVENTS) {
      const page = await this.#eventsAfter(kept.length + found.length, `limit=${PAGE}`);
      found.push(...page.items);
      if (!page.has_more) break;
    }
    const before = this.events.length;
    const changed = found.filter((event, index) => JSON.stringify(event) !== JSON.stringify(this.events[kept.length + index]));
    const isNew = this.conversation === null || conversation.status !== this.conversation.status || changed.length > 0;
    this.conversation = conversation;
    this.events = [...kept, ...found];
    if (isNew) this.#show(changed);
    if (before > 0) this.#say(found.slice(before - kept.length));
  }

  /** Events are numbered from 1 without gaps. @param {number} sequence @param {string} query */
  #eventsAfter(sequence, query) {
    return get(`conversations/${this.id}/events?after=${sequence}&${query}`, this.signal);
  }

  /** Waits until a live call has another event, or it is time to look again. */
  async #nextEvent() {
    if (this.events.length >= MAX_EVENTS) return pause(WAIT_SECONDS * 1_000, this.signal);
    await this.#eventsAfter(this.events.length, `limit=1&wait=${WAIT_SECONDS}`);
  }

  /** Looks for the outcome of a delivery that was asked for again. @param {any} event */
  #settleAgain(event) {
    this.events = this.events.map((other) => (other.id === event.id ? event : other));
    // The page of a live call looks anyway.
    if (this.isLive) return;
    this.settlesUntil = performance.now() + SETTLING_MS;
    // It ends with the page.
    if (!this.isFollowing) this.follow().catch((error) => this.signal.aborted || fill(this.problem, errorBox(error)));
  }

  /** Looks again while the call is live, and for a while after it. */
  async follow() {
    this.isFollowing = true;
    for (;;) {
      if (!this.isLive) {
        // By no more than this if the clocks differ.
        const age = Math.max(0, Date.now() - Date.parse(this.conversation.ended_at));
        this.settlesUntil ??= performance.now() + Math.max(1, SETTLING_MS - age);
        this.isSettling = true;
        if (!this.hasRecording) await this.#loadRecording();
        if (performance.now() >= this.settlesUntil) {
          this.isFollowing = false;
          return;
        }
      }
      // Then all its events are read again: a long call less often.
      const pagesOfEvents = Math.ceil(this.events.length / PAGE);
      if (!this.isLive) await pause(Math.min(SETTLING_MS, (2 + pagesOfEvents) * LOOK_MS), this.signal);
      try {
        if (this.isLive) {
          await pause(document.hidden ? WAIT_SECONDS * 1_000 : LOOK_MS, this.signal);
          await this.#nextEvent();
        }
        await this.refresh();
        fill(this.problem);
      } catch (error) {
        this.signal.throwIfAborted();
        if (error instanceof ApiError && (error.status === 401 || error.status === 404)) throw error;
        fill(this.problem, errorBox(error));
        await pause(LOOK_MS, this.signal);
      }
    }
  }

  /** @param {any[]} changed */
  #show(changed) {
    const { conversation } = this;
    const told = storyOf(conversation, this.events);
    const story = this.peaks ? placedByAudio(told, this.peaks, BIN_MS) : told;
    // Times before the start were counted from the first event.
    const shown = this.start === story.start ? changed : this.events;
    this.start = story.start;
    document.title = `${agentName(conversation.agent_config, conversation.agent_id)} · Switchboard`;
    // An unchanged part is left alone, so that the focus stays where it is.
    const heading = `${conversation.status} ${conversation.ended_at}`;
    if (this.shownHeading !== heading) {
      fill(this.head, ...this.#heading());
      fill(this.side, ...this.#details());
    }
    this.shownHeading = heading;
    fill(this.length, conversation.started_at ? ` · ${clock(story.length)}` : "");
    this.timeline.show(story);
    if (!this.player.isLoaded) {
      this.player.length = story.length;
      this.player.say(this.isLive ? "Live. The recording is here after the call." : conversation.agent_config.recording === false ? "Not recorded." : "");
    }
    const said = JSON.stringify([story.said, story.marks, this.isLive]);
    if (this.shownWords !== said) {
      const none = el("li", { class: "hint" }, this.isLive ? "No words yet." : "Nothing was said.");
      fill(this.transcript, ...this.#lines(story), story.said.length === 0 ? none : null);
    }
    this.shownWords = said;
    this.log.show(shown, this.start);
  }

  #heading() {
    const { type, status, phone_call: call, agent_config: config, agent_id: agentId, ended_reason: reason } = this.conversation;
    const end = this.isLive && el("button", { type: "button", onclick: () => this.#act(end, "POST", `conversations/${this.id}/end`) }, "End the call");
    const confirm = () => window.confirm("Delete this conversation with its messages, recording and events?");
    const remove = !this.isLive && el("button", { type: "button", class: "quiet", onclick: () => confirm() && this.#act(remove, "DELETE", `conversations/${this.id}`) }, "Delete");
    const numbers = call ? `${call.from_number} → ${call.to_number}` : "browser";
    const name = agentName(config, agentId);
    return [
      el("div", {}, el("p", { class: "crumbs" }, el("a", { href: "#/conversations" }, "Conversations")), el("h1", {}, name),
        el("p", { class: "facts" }, badge(status), " ", [TYPES[type] ?? type, numbers, dateTime(this.conversation.created_at), reason?.replaceAll("_", " ")].filter(Boolean).join(" · "), this.length)),
      el("div", { class: "actions" }, end, remove),
    ];
  }

  /** @param {any} button @param {string} method @param {string} path */
  async #act(button, method, path) {
    button.disabled = true;
    try {
      await request(method, path);
      if (method !== "DELETE") announce("The call ends.");
      else if (!this.signal.aborted) location.hash = "#/conversations";
    } catch (error) {
      fill(this.problem, errorBox(error));
      button.disabled = false;
    }
  }

  /** The transcript: utterances and moments in one order. @param {import("./story.js").Story} story */
  #lines(story) {
    const marks = story.marks.filter(({ kind }) => kind !== "barge-in" && kind !== "hold");
    const items = [
      ...story.said.map((said) => ({ at: said.from, line: () => this.#line(said) })),
      ...marks.map(({ at, kind, text }) => ({ at, line: () => el("li", { class: `moment moment-${kind}` }, el("span", { class: "at" }, clock(at)), el("span", {}, text)) })),
    ].sort((a, b) => a.at - b.at);
    return items.map(({ line }) => line());
  }

  /** @param {import("./story.js").Said} said */
  #line({ role, heard, unheard, from, interrupted, kind, latency }) {
    const speaker = role === "agent" ? "Agent" : "Caller";
    const at = el("button", { type: "button", class: "at", "aria-label": `Play from ${clock(from)}`, onclick: () => this.player.playFrom(from) }, clock(from));
    const words = el("p", {}, heard);
    if (unheard) words.append(" ", el("span", { class: "unseen" }, "Never heard: "), el("del", {}, unheard));
    return el("li", { class: `line line-${role}` }, at, el("div", {},
      el("span", { class: "speaker" }, speaker, kind && el("span", { class: "hint" }, ` ${kind}`), interrupted && el("span", { class: "hint" }, " interrupted")), words, latency && latencyBar(latency)));
  }

  #details() {
    const { cost_breakdown: cost, agent_config: config, agent_id: agentId } = this.conversation;
    const fact = (/** @type {string} */ name, /** @type {any} */ value) => (value ? [el("dt", {}, name), el("dd", {}, value)] : []);
    const model = (/** @type {any} */ block) => [block?.provider, block?.model ?? block?.voice_id ?? block?.speaker].filter(Boolean).join(" / ");
    const facts = el("dl", {},
      ...fact("Agent", agentId && el("a", { href: `#/agents/${agentId}` }, agentId)),
      ...fact("Language model", model(config.language_model)), ...fact("Voice", model(config.voice)), ...fact("Transcriber", model(config.transcriber)),
      ...fact("Tools", config.language_model?.tools?.map((/** @type {any} */ tool) => tool.function.name).join(", ")),
      ...fact("Webhooks", config.webhooks?.length), ...fact("Conversation", this.id));
    const served = cost?.served_by?.map((/** @type {any} */ part) => el("li", {}, `${part.role.replaceAll("_", " ")}: ${part.provider} ${part.model}`));
    return [el("h2", {}, "Details"), facts, cost ? costTable(cost) : el("p", { class: "hint" }, "The cost is here after the call."),
      served?.length > 0 && el("details", {}, el("summary", {}, "Providers that served"), el("ul", {}, ...served))];
  }

  async #loadRecording() {
    if (this.conversation.agent_config.recording === false || !this.conversation.started_at) return;
    let url = "";
    try {
      url = (await get(`conversations/${this.id}/recording`, this.signal)).recording_url;
      this.hasRecording = true;
      this.player.say("Loading the recording…");
      const answer = await fetch(url, { signal: this.signal, credentials: "omit" }).catch(() => null);
      this.signal.throwIfAborted();
      if (answer === null || !answer.ok || Number(answer.headers.get("content-length")) > MAX_BYTES) {
        await answer?.body?.cancel();
        this.player.load(url);
        this.player.say("Played without a waveform.");
        return;
      }
      const buffer = await answer.arrayBuffer();
      const peaks = await peaksOf(parseWav(buffer), this.signal);
      this.blob = URL.createObjectURL(new Blob([buffer], { type: "audio/wav" }));
      this.player.load(this.blob, peaks.length);
      this.player.say("");
      this.timeline.showPeaks(peaks);
      this.peaks = peaks;
      this.#show([]);
    } catch (error) {
      this.signal.throwIfAborted();
      if (this.hasRecording) this.player.load(url);
      const isNotYet = error instanceof ApiError && (error.status === 404 || error.status === 409);
      this.player.say(isNotYet ? "There is no recording yet." : error instanceof Error ? error.message : String(error));
    }
  }

  /** Says new words of a live call. @param {any[]} events */
  #say(events) {
    const words = events.filter(({ event }) => event === "message:sent").map(({ data }) => `${data.message.role === "agent" ? "Agent" : "Caller"}: ${data.message.content}`);
    if (words.length > 0) announce(words.join(" "));
  }

  #close() {
    this.player.stop();
    this.timeline.close();
    if (this.blob) URL.revokeObjectURL(this.blob);
  }
}

/** The latency of a turn as a bar of its parts. @param {import("./story.js").Latency} latency */
function latencyBar({ parts, total, gap }) {
  const text = parts.map(({ name, ms }) => `${name} ${ms}`).join(", ");
  const recorded = gap === null ? "" : `; silence in the recording ${Math.round(gap)} ms`;
  const bar = el("span", { class: "bar-parts", "aria-hidden": "true" }, ...parts.map(({ ms, name }) => {
    const part = el("span", { class: `part part-${name}` });
    // A second is 90 pixels wide.
    part.style.width = `${Math.min(ms, 4_000) * 0.09}px`;
    return part;
  }));
  return el("p", { class: "latency" }, bar, el("span", {}, `${total} ms: ${text}${recorded}`));
}

function legend() {
  return el("p", { class: "legend" }, ...["transcript", "model", "voice", "sending", "onset"].map((name) => el("span", {}, el("i", { class: `part-${name}`, "aria-hidden": "true" }), name)));
}
