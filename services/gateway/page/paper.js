// What a strip paints on one canvas: masks, sounds, told silences, the band of answers, what each sense adds. As thousands
// of elements these cost a browser a frame each time one is added; what is chosen, focused or read stays an element.

import { paintAdds, paintAnswers } from "./band.js";
import { el } from "./dom.js";
import { paintLane } from "./marks.js";

// How far it is painted on both sides of the view: the axis moves on between two paintings.
const BEYOND_PX = 72;

export class Paper {
  constructor(strip) {
    this.strip = strip;
    this.node = el("canvas", { className: "paper", role: "img", "aria-label": "nothing yet" });
    this.pen = this.node.getContext("2d");
    this.rows = null;
    this.fromPx = NaN;
  }

  /** The strip has another size. */
  resized() {
    this.rows = null;
  }

  /** What was painted stands for nothing any more. */
  stale() {
    this.fromPx = NaN;
  }

  /** Whether all that the view shows now was painted. */
  get covers() {
    return Math.abs(this.strip.shiftPx - this.fromPx - BEYOND_PX) < BEYOND_PX;
  }

  /** From an event time to pixels of the canvas. */
  x(us) {
    return this.strip.px(us - this.strip.axis.base) - this.fromPx;
  }

  /** From a span of event time to where it stands, null where that is out of sight. */
  span(us, lengthUs) {
    const left = this.x(us);
    const width = this.strip.px(lengthUs);
    return left > this.width || left + width < 0 ? null : { left, width };
  }

  paint() {
    const { strip, pen } = this;
    this.rows ??= this.measure();
    this.fromPx = strip.shiftPx - BEYOND_PX;
    this.node.style.left = `${this.fromPx}px`;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.node.width, this.node.height);
    const slots = strip.answers.inOrder();
    const states = {};
    for (const lane of strip.lanes.values()) {
      this.at(lane.node);
      states[lane.modality] = paintLane(this, lane, slots);
    }
    this.at(strip.answers.band);
    paintAnswers(this, slots);
    if (strip.focus) {
      this.at(strip.answers.parts);
      paintAdds(this, slots, strip.modalities);
    }
    this.tell(states);
  }

  /** The row that is painted from now on; the pen's origin is its upper edge. */
  at(node) {
    const { top, height } = this.rows.get(node);
    this.height = height;
    this.pen.setTransform(this.scale, 0, 0, this.scale, 0, top * this.scale);
  }

  /** The row at a height of the view, in pixels. */
  rowAt(y) {
    return [...(this.rows ?? [])].find(([, row]) => y >= row.top && y < row.top + row.height)?.[0] ?? null;
  }

  /** Looked at once for each size: to ask for it after each change makes the browser lay out the page each time. */
  measure() {
    const { strip } = this;
    const nodes = [...[...strip.lanes.values()].map((lane) => lane.node), strip.answers.band, strip.answers.parts];
    const rows = new Map(nodes.map((node) => [node, { top: node.offsetTop + node.clientTop, height: node.clientHeight }]));
    this.scale = devicePixelRatio;
    this.width = strip.width + 2 * BEYOND_PX;
    const height = Math.max(...[...rows.values()].map((row) => row.top + row.height));
    this.node.width = Math.ceil(this.width * this.scale);
    this.node.height = Math.ceil(height * this.scale);
    this.node.style.width = `${this.node.width / this.scale}px`;
    this.node.style.height = `${this.node.height / this.scale}px`;
    return rows;
  }

  /** In words, for who hears the page: how many windows in sight found each sense in which state. */
  tell(states) {
    const told = Object.entries(states).map(([modality, counts]) => {
      const found = Object.entries(counts).map(([state, count]) => `${count} ${state}`);
      return `${modality} ${found.join(", ") || "not judged yet"}`;
    });
    const label = `Windows in sight: ${told.join("; ")}`;
    if (this.node.getAttribute("aria-label") !== label) this.node.setAttribute("aria-label", label);
  }
}
