// @ts-check
/**
 * Plays a recording: button, place, speed.
 *
 * @module
 */

import { clock, el, fill } from "./elements.js";

const SPEEDS = [0.75, 1, 1.25, 1.5, 2];

export class Player extends EventTarget {
  /** @param {number} length In milliseconds. */
  constructor(length) {
    super();
    this.length = length;
    this.audio = el("audio", { preload: "metadata" });
    this.button = el("button", { type: "button", class: "play", disabled: true, onclick: () => this.toggle() }, "Play");
    this.place = el("input", {
      type: "range", min: 0, max: Math.max(1, length), step: 100, value: 0, disabled: true,
      "aria-label": "Place in the recording",
      oninput: () => this.seek(Number(this.place.value)),
    });
    this.time = el("span", { class: "time" });
    const options = SPEEDS.map((speed) => el("option", { value: speed, selected: speed === 1 }, `${speed}×`));
    this.speed = el("select", { "aria-label": "Speed", disabled: true, onchange: () => (this.audio.playbackRate = Number(this.speed.value)) }, options);
    this.note = el("span", { class: "hint" });
    this.element = el("div", { class: "player", role: "group", "aria-label": "Recording" }, this.button, this.place, this.time, this.speed, this.note, this.audio);
    for (const event of ["play", "pause", "ended"]) this.audio.addEventListener(event, () => this.#changed());
    this.audio.addEventListener("seeked", () => this.#moved());
    this.audio.addEventListener("error", () => this.say("The recording cannot be played. Load the page again."));
    this.#moved();
  }

  /** @param {string} url @param {number} [length] In milliseconds. */
  load(url, length) {
    this.audio.src = url;
    if (length !== undefined) this.length = length;
    this.place.max = String(Math.max(1, Math.round(this.length)));
    for (const control of [this.button, this.place, this.speed]) control.disabled = false;
    this.#moved();
  }

  get isLoaded() {
    return this.audio.hasAttribute("src");
  }

  /** In milliseconds. */
  get at() {
    return this.audio.currentTime * 1_000;
  }

  /** Text beside the controls. @param {string} text */
  say(text) {
    fill(this.note, text);
  }

  toggle() {
    if (this.audio.paused) void this.#play();
    else this.audio.pause();
  }

  /** @param {number} ms */
  seek(ms) {
    if (!this.isLoaded) return;
    this.audio.currentTime = Math.max(0, ms) / 1_000;
    this.#moved();
  }

  /** @param {number} ms */
  playFrom(ms) {
    this.seek(ms);
    void this.#play();
  }

  stop() {
    this.audio.pause();
    this.audio.removeAttribute("src");
  }

  async #play() {
    if (!this.isLoaded) return;
    try {
      await this.audio.play();
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) this.say("The browser does not play the recording.");
    }
  }

  #changed() {
    fill(this.button, this.audio.paused ? "Play" : "Pause");
    const follow = () => {
      this.#moved();
      if (!this.audio.paused && this.element.isConnected) requestAnimationFrame(follow);
    };
    follow();
  }

  #moved() {
    this.place.value = String(this.at);
    const text = this.isLoaded ? `${clock(this.at, true)} of ${clock(this.length, true)}` : "";
    if (this.time.textContent !== text) fill(this.time, text);
    this.place.setAttribute("aria-valuetext", text);
    this.dispatchEvent(new Event("moved"));
  }
}
