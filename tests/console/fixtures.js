/** Conversations, events and recordings for the tests. */

export const TOKEN = "sk_0123456789abcdefghijklmnopqrstuv";
export const LIVE = "cnv_01JD8QA1B2C3D4E5F6G7H8J9K1";
export const ENDED = "cnv_01JD8QA1B2C3D4E5F6G7H8J9K0";
export const AGENT = "agt_01JD9XQ4T0000000000000000A";
/** Words that would run if they were markup. */
export const HOSTILE = `<img src=x onerror="document.title='run'"> and <script>document.title='run'</script> </p><h1>big</h1>`;

const START = Date.parse("2026-11-30T20:15:00.000Z");
const iso = (ms) => new Date(START + ms).toISOString();

const CONFIG = {
  initial_message: "Hello, this is Ada from the corner bakery. Your cake is ready.",
  prompt: "You are Ada, who works at the corner bakery. Answer in one or two short sentences.",
  disclosure: null,
  language_model: {
    provider: "openai", model: "gpt-6-luna", temperature: 0, max_tokens: 300, credential_id: null,
    tools: [{ type: "function", function: { name: "end_call", description: "Ends the call.", parameters: { type: "object" } } }],
  },
  voice: { provider: "deepgram", model: "aura-2-thalia-en", credential_id: null },
  transcriber: { provider: "deepgram", model: "nova-3", language: "en", keywords: ["Ada", "bakery"], credential_id: null },
  max_duration_seconds: 600,
  recording: true,
  webhooks: [{ events: ["message:sent"], url: "https://hooks.example.com/calls", method: "POST", headers: null, filter: null }],
  hooks: [],
  metadata: { name: "Ada, corner bakery", order: "4711" },
};

export const agent = { id: AGENT, uri: `https://api.example.com/agents/${AGENT}`, account_id: "acc_1", ...CONFIG, created_at: iso(-90_000_000), updated_at: iso(-80_000_000) };

const limit = (most, used, standard = most) => ({ limit: most, default_limit: standard, used });
export const account = {
  id: "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F", uri: "https://api.example.com/account", name: "Corner bakery", created_at: iso(-90_000_000), day_ends_at: "2026-12-01T00:00:00.000Z",
  limits: {
    live_calls: limit(10, 3), inbound_calls: limit(10, 9), waiting_calls: limit(1_000, 0), calls_per_second: { ...limit(2, 1, 1), burst: 2 }, requests_per_second: { ...limit(20, 3), burst: 40 },
    phone_numbers: limit(50, 2), numbers_bought_per_day: limit(50, 0), daily_spend_usd: limit(100, 101.25), destination_countries: { calling_codes: ["+1"], is_default: true }, restricted_numbers: false,
  },
};
export const webhooksHealth = {
  in_flight: 2, slots: 14,
  hosts: [
    { host: "hooks.example.com:443", state: "responding", failures: 0, paused_until: null, in_flight: 2, agents: [AGENT] },
    { host: "<b>down</b>.example.com:443", state: "paused", failures: 7, paused_until: iso(30_000), in_flight: 0, agents: [AGENT, AGENT] },
  ],
};

const SAID = [
  ["agent", 300, 4_100, "Hello, this is Ada from the corner bakery. Your cake is ready."],
  ["user", 4_900, 7_200, "Yes, what time do you close on Saturday?"],
  ["agent", 8_320, 10_900, "On Saturday we close at", { transcript_ms: 704, model_ms: 52, voice_ms: 352, send_ms: 2, response_ms: 1_110 }, "On Saturday we close at six in the evening. Can I help you with anything else?"],
  ["user", 10_700, 12_600, HOSTILE],
  ["agent", 13_900, 18_300, "I did not understand that. Could you say it again, please?", { transcript_ms: 610, model_ms: 480, voice_ms: 205, send_ms: 3, response_ms: 1_298 }],
  ["user", 19_000, 21_100, "No, thank you very much, goodbye."],
  ["agent", 22_000, 24_000, "Thank you for ordering with us. Goodbye.", { transcript_ms: 690, model_ms: 60, voice_ms: 140, send_ms: 1, response_ms: 891 }],
];

export const messages = SAID.map(([role, from, to, content, , generated]) => ({ role, content, started_at: iso(from), ended_at: iso(to), interrupted: generated !== undefined }));

const DURATION_MS = 24_600;
const phone_call = { provider: "twilio", from_number: "+14155550199", to_number: "+14155550100", answered_by: null };

export const conversation = {
  id: ENDED, uri: `https://api.example.com/conversations/${ENDED}`, account_id: "acc_1", type: "outbound_phone_call", status: "ended",
  created_at: iso(-4_000), started_at: iso(0), ended_at: iso(DURATION_MS), ended_reason: "agent_ended", agent_id: AGENT, agent_config: CONFIG, messages, phone_call,
  cost_breakdown: {
    total: 0.030944,
    agent: { provider: "voiceos", cost: 0, seconds: 24.6, estimated: false },
    language_model: { provider: "openai", cost: 0.000812, input_tokens: 1_204, output_tokens: 61, estimated: false },
    transcriber: { provider: "deepgram", cost: 0.003157, seconds: 24.6, estimated: false },
    voice: { provider: "deepgram", cost: 0.006975, characters: 233, estimated: true },
    telephony: { provider: "twilio", cost: 0.02, seconds: 26.1, estimated: false },
    served_by: [{ role: "language_model", provider: "openai", model: "gpt-6-luna", cost: 0.000812, estimated: false }],
  },
};

function eventsOf() {
  const found = [];
  const delivery = (status, attempts) => ({ webhook: 0, url: CONFIG.webhooks[0].url, method: "POST", status, next_attempt_at: null, attempts });
  const add = (ms, event, data, deliveries = [], notes) => found.push({ ms, event, data, deliveries, ...(notes ? { notes } : {}) });
  add(-3_600, "phone_call:connection_requested", { phone_call });
  add(-900, "phone_call:accepted", { phone_call });
  add(0, "conversation:started", null);
  for (const [role, from, to, content, latency, generated] of SAID) {
    add(from, "speech:started", { role });
    add(to, "speech:ended", { role });
    if (role === "agent") add(from - 200, "message:generated", { message: { role, content: generated ?? content } });
    const attempts = role === "user" && from === 4_900
      ? [{ at: iso(to + 200), status: 500, latency_ms: 41, answer: "<b>no</b>" }, { at: iso(to + 5_200), status: 200, latency_ms: 18, answer: "" }]
      : [{ at: iso(to + 200), status: 200, latency_ms: 21, answer: "" }];
    const message = { role, content, started_at: iso(from), ended_at: iso(to), interrupted: generated !== undefined };
    add(to + 60, "message:sent", { message, ...(latency ? { latency } : {}), ...(from === 22_000 ? { kind: "hold_phrase" } : {}) }, [delivery("delivered", attempts)], from === 13_900 ? ["language model openai failed: rate limit; google gemini-3.5-flash serves", "the call was taken over from another stream"] : undefined);
  }
  add(22_300, "function_call:triggered", { function: { id: "call_1", name: "end_call", arguments: { reason: "goodbye" } } });
  for (let second = 1; second * 1_000 < DURATION_MS; second++) add(second * 1_000, "conversation:duration", { duration: second });
  found.sort((a, b) => a.ms - b.ms);
  add(DURATION_MS, "conversation:ended", { ended_reason: "agent_ended", conversation: {} }, [], ["3 answers: response p50 1110 ms"]);
  return found.map(({ ms, ...event }, index) => ({ id: `evt_01JD8QA1B2C3D4E5F6G7H8${String(index).padStart(4, "0")}`, sequence: index + 1, created_at: iso(ms), ...event }));
}

export const events = eventsOf();

/** The same call while it is live: its events up to a time. */
export function liveAt(ms) {
  const until = START + ms;
  return {
    conversation: { ...conversation, id: LIVE, status: ms < 0 ? "queued" : "started", started_at: ms < 0 ? null : conversation.started_at, ended_at: null, ended_reason: null, cost_breakdown: null, messages: messages.filter(({ ended_at }) => Date.parse(ended_at) <= until) },
    events: events.filter(({ created_at }) => Date.parse(created_at) <= until),
  };
}

/** Many conversations, newest first. */
export function many(count) {
  const types = ["outbound_phone_call", "inbound_phone_call", "web_call"];
  return Array.from({ length: count }, (_, index) => {
    const type = types[index % 3];
    const at = -index * 61_000;
    const seconds = (index * 37) % 400;
    return {
      ...conversation, id: `cnv_01JD8QA1B2C3D4E5F6G7${String(count - index).padStart(6, "0")}`, type, messages: null,
      created_at: iso(at), started_at: iso(at + 3_000), ended_at: iso(at + 3_000 + seconds * 1_000),
      ended_reason: ["agent_ended", "user_ended", "unknown"][index % 3],
      phone_call: type === "web_call" ? null : { ...phone_call, to_number: `+1415555${String(1_000 + (index % 9_000))}` },
      agent_config: { ...CONFIG, metadata: { name: index % 2 === 0 ? "Ada, corner bakery" : "Ben, front desk" } },
      cost_breakdown: { ...conversation.cost_breakdown, total: ((index * 7) % 50) / 1_000 },
    };
  });
}

/**
 * Where the sound of each utterance is. As in real calls, it begins after the agent's first frame, and ends before the silence at
 * the end of the voice's clip; the caller's begins before the worker is sure of it.
 */
export const SOUNDS = SAID.map(([role, from, to, , , generated]) => (role === "agent" ? { role, from: from + 45, to: generated ? to : to - 260 } : { role, from: from - 80, to: to + 12 }));

/**
 * The stretches of sound of a stereo WAV by side, to the millisecond: what is louder than a twentieth of the side's loudest sample.
 * Shorter pauses than `pause`, in milliseconds, are sound.
 */
export function soundsOf(file, pause = 300) {
  const view = new DataView(file.buffer, file.byteOffset);
  const rate = view.getUint32(24, true);
  const sounds = { user: [], agent: [] };
  for (const [channel, role] of ["user", "agent"].entries()) {
    let loudest = 0;
    for (let at = 44 + channel * 2; at + 2 <= file.byteLength; at += 4) loudest = Math.max(loudest, Math.abs(view.getInt16(at, true)));
    const level = Math.max(500, loudest / 20);
    for (let frame = 0; 44 + frame * 4 + 4 <= file.byteLength; frame++) {
      if (Math.abs(view.getInt16(44 + frame * 4 + channel * 2, true)) < level) continue;
      const at = (frame * 1_000) / rate;
      const last = sounds[role].at(-1);
      if (last && at - last.to < pause) last.to = at;
      else sounds[role].push({ from: at, to: at });
    }
    // A click is no speech.
    sounds[role] = sounds[role].filter(({ from, to }) => to - from > 60);
  }
  return sounds;
}

/** A stereo WAV of 8 kHz: a tone wherever someone speaks, the caller left. */
export function wav(seconds = DURATION_MS / 1_000, rate = 8_000) {
  const frames = Math.round(seconds * rate);
  const samples = new Int16Array(frames * 2);
  for (const { role, from, to } of SOUNDS) {
    for (let frame = Math.round((from * rate) / 1_000); frame < Math.min(frames, (to * rate) / 1_000); frame++) {
      const second = frame / rate;
      samples[frame * 2 + (role === "agent" ? 1 : 0)] = (2_500 + 6_500 * Math.abs(Math.sin(second * 9) * Math.sin(second * 2.3))) * Math.sin(second * 1_400);
    }
  }
  return wavOf(samples, 2, rate);
}

/** A WAV of 16-bit samples, those of all channels in turn. */
export function wavOf(samples, channels, rate) {
  const bytes = new Uint8Array(44 + samples.length * 2);
  const view = new DataView(bytes.buffer);
  const text = (at, word) => [...word].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + samples.length * 2, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, channels, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * channels * 2, true);
  view.setUint16(32, channels * 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, samples.length * 2, true);
  samples.forEach((sample, index) => view.setInt16(44 + index * 2, sample, true));
  return bytes;
}
