// Run with `node --test clients/web/switchboard.test.js`: Node's own test runner, no packages.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { Call, WORKLET, decode, encode } from "./switchboard.js";

/** Loads the worklet into a device of this sample rate; returns its processors, whose ports keep their messages. */
function worklet(sampleRate) {
  const processors = {};
  class AudioWorkletProcessor {
    constructor() {
      const posted = [];
      this.posted = posted;
      this.port = { postMessage: (data) => posted.push(data) };
    }
  }
  const load = new Function("AudioWorkletProcessor", "registerProcessor", "sampleRate", WORKLET);
  load(AudioWorkletProcessor, (name, processor) => (processors[name] = processor), sampleRate);
  return {
    microphone: (rate) => new processors["switchboard-microphone"]({ processorOptions: { rate } }),
    speaker: (rate) => new processors["switchboard-speaker"]({ processorOptions: { rate } }),
  };
}

/** Plays this many samples of the device, in blocks of 128 as browsers do. */
function play(speaker, samples, channels = 1) {
  const played = [];
  while (played.length < samples) {
    const output = Array.from({ length: channels }, () => new Float32Array(128));
    assert.equal(speaker.process([], [output]), true);
    for (const channel of output) assert.deepEqual(channel, output[0]);
    played.push(...output[0]);
  }
  return played;
}

const constant = (length, value) => new Float32Array(length).fill(value);
const wave = (length) => Float32Array.from({ length }, (_, index) => Math.sin(index / 7) * 0.9);

test("linear audio is little-endian and survives both ways", () => {
  assert.equal(encode("audio/l16", Float32Array.of(0, 1, -1, 2, -2)), btoa("\x00\x00\xff\x7f\x01\x80\xff\x7f\x01\x80"));
  const samples = wave(320);
  const back = decode("audio/l16", encode("audio/l16", samples));
  assert.equal(back.length, 320);
  back.forEach((sample, index) => assert.ok(Math.abs(sample - samples[index]) < 1e-4, `${index}`));
});

test("mu-law is that of G.711", () => {
  // The codes of the largest, smallest and silent samples.
  assert.equal(encode("audio/x-mulaw", Float32Array.of(0, 1, -1)), btoa("\xff\x80\x00"));
  assert.deepEqual([...decode("audio/x-mulaw", btoa("\xff\x7f\x80\x00"))], [0, 0, 32124 / 32768, -32124 / 32768]);
  // Each code but that of negative zero comes back.
  for (let code = 0; code < 256; code++) {
    const payload = btoa(String.fromCharCode(code));
    const back = encode("audio/x-mulaw", decode("audio/x-mulaw", payload));
    assert.equal(atob(back).charCodeAt(0), code === 0x7f ? 0xff : code);
  }
});

test("the microphone posts frames of 20 ms at the call's rate", () => {
  for (const [device, rate] of [[48_000, 16_000], [44_100, 16_000], [44_100, 8_000]]) {
    const microphone = worklet(device).microphone(rate);
    for (let block = 0; block < Math.ceil(device / 128); block++) microphone.process([[constant(128, 0.5)]]);
    microphone.process([[]]);
    assert.equal(microphone.posted.length, 50, `${device} to ${rate}`);
    for (const frame of microphone.posted) {
      assert.equal(frame.length, rate / 50);
      assert.ok(frame.every((sample) => Math.abs(sample - 0.5) < 1e-6));
    }
  }
});

test("the speaker plays audio in order and reports each mark behind it", () => {
  const speaker = worklet(48_000).speaker(16_000);
  for (const data of [constant(320, 0.25), "first", constant(320, 0.5), "second"]) speaker.port.onmessage({ data });
  const start = play(speaker, 896, 2);
  assert.deepEqual(speaker.posted, []);
  assert.ok(start.slice(10).every((sample) => sample === 0.25));
  play(speaker, 256);
  assert.deepEqual(speaker.posted, ["first"]);
  const rest = play(speaker, 1_280);
  assert.deepEqual(speaker.posted, ["first", "second"]);
  assert.ok(rest.includes(0.5) && rest.at(-1) === 0, "silence follows");
});

test("after a clear the agent's next audio plays from its start", () => {
  const speaker = worklet(16_000).speaker(16_000);
  for (const data of [constant(320, 0.25), "dropped"]) speaker.port.onmessage({ data });
  play(speaker, 256);
  speaker.port.onmessage({ data: "clear" });
  assert.deepEqual(speaker.posted, ["dropped"], "its mark returns");
  speaker.port.onmessage({ data: Float32Array.from({ length: 320 }, (_, index) => (index + 1) / 1_000) });
  const played = play(speaker, 640);
  const first = played.findIndex((sample) => sample !== 0);
  const heard = played.slice(first, first + 320).map((sample) => Math.round(sample * 1_000));
  assert.deepEqual(heard, Array.from({ length: 320 }, (_, index) => index + 1), "nothing of it is skipped");
});

/** A browser's socket, whose other side is the test. */
class FakeSocket {
  static CONNECTING = 0;
  static OPEN = 1;
  /** @type {FakeSocket[]} */
  static all = [];

  constructor() {
    this.readyState = 0;
    this.sent = [];
    this.closedWith = null;
    FakeSocket.all.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    this.closedWith = code;
    this.readyState = 3;
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  receive(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }

  /** Opens it and admits it, with the next token. */
  admit(token) {
    if (this.readyState === 0) this.open();
    this.receive({ event: "resume", token });
  }

  break(code = 1006, reason = "") {
    this.readyState = 3;
    this.onclose({ code, reason });
  }

  /** The token of its start. */
  get token() {
    return this.sent.find((message) => message.event === "start").start.token;
  }

  has(event) {
    return this.sent.some((message) => message.event === event);
  }
}

/** Runs a test on a clock of its own, with a call that is live on its first socket. */
async function withCall(run) {
  let now = 0;
  const before = {};
  const node = () => ({ connect: (next) => next, disconnect() {}, port: { postMessage() {} } });
  const context = {
    audioWorklet: { addModule: async () => {} },
    resume: async () => {},
    createMediaStreamSource: node,
    destination: {},
  };
  const fakes = { WebSocket: FakeSocket, AudioWorkletNode: node, BiquadFilterNode: node, performance: { now: () => now } };
  for (const [name, value] of Object.entries(fakes)) {
    before[name] = Object.getOwnPropertyDescriptor(globalThis, name);
    const fake = name.endsWith("Node") ? function () { return node(); } : value;
    Object.defineProperty(globalThis, name, { value: fake, configurable: true, writable: true });
  }
  FakeSocket.all = [];
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const settle = async () => {
    for (let turn = 0; turn < 20; turn++) await null;
  };
  const pass = async (ms) => {
    for (const end = now + ms; now < end; ) {
      now += 50;
      mock.timers.tick(50);
      await settle();
    }
  };
  try {
    const starting = Call.start("wss://worker/call", { microphone: {}, audioContext: context });
    await settle();
    await pass(50);
    FakeSocket.all[0].admit("one");
    await run(await starting, pass, FakeSocket.all);
  } finally {
    mock.timers.reset();
    for (const [name, descriptor] of Object.entries(before)) {
      if (descriptor) Object.defineProperty(globalThis, name, descriptor);
      else delete globalThis[name];
    }
  }
}

test("a broken socket is resumed with the last token", () =>
  withCall(async (call, pass, sockets) => {
    assert.equal(call.state, "live");
    assert.equal(sockets[0].token, undefined, "the URL opens the call");
    sockets[0].break();
    assert.equal(call.state, "reconnecting");
    await pass(50);
    sockets[1].open();
    assert.equal(sockets[1].token, "one");
    sockets[1].receive({ event: "resume", token: "two" });
    assert.equal(call.state, "live");
    sockets[1].break(1012);
    await pass(50);
    sockets[2].open();
    assert.equal(sockets[2].token, "two");
    sockets[2].break(4003, "the token is not valid");
    await pass(50);
    assert.deepEqual([call.state, call.endReason], ["ended", "the token is not valid"]);
    assert.equal(sockets.length, 3);
  }));

test("hanging up a live call stops it and closes its socket", () =>
  withCall(async (call, pass, [socket]) => {
    call.hangUp();
    assert.ok(socket.has("stop"));
    assert.equal(socket.closedWith, 1000);
    assert.deepEqual([call.state, call.endReason], ["ended", "hung up"]);
  }));

test("hanging up while the call reconnects reaches the worker with the next socket", () =>
  withCall(async (call, pass, sockets) => {
    sockets[0].break();
    await pass(50);
    call.hangUp();
    assert.equal(call.state, "ended");
    sockets[1].break();
    await pass(500);
    sockets[2].admit("two");
    assert.ok(sockets[2].has("stop"));
    assert.equal(sockets[2].closedWith, 1000);
    await pass(60_000);
    assert.equal(sockets.length, 3, "nothing connects any more");
  }));

test("a socket that is admitted late has the call", () =>
  withCall(async (call, pass, sockets) => {
    sockets[0].break();
    await pass(50);
    sockets[1].open();
    // The next attempt has the same token, which the worker has accepted from the late one.
    await pass(9_000);
    sockets[2].open();
    assert.equal(sockets[2].token, "one");
    sockets[2].break(4003, "the token is not valid");
    await pass(50);
    assert.equal(call.state, "reconnecting");
    sockets[1].admit("two");
    assert.equal(call.state, "live");
    await pass(1_000);
    assert.equal(sockets.length, 3);
    sockets[1].break();
    await pass(50);
    sockets[3].admit("three");
    assert.equal(sockets[3].token, "two", "its token resumes the call");
  }));

test("a socket that opens too late takes the call from no other", () =>
  withCall(async (call, pass, sockets) => {
    sockets[0].break();
    await pass(9_000);
    sockets[2].admit("two");
    assert.equal(call.state, "live");
    assert.equal(sockets[1].closedWith, 1000);
    sockets[1].onopen?.();
    assert.ok(!sockets[1].has("start"));
    assert.equal(call.state, "live");
  }));

test("a call that cannot be resumed leaves no socket open", () =>
  withCall(async (call, pass, sockets) => {
    await pass(8_000);
    assert.equal(call.state, "reconnecting", "nothing came for six seconds");
    await pass(60_000);
    assert.equal(call.state, "ended");
    assert.ok(sockets.length > 2);
    for (const socket of sockets) assert.equal(socket.closedWith, 1000);
  }));
