// Run with `node --test clients/web/switchboard.test.js`: Node's own test runner, no packages.

import assert from "node:assert/strict";
import { test } from "node:test";

import { WORKLET, decode, encode } from "./switchboard.js";

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
