// The one canvas of a session: states, waveforms, idle records, predictions and contributions. As thousands of elements
// these would cost the browser a frame each time one is added. What is focused, selected or read stays an element.

import { el } from "./dom.js";
import { paintContributions, paintPredictions } from "./predictions-canvas.js";
import { paintStream } from "./stream-canvas.js";

// Painted on both sides beyond the viewport, because the axis moves on between two paintings.
const MARGIN_PX = 72;

export class SessionCanvas {
  constructor(view) {
    this.view = view;
    this.node = el("canvas", { className: "canvas", role: "img", "aria-label": "No data yet" });
    this.context = this.node.getContext("2d");
    this.rows = null;
    this.fromPx = NaN;
  }

  /** The session view has another size. */
  resized() {
    this.rows = null;
  }

  /** The painting no longer matches the axis. */
  invalidate() {
    this.fromPx = NaN;
  }

  /** Whether the painting covers the viewport. */
  get covers() {
    return Math.abs(this.view.shiftPx - this.fromPx - MARGIN_PX) < MARGIN_PX;
  }

  /** The left edge and width of a span of event time in pixels of the canvas, or null if it is not visible. */
  place(us, lengthUs) {
    const left = this.view.widthPx(us - this.view.axis.baseUs) - this.fromPx;
    const width = this.view.widthPx(lengthUs);
    return left > this.width || left + width < 0 ? null : { left, width };
  }

  paint() {
    const { view, context } = this;
    this.rows ??= this.measure();
    this.fromPx = view.shiftPx - MARGIN_PX;
    this.node.style.left = `${this.fromPx}px`;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.node.width, this.node.height);
    const timeWindows = view.predictions.inOrder();
    const counts = {};
    for (const stream of view.streams.values()) {
      this.moveTo(stream.node);
      counts[stream.modality] = paintStream(this, stream, timeWindows);
    }
    this.moveTo(view.predictions.row);
    paintPredictions(this, timeWindows);
    if (view.focus) {
      this.moveTo(view.predictions.contributionRow);
      paintContributions(this, timeWindows, view.modalities);
    }
    this.describe(counts);
  }

  /** Paint the row of this element from now on, with the origin at its upper edge. */
  moveTo(node) {
    const { top, height } = this.rows.get(node);
    this.height = height;
    this.context.setTransform(this.scale, 0, 0, this.scale, 0, top * this.scale);
  }

  /** The element of the row at this height of the viewport. */
  rowAt(y) {
    return [...(this.rows ?? [])].find(([, row]) => y >= row.top && y < row.top + row.height)?.[0] ?? null;
  }

  /** Measure once for each size: measuring after each change would make the browser lay out the page each time. */
  measure() {
    const { view } = this;
    const { row, contributionRow } = view.predictions;
    const nodes = [...[...view.streams.values()].map((stream) => stream.node), row, contributionRow];
    const rows = new Map(nodes.map((node) => [node, { top: node.offsetTop + node.clientTop, height: node.clientHeight }]));
    this.scale = devicePixelRatio;
    this.width = view.width + 2 * MARGIN_PX;
    const height = Math.max(...[...rows.values()].map((one) => one.top + one.height));
    this.node.width = Math.ceil(this.width * this.scale);
    this.node.height = Math.ceil(height * this.scale);
    this.node.style.width = `${this.node.width / this.scale}px`;
    this.node.style.height = `${this.node.height / this.scale}px`;
    return rows;
  }

  /** Say the same in words for screen readers: how many visible windows found each stream in which state. */
  describe(counts) {
    const streams = Object.entries(counts).map(([modality, states]) => {
      const parts = Object.entries(states).map(([state, count]) => `${count} ${state}`);
      return `${modality} ${parts.join(", ") || "no windows yet"}`;
    });
    const label = `Visible windows: ${streams.join("; ")}`;
    if (this.node.getAttribute("aria-label") !== label) this.node.setAttribute("aria-label", label);
  }
}
