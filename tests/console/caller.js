/** A person at a browser: a microphone that says what a test wants, and a connection that a test can break. */

import { createServer, connect } from "node:net";
import { wavOf } from "./fixtures.js";

/** Samples per second of the speech service. */
const RATE = 24_000;

/**
 * Synthesizes words with the offline voice of the local stack.
 * @returns A WAV in base64.
 */
export async function speech(speechUrl, text) {
  const answer = await fetch(`${speechUrl}/synthesize`, { method: "POST", body: JSON.stringify({ text, speed: 1 }) });
  if (!answer.ok) throw new Error(`the speech service answered ${answer.status}: ${await answer.text()}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  return Buffer.from(wavOf(new Int16Array(bytes.buffer, 0, bytes.length >> 1), 1, RATE)).toString("base64");
}

/**
 * Runs in the page before its scripts. The browser's own fake device gives the permission; its sound is a file that begins when
 * the page wants the microphone, so words could not wait until the agent speaks.
 */
export function useMicrophone() {
  const devices = navigator.mediaDevices;
  const ask = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (wanted) => {
    for (const track of (await ask(wanted)).getTracks()) track.stop();
    const context = new AudioContext();
    const microphone = context.createMediaStreamDestination();
    window.say = async (base64) => {
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      const source = context.createBufferSource();
      source.buffer = await context.decodeAudioData(bytes.buffer);
      source.connect(microphone);
      source.start();
    };
    return microphone.stream;
  };
}

/** A connection to the media workers' address (`ws://127.0.0.1:PORT/...`) that can be cut. */
export async function breakableLine(mediaUrl) {
  const target = new URL(mediaUrl);
  const sockets = new Set();
  const server = createServer((near) => {
    const far = connect(Number(target.port), target.hostname);
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.pipe(other);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    /** Makes a browser take this way. */
    flag: `--host-resolver-rules=MAP ${target.host} 127.0.0.1:${server.address().port}`,
    get count() {
      return sockets.size;
    },
    /** As by a network that is gone: no close frame. */
    cut: () => sockets.forEach((socket) => socket.resetAndDestroy()),
    stop: () => new Promise((done) => (sockets.forEach((socket) => socket.destroy()), server.close(done))),
  };
}
