/**
 * A phone agent in a web page: talks with an agent over the websocket of a web call. No dependencies, no build step.
 *
 * Your server asks for the call (`POST /conversations/create_web_call`, with your token) and gives the page the
 * `web_call.url` of the answer. The page passes it to {@link Call.start}. docs/web-calls.md describes the protocol.
 *
 * @example
 * import { Call } from "./switchboard.js";
 * const call = await Call.start(url); // in the handler of a click: browsers want one before they play audio
 * call.addEventListener("conversation", (event) => console.log(event.detail.name, event.detail.data));
 * call.addEventListener("state", () => console.log(call.state, call.endReason));
 * call.hangUp();
 *
 * @module
 */

/** @typedef {"connecting" | "live" | "reconnecting" | "ended"} CallState */

/** @typedef {{code: number, reason: string}} Closed How a socket was closed. */

/**
 * @typedef {object} CallOptions
 * @property {"audio/l16" | "audio/x-mulaw"} [encoding] The audio, both ways: 16 kHz linear (the default), or the telephone's 8 kHz.
 * @property {MediaStream} [microphone] Used instead of asking for the microphone. It is not stopped at the end.
 * @property {AudioContext} [audioContext] Used instead of a new one. It is not closed at the end.
 * @property {string} [workletUrl] The URL of this file's audio worklet, if the page's policy forbids `blob:`;
 *   {@link WORKLET} is its source.
 */

/** Length of a frame of audio, in milliseconds. */
const FRAME_MS = 20;
/** Time without a message after which the socket counts as broken, in milliseconds. The worker sends one a second. */
const SILENCE_MS = 6_000;
/** Time in which a broken call may be resumed, in milliseconds. */
const RESUME_MS = 30_000;
/** Time to open a socket, in milliseconds. */
const OPEN_MS = 8_000;
/** Waits between attempts to connect, in milliseconds; the last one repeats. */
const WAITS_MS = [0, 250, 500, 1_000, 2_000, 4_000];
/** Codes with which the worker ends the call. After any other the call is resumed. */
const FINAL_CODES = new Set([1000, 1002, 1003, 1007, 1009, 1011, 4001, 4003]);
/** Sample rates by encoding, in hertz. */
const RATES = { "audio/l16": 16_000, "audio/x-mulaw": 8_000 };

/** The source of the audio worklet: the microphone's frames out, the agent's audio in. */
export const WORKLET = `
class SwitchboardMicrophone extends AudioWorkletProcessor {
  // Averages the samples of the device down to the call's rate, and posts frames of 20 ms.
  constructor({ processorOptions: { rate } }) {
    super();
    this.step = sampleRate / rate;
    this.frame = new Float32Array(rate / 50);
    this.filled = 0; this.sum = 0; this.count = 0; this.left = this.step;
  }
  process([[samples]]) {
    for (const sample of samples ?? []) {
      this.sum += sample; this.count += 1; this.left -= 1;
      if (this.left > 0) continue;
      this.left += this.step;
      this.frame[this.filled++] = this.sum / this.count;
      this.sum = 0; this.count = 0;
      if (this.filled === this.frame.length) {
        this.port.postMessage(this.frame.slice());
        this.filled = 0;
      }
    }
    return true;
  }
}
class SwitchboardSpeaker extends AudioWorkletProcessor {
  // Plays audio in the order in which it came, and reports each mark once the audio before it was played.
  constructor({ processorOptions: { rate } }) {
    super();
    this.step = rate / sampleRate;
    // place: the next sample of the queue's first audio. last, next: the samples around the output's next one.
    this.queue = []; this.place = 0; this.at = 0; this.last = 0; this.next = 0;
    this.port.onmessage = ({ data }) => {
      if (data !== "clear") { this.queue.push(data); return; }
      const marks = this.queue.filter((item) => typeof item === "string");
      this.queue = []; this.place = 0; this.at = 0; this.next = 0;
      marks.forEach((mark) => this.port.postMessage(mark));
    };
  }
  // The next sample of the call's rate; marks before it are reported. Silence if there is none.
  take() {
    while (this.queue.length > 0) {
      const item = this.queue[0];
      if (typeof item !== "string" && this.place < item.length) return item[this.place++];
      this.queue.shift();
      this.place = 0;
      if (typeof item === "string") this.port.postMessage(item);
    }
    return 0;
  }
  process(_, [channels]) {
    const output = channels[0];
    for (let index = 0; index < output.length; index++) {
      this.at += this.step;
      while (this.at >= 1) { this.at -= 1; this.last = this.next; this.next = this.take(); }
      output[index] = this.last + (this.next - this.last) * this.at;
    }
    channels.slice(1).forEach((channel) => channel.set(output));
    return true;
  }
}
registerProcessor("switchboard-microphone", SwitchboardMicrophone);
registerProcessor("switchboard-speaker", SwitchboardSpeaker);
`;

/**
 * One call. Events: `state` (see {@link Call#state}) and `conversation` (a `CustomEvent` whose `detail` is
 * `{name, data}`: an event of the conversation, such as `message:sent`).
 */
export class Call extends EventTarget {
  /** @type {CallState} */
  #state = "connecting";
  /** @type {string | null} */
  #endReason = null;
  /** The socket that the worker has admitted last. @type {WebSocket | null} */
  #socket = null;
  /** Sockets that wait to be admitted. One that was given up may still be. @type {Set<WebSocket>} */
  #candidates = new Set();
  /** Ends the wait for the present attempt to connect: null, a socket is live. @type {(closed: Closed | null) => void} */
  #settle = () => {};
  /** @type {string | null} */
  #token = null;
  /** The socket before it, which seems broken. @type {WebSocket | null} */
  #left = null;
  /** The user hung up while no socket was open: the next one that is admitted says so to the worker. */
  #hangsUp = false;
  /** Counts the reconnections and admissions: each ends the attempts of those before. */
  #round = 0;
  #isMuted = false;
  /** When the socket's start was sent, by `performance.now()`. */
  #startedAt = 0;
  /** The place of the next frame on the stream's time line, in milliseconds. */
  #nextFrameMs = 0;
  #lastMessageAt = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #watchdog;
  /** @type {Array<() => void>} */
  #cleanUp = [];
  /** @type {AudioWorkletNode | null} */
  #speaker = null;
  #url;
  #encoding;
  #rate;

  /**
   * Asks for the microphone, opens the socket and starts the call.
   *
   * @param {string} url `web_call.url` of the created call; works once, for a minute.
   * @param {CallOptions} [options]
   * @returns {Promise<Call>} A call that is live.
   * @throws {DOMException} The user refused the microphone, or there is none.
   * @throws {Error} The worker refused the call; the message says why.
   */
  static async start(url, options = {}) {
    const call = new Call(url, options.encoding ?? "audio/l16");
    try {
      await call.#openAudio(options);
      await call.#connect(RESUME_MS);
    } catch (error) {
      call.#end(error instanceof Error ? error.message : String(error));
      throw error;
    }
    return call;
  }

  /**
   * @param {string} url
   * @param {keyof typeof RATES} encoding
   * @private Use {@link Call.start}.
   */
  constructor(url, encoding) {
    super();
    if (!(encoding in RATES)) throw new Error(`${encoding} is neither audio/l16 nor audio/x-mulaw`);
    this.#url = url;
    this.#encoding = encoding;
    this.#rate = RATES[encoding];
  }

  /** @returns {CallState} Where the call is in its life. */
  get state() {
    return this.#state;
  }

  /** @returns {string | null} Why the call has ended; null before. */
  get endReason() {
    return this.#endReason;
  }

  /** @returns {boolean} Whether the agent hears silence. */
  get muted() {
    return this.#isMuted;
  }

  set muted(isMuted) {
    this.#isMuted = isMuted;
  }

  /**
   * Presses a key of the telephone.
   * @param {string} digit `0`-`9`, `*`, `#`, `A`-`D`.
   */
  pressKey(digit) {
    this.#send({ event: "dtmf", dtmf: { digit } });
  }

  /** Ends the call. While it reconnects, the worker learns of it with the next socket. */
  hangUp() {
    if (this.#state === "ended") return;
    this.#hangsUp = this.#state === "reconnecting";
    this.#send({ event: "stop" });
    this.#send({ event: "stop" }, this.#left);
    this.#end("hung up");
  }

  /** @param {CallOptions} options */
  async #openAudio(options) {
    const own = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };
    const microphone = options.microphone ?? (await navigator.mediaDevices.getUserMedia({ audio: own }));
    if (!options.microphone) {
      this.#cleanUp.push(() => microphone.getTracks().forEach((track) => track.stop()));
    }
    const context = options.audioContext ?? new AudioContext();
    if (!options.audioContext) this.#cleanUp.push(() => void context.close());
    const blob = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    try {
      await context.audioWorklet.addModule(options.workletUrl ?? blob);
    } finally {
      URL.revokeObjectURL(blob);
    }
    await context.resume();

    const processorOptions = { rate: this.#rate };
    const source = context.createMediaStreamSource(microphone);
    // Without it, sounds above half the call's rate would come back as lower ones.
    const lowPass = new BiquadFilterNode(context, { type: "lowpass", frequency: this.#rate * 0.42 });
    const listener = new AudioWorkletNode(context, "switchboard-microphone", {
      numberOfOutputs: 0,
      processorOptions,
    });
    listener.port.onmessage = ({ data }) => this.#sendFrame(data);
    source.connect(lowPass).connect(listener);
    this.#speaker = new AudioWorkletNode(context, "switchboard-speaker", {
      numberOfInputs: 0,
      processorOptions,
    });
    this.#speaker.port.onmessage = ({ data }) => this.#send({ event: "mark", mark: { name: data } });
    this.#speaker.connect(context.destination);
    this.#cleanUp.push(() => {
      source.disconnect();
      lowPass.disconnect();
      listener.port.onmessage = null;
      this.#speaker?.disconnect();
    });
  }

  /**
   * Opens a socket, again and again until it works or the time is up.
   * @param {number} limitMs
   */
  async #connect(limitMs) {
    const until = performance.now() + limitMs;
    const round = ++this.#round;
    for (let attempt = 0; ; attempt++) {
      await new Promise((done) => setTimeout(done, WAITS_MS[Math.min(attempt, WAITS_MS.length - 1)]));
      const isOver = () => round !== this.#round || (this.#state === "ended" && !this.#hangsUp);
      if (isOver()) return;
      const closed = await this.#open();
      if (closed === null || isOver()) return;
      // A token may be used up because an earlier socket, given up meanwhile, was admitted with it: that one is waited for.
      const isFinal = FINAL_CODES.has(closed.code) && this.#candidates.size === 0;
      if (isFinal) throw new Error(closed.reason || `the socket was closed: ${closed.code}`);
      if (performance.now() >= until) throw new Error("the worker could not be reached");
    }
  }

  /**
   * Opens one socket and waits until the worker has admitted it, or an earlier one.
   * @returns {Promise<Closed | null>} Null if a socket is live, or how this one was closed.
   */
  #open() {
    return new Promise((done) => {
      const socket = new WebSocket(this.#url);
      let startedAt = 0;
      // One that has sent its start is not closed: if the worker has admitted it meanwhile, that would hang up. If it is
      // admitted later, it has the call. One that opens later would take the call from its successor.
      const tooLate = setTimeout(() => {
        if (socket.readyState === WebSocket.CONNECTING) {
          this.#candidates.delete(socket);
          socket.onopen = null;
          socket.close(1000);
        }
        done({ code: 1006, reason: "" });
      }, OPEN_MS);
      this.#candidates.add(socket);
      this.#settle = (closed) => {
        clearTimeout(tooLate);
        done(closed);
      };
      socket.onopen = () => {
        startedAt = performance.now();
        const mediaFormat = { encoding: this.#encoding, sampleRate: this.#rate, channels: 1 };
        const token = this.#token === null ? {} : { token: this.#token };
        socket.send(JSON.stringify({ event: "connected", protocol: "Call", version: "1.0.0" }));
        socket.send(JSON.stringify({ event: "start", start: { mediaFormat, ...token } }));
      };
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.event === "resume" && this.#candidates.delete(socket)) this.#admitted(socket, startedAt);
        if (socket !== this.#socket) return;
        this.#lastMessageAt = performance.now();
        this.#receive(message);
      };
      const settle = this.#settle;
      socket.onclose = (event) => {
        this.#candidates.delete(socket);
        settle(event);
        if (socket === this.#socket && this.#state === "live") void this.#lost(event);
      };
    });
  }

  /**
   * The worker has given the call to this socket.
   * @param {WebSocket} socket
   * @param {number} startedAt When its start was sent, by `performance.now()`.
   */
  #admitted(socket, startedAt) {
    this.#round++;
    this.#socket = socket;
    if (this.#state === "ended") {
      this.#send({ event: "stop" });
      this.#closeSockets();
    } else {
      this.#startedAt = startedAt;
      this.#nextFrameMs = 0;
      this.#watch();
      this.#setState("live");
    }
    this.#settle(null);
  }

  /** @param {any} message */
  #receive(message) {
    switch (message.event) {
      case "media":
        this.#speaker?.port.postMessage(decode(this.#encoding, message.media.payload));
        break;
      case "mark":
        this.#speaker?.port.postMessage(message.mark.name);
        break;
      case "clear":
        this.#speaker?.port.postMessage("clear");
        break;
      case "resume":
        this.#token = message.token;
        break;
      case "conversation": {
        const detail = { name: message.name, data: message.data };
        this.dispatchEvent(new CustomEvent("conversation", { detail }));
        break;
      }
    }
  }

  /** Notices a socket that broke without a sign. */
  #watch() {
    clearInterval(this.#watchdog);
    this.#watchdog = setInterval(() => {
      if (this.#state === "live" && performance.now() - this.#lastMessageAt > SILENCE_MS) {
        void this.#lost(null);
      }
    }, 1_000);
  }

  /**
   * Resumes the call, unless the worker has ended it.
   * @param {CloseEvent | null} closed
   */
  async #lost(closed) {
    clearInterval(this.#watchdog);
    if (closed !== null && FINAL_CODES.has(closed.code)) return this.#end(closed.reason);
    this.#setState("reconnecting");
    this.#speaker?.port.postMessage("clear");
    // The worker must not take the end of a socket that seems broken for hanging up: it is left alone.
    this.#left = this.#socket;
    this.#socket = null;
    try {
      await this.#connect(RESUME_MS);
    } catch (error) {
      this.#hangsUp = false;
      this.#end(error instanceof Error ? error.message : String(error));
      this.#closeSockets();
    }
  }

  /** @param {Float32Array} samples */
  #sendFrame(samples) {
    if (this.#state !== "live") return;
    if (this.#isMuted) samples.fill(0);
    // After a pause of the device the frames go on at the present.
    const elapsed = performance.now() - this.#startedAt - FRAME_MS;
    if (elapsed - this.#nextFrameMs > 200) this.#nextFrameMs = elapsed;
    const media = { timestamp: Math.round(this.#nextFrameMs), payload: encode(this.#encoding, samples) };
    this.#nextFrameMs += FRAME_MS;
    this.#send({ event: "media", media });
  }

  /**
   * @param {object} message
   * @param {WebSocket | null} [socket]
   */
  #send(message, socket = this.#socket) {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  }

  /** @param {CallState} state */
  #setState(state) {
    if (this.#state === state) return;
    this.#state = state;
    this.dispatchEvent(new Event("state"));
  }

  /** @param {string} reason */
  #end(reason) {
    if (this.#state === "ended") return;
    clearInterval(this.#watchdog);
    if (!this.#hangsUp) this.#closeSockets();
    this.#cleanUp.splice(0).forEach((clean) => clean());
    this.#endReason = reason;
    this.#setState("ended");
  }

  /** Closes all sockets, also those that were given up: none of them has the call any more. */
  #closeSockets() {
    this.#hangsUp = false;
    for (const socket of [this.#socket, this.#left, ...this.#candidates]) socket?.close(1000);
    this.#socket = this.#left = null;
    this.#candidates.clear();
  }
}

/**
 * Encodes samples from -1 to 1 as base64.
 * @param {keyof typeof RATES} encoding
 * @param {Float32Array} samples
 */
export function encode(encoding, samples) {
  const linear = Int16Array.from(samples, (sample) => Math.max(-1, Math.min(1, sample)) * 32_767);
  let bytes;
  if (encoding === "audio/x-mulaw") {
    bytes = Uint8Array.from(linear, toMuLaw);
  } else {
    bytes = new Uint8Array(linear.length * 2);
    const view = new DataView(bytes.buffer);
    linear.forEach((sample, index) => view.setInt16(index * 2, sample, true));
  }
  return btoa(String.fromCharCode(...bytes));
}

/**
 * Decodes base64 to samples from -1 to 1.
 * @param {keyof typeof RATES} encoding
 * @param {string} payload
 */
export function decode(encoding, payload) {
  const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
  if (encoding === "audio/x-mulaw") return Float32Array.from(bytes, (byte) => fromMuLaw(byte) / 32_768);
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length >> 1 }, (_, index) => view.getInt16(index * 2, true) / 32_768);
}

/** ITU-T G.711. @param {number} sample */
function toMuLaw(sample) {
  const sign = sample < 0 ? 0x80 : 0;
  const magnitude = Math.min(Math.abs(sample), 32_635) + 132;
  const exponent = 24 - Math.clz32(magnitude);
  const mantissa = (magnitude >> (exponent + 3)) & 0x0f;
  return ~(sign | (exponent << 4) | mantissa) & 0xff;
}

/** ITU-T G.711. @param {number} byte */
function fromMuLaw(byte) {
  const bits = ~byte & 0xff;
  const magnitude = (((bits & 0x0f) << 3) + 132) << ((bits & 0x70) >> 4);
  return bits & 0x80 ? 132 - magnitude : magnitude - 132;
}
