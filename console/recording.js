// @ts-check
/**
 * Reads a recording (a WAV file, 16-bit linear, caller left, agent right) and finds its peaks. Pure.
 *
 * @module
 */

/** Length of a bin of peaks, in milliseconds. */
export const BIN_MS = 5;
/** Frames between two pauses: some milliseconds of work. */
const FRAMES_PER_STEP = 200_000;

/**
 * @typedef {object} Wav
 * @property {number} rate Frames per second.
 * @property {number} channels
 * @property {Int16Array} samples Interleaved.
 *
 * @typedef {object} Peaks
 * @property {Uint8Array[]} channels The largest amplitude of each bin, 0 to 255; one array per channel.
 * @property {number} length In milliseconds.
 */

/**
 * @param {ArrayBuffer} buffer
 * @returns {Wav}
 * @throws {Error} It is no WAV of 16-bit samples.
 */
export function parseWav(buffer) {
  const view = new DataView(buffer);
  const name = (/** @type {number} */ at) => String.fromCharCode(...new Uint8Array(buffer, at, 4));
  if (buffer.byteLength < 12 || name(0) !== "RIFF" || name(8) !== "WAVE") throw new Error("The recording is not a WAV file.");
  let format = null;
  for (let at = 12; at + 8 <= buffer.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    if (name(at) === "fmt " && at + 24 <= buffer.byteLength) {
      format = { channels: view.getUint16(at + 10, true), rate: view.getUint32(at + 12, true), bits: view.getUint16(at + 22, true) };
    }
    if (name(at) === "data") {
      if (format?.bits !== 16 || format.channels < 1 || format.rate < 1) break;
      const bytes = Math.min(size, buffer.byteLength - at - 8);
      const count = Math.floor(bytes / 2 / format.channels) * format.channels;
      // The browsers that there are run on little-endian machines, whose order the file has.
      const samples = new Int16Array(buffer.slice(at + 8, at + 8 + count * 2));
      return { rate: format.rate, channels: format.channels, samples };
    }
    at += 8 + size + (size % 2);
  }
  throw new Error("The recording has no 16-bit samples.");
}

/**
 * Finds the peaks in steps: each `next()` works for some milliseconds.
 * @param {Wav} wav
 * @returns {Generator<void, Peaks>}
 */
export function* peaksInSteps({ rate, channels, samples }) {
  const frames = samples.length / channels;
  const bins = Math.ceil((frames * 1_000) / rate / BIN_MS);
  const found = Array.from({ length: channels }, () => new Uint8Array(bins));
  for (let begin = 0; begin < frames; begin += FRAMES_PER_STEP) {
    const end = Math.min(begin + FRAMES_PER_STEP, frames);
    for (let frame = begin; frame < end; frame++) {
      const bin = Math.floor((frame * 1_000) / rate / BIN_MS);
      for (let channel = 0; channel < channels; channel++) {
        const level = Math.abs(samples[frame * channels + channel]) >> 7;
        if (level > found[channel][bin]) found[channel][bin] = Math.min(level, 255);
      }
    }
    if (end < frames) yield;
  }
  return { channels: found, length: (frames * 1_000) / rate };
}

/**
 * Finds the peaks, with pauses in which the page does other things.
 * @param {Wav} wav
 * @param {AbortSignal} [signal]
 * @returns {Promise<Peaks>}
 */
export async function peaksOf(wav, signal) {
  const steps = peaksInSteps(wav);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    await new Promise((next) => setTimeout(next));
    signal?.throwIfAborted();
  }
}

/** The largest peak between two times, 0 to 1. @param {Uint8Array} channel @param {number} from @param {number} to */
export function peakBetween(channel, from, to) {
  const first = Math.max(0, Math.floor(from / BIN_MS));
  const last = Math.min(channel.length, Math.max(first + 1, Math.ceil(to / BIN_MS)));
  let peak = 0;
  for (let bin = first; bin < last; bin++) peak = Math.max(peak, channel[bin]);
  return peak / 255;
}
