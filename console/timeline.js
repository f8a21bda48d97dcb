// @ts-check
/**
 * Draws a conversation on a time line: the caller's lane, the moments, the agent's lane. Only the part in view is drawn.
 *
 * Screen readers read the transcript instead, which has the same words, times and moments.
 *
 * @module
 */

import { clock, el, fill } from "./elements.js";
import { peakBetween } from "./recording.js";
import { placeInRows } from "./story.js";

/** Heights and places in CSS pixels; console.css has the same. */
const HEIGHT = 330;
const LANES = { user: { middle: 128, half: 32 }, agent: { middle: 226, half: 32 } };
const LATENCY_TOP = 186;
/** Narrowest scale at the start, in pixels per second: words fit into their time. */
const READABLE = 40;
const WIDEST = 400;
/** The widest that a short call gets by itself. */
const COMFORTABLE = 110;
const CHIP_WIDTH = 130;

/** @typedef {import("./story.js").Story} Story @typedef {import("./recording.js").Peaks} Peaks */

export class Timeline {
  /** @param {(ms: number) => void} onPlace Called with the time of a click. */
  constructor(onPlace) {
    /** @type {Story | null} */
    this.story = null;
    /** @type {Peaks | null} */
    this.peaks = null;
    this.scale = 0;
    this.isZoomed = false;
    this.cursor = 0;
    this.canvas = el("canvas", { class: "timeline-canvas" });
    this.words = el("div");
    this.inner = el("div", {
      class: "timeline-inner", "aria-hidden": "true",
      onclick: (/** @type {MouseEvent} */ event) => onPlace(((event.clientX - this.inner.getBoundingClientRect().left) / this.scale) * 1_000),
    }, this.canvas, this.words);
    this.line = el("div", { class: "timeline-cursor", "aria-hidden": "true" });
    this.inner.append(this.line);
    this.scroller = el("div", {
      class: "timeline-scroll", tabindex: 0, role: "group", "aria-label": "Timeline; the transcript below has the same as text",
      onscroll: () => this.#later(),
    }, this.inner);
    const zoom = (/** @type {string} */ label, /** @type {string} */ text, /** @type {() => number} */ scale) =>
      el("button", { type: "button", class: "quiet", "aria-label": label, onclick: () => this.#zoom(scale()) }, text);
    this.controls = el("div", { class: "zoom", role: "group", "aria-label": "Scale" },
      zoom("Show less detail", "−", () => this.scale / 1.5),
      zoom("Show the whole call", "Fit", () => this.#fitting()),
      zoom("Show more detail", "+", () => this.scale * 1.5));
    this.element = el("div", { class: "timeline" }, this.scroller);
    this.observer = new ResizeObserver(() => this.#layOut());
    this.observer.observe(this.scroller);
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.redraw = () => this.#later();
    this.scheme.addEventListener("change", this.redraw);
    this.isDrawing = false;
  }

  close() {
    this.observer.disconnect();
    this.scheme.removeEventListener("change", this.redraw);
  }

  /** @param {Story} story */
  show(story) {
    const { scrollLeft, clientWidth, scrollWidth } = this.scroller;
    const isAtEnd = this.story !== null && scrollLeft + clientWidth >= scrollWidth - 40;
    this.story = story;
    this.#layOut();
    // A live call grows in view.
    if (isAtEnd) this.scroller.scrollLeft = this.scroller.scrollWidth;
  }

  /** @param {Peaks} peaks */
  showPeaks(peaks) {
    this.peaks = peaks;
    this.#later();
  }

  /** @param {number} ms @param {boolean} follows Whether it is brought into view. */
  moveCursor(ms, follows) {
    this.cursor = ms;
    const x = (ms / 1_000) * this.scale;
    this.line.style.transform = `translateX(${x}px)`;
    const { scrollLeft, clientWidth } = this.scroller;
    if (follows && (x < scrollLeft || x > scrollLeft + clientWidth - 60)) this.scroller.scrollLeft = x - 80;
  }

  #fitting() {
    return (this.scroller.clientWidth - 24) / Math.max(1, (this.story?.length ?? 0) / 1_000);
  }

  /** @param {number} scale */
  #zoom(scale) {
    this.isZoomed = true;
    const middle = (this.scroller.scrollLeft + this.scroller.clientWidth / 2) / this.scale;
    this.scale = Math.min(WIDEST, Math.max(this.#fitting(), scale));
    this.#layOut();
    this.scroller.scrollLeft = middle * this.scale - this.scroller.clientWidth / 2;
  }

  #layOut() {
    const { story } = this;
    if (!story || this.scroller.clientWidth === 0) return;
    if (!this.isZoomed) this.scale = Math.min(COMFORTABLE, Math.max(READABLE, this.#fitting()));
    this.inner.style.width = `${Math.max(this.scroller.clientWidth, (story.length / 1_000) * this.scale + 24)}px`;
    fill(this.words, ...wordBoxes(story, this.scale), ...chips(story, this.scale));
    this.moveCursor(this.cursor, false);
    this.#later();
  }

  #later() {
    if (this.isDrawing) return;
    this.isDrawing = true;
    requestAnimationFrame(() => {
      this.isDrawing = false;
      this.#draw();
    });
  }

  #draw() {
    const { story, canvas, scroller, scale } = this;
    if (!story || scale === 0) return;
    const [width, ratio] = [scroller.clientWidth, devicePixelRatio];
    canvas.width = width * ratio;
    canvas.height = HEIGHT * ratio;
    canvas.style.width = `${width}px`;
    const context = canvas.getContext("2d");
    if (!context) return;
    context.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
    const left = scroller.scrollLeft;
    const [from, to] = [(left / scale) * 1_000, ((left + width) / scale) * 1_000];
    const x = (/** @type {number} */ ms) => (ms / 1_000) * scale - left;

    context.font = style.font;
    const step = tickSeconds(scale);
    for (let second = Math.floor(from / 1_000 / step) * step; second * 1_000 <= Math.min(to, story.length + 1_000); second += step) {
      context.fillStyle = colour("rule");
      context.fillRect(Math.round(x(second * 1_000)), 16, 1, HEIGHT - 16);
      context.fillStyle = colour("quiet");
      context.fillText(clock(second * 1_000), x(second * 1_000) + 3, 12);
    }
    for (const [channel, role] of /** @type {const} */ ([[0, "user"], [1, "agent"]])) {
      const { middle, half } = LANES[role];
      context.fillStyle = colour(role);
      const peaks = this.peaks?.channels[channel];
      if (peaks) {
        for (let pixel = 0; pixel < width; pixel++) {
          const begin = ((left + pixel) / scale) * 1_000;
          // Speech is quiet: the square root shows it.
          const height = Math.max(0.5, Math.sqrt(peakBetween(peaks, begin, begin + 1_000 / scale)) * half);
          context.fillRect(pixel, middle - height, 1, height * 2);
        }
      } else {
        context.fillRect(0, middle, width, 1);
        context.globalAlpha = 0.35;
        for (const { role: speaker, from: begin, to: end } of story.speech) {
          if (speaker === role && end >= from && begin <= to) context.fillRect(x(begin), middle - 12, x(end) - x(begin), 24);
        }
        context.globalAlpha = 1;
      }
    }
    for (const { latency } of story.said) {
      for (const { name, from: begin, to: end } of latency?.bars ?? []) {
        if (end < from || begin > to) continue;
        context.fillStyle = colour(`part-${name}`);
        context.fillRect(x(begin), LATENCY_TOP, x(end) - x(begin), 6);
      }
    }
  }
}

/** Seconds between two ticks: at least 60 pixels. @param {number} scale Pixels per second. */
export function tickSeconds(scale) {
  return [1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((step) => step * scale >= 60) ?? 1_800;
}

/** Left edge and width of each utterance: its own time, at least wide enough to read if the next leaves room. @param {Story} story @param {number} scale */
export function wordPlaces(story, scale) {
  return story.said.map((said, index) => {
    const next = story.said.slice(index + 1).find(({ role }) => role === said.role);
    const left = (said.from / 1_000) * scale;
    const room = next ? (next.from / 1_000) * scale - left - 4 : Infinity;
    const width = Math.max(8, Math.min(Math.max(((said.to - said.from) / 1_000) * scale, 110), room));
    return { left, width };
  });
}

/** @param {Story} story @param {number} scale */
function wordBoxes(story, scale) {
  const places = wordPlaces(story, scale);
  return story.said.map((said, index) => {
    const whole = said.unheard ? `${said.heard} [never heard: ${said.unheard}]` : said.heard;
    const unheard = said.unheard && [" ", el("del", {}, said.unheard)];
    const box = el("div", { class: `words words-${said.role}`, title: whole }, said.heard, ...(unheard || []));
    box.style.left = `${places[index].left}px`;
    box.style.width = `${places[index].width}px`;
    return box;
  });
}

/** @param {Story} story @param {number} scale */
function chips(story, scale) {
  const marks = story.marks.filter(({ at, kind }) => at >= 0 && at <= story.length + 500 && kind !== "state");
  const end = (story.length / 1_000) * scale + 20;
  const boxes = marks.map(({ at, text, label }) => {
    const width = Math.min((label ?? text).length * 7 + 14, CHIP_WIDTH);
    return { left: Math.max(0, Math.min((at / 1_000) * scale, end - width)), width };
  });
  const rows = placeInRows(boxes, 2);
  return marks.map(({ kind, text, label, at }, index) => {
    const chip = el("div", { class: `chip chip-${kind} chip-row-${rows[index]}`, title: `${clock(at, true)} ${text}` }, label ?? text);
    chip.style.left = `${boxes[index].left}px`;
    return chip;
  });
}
