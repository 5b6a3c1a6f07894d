// One session: its streams, predictions and events on one time axis. Records wait in a queue until the session is drawn.
// Elements are positioned once, the rest is painted on one canvas, and the whole track moves by whole pixels, which needs
// no painting.

import { Axis } from "./axis.js";
import { SessionCanvas } from "./session-canvas.js";
import { CurrentPrediction } from "./current.js";
import { el, icon, setText, timeText } from "./dom.js";
import { Predictions } from "./predictions.js";
import { Stream } from "./stream.js";

const ORDER = ["video", "audio", "text"];
// Events before predictions: a prediction extends the event that is going on.
const KINDS = ["chunk", "late", "dead", "window", "event", "prediction", "tick", "end"];
const HISTORY_US = 70_000_000;
const HELD_US = 300_000_000;
const REJECTED_MAX = 200;
const QUEUE_MAX = 2_000;
const TOLERANCE_PX = 4;
const COUNTED = { late: ["late", "late"], duplicate: ["duplicate", "duplicates"], dead: ["rejected", "rejected"] };

export class SessionView {
  constructor(id, { select, spanUs, focus }) {
    this.id = id;
    this.focus = focus;
    this.axis = new Axis(spanUs);
    this.generation = 0;
    this.placed = new Set();
    this.streams = new Map();
    this.marks = new Set();
    this.counts = { late: 0, duplicate: 0, dead: 0 };
    this.rejected = new Map();
    this.visible = true;
    this.receivedMs = 0;
    this.width = 0;
    this.queue = [];
    this.drawnMs = 0;
    this.canvas = new SessionCanvas(this);
    this.track = el("div", { className: "track" }, this.canvas.node);
    this.viewport = el("div", { className: "viewport" }, this.track);
    this.predictions = new Predictions(this, select);
    this.current = new CurrentPrediction();
    this.countsNode = el("span", { className: "counts" });
    this.gutter = el("div", { className: "gutter", "aria-hidden": "true" });
    const name = el("a", { className: "name", href: focus ? "#" : `#${encodeURIComponent(id)}` }, id);
    this.node = el(
      "section",
      { className: "session" + (focus ? " focus" : ""), "aria-label": `Session ${id}` },
      el("header", {}, el("h2", {}, name), this.countsNode),
      el("div", { className: "body" }, this.gutter, this.viewport, this.current.node),
    );
    this.node.dataset.session = id;
    this.resizing = new ResizeObserver(([entry]) => {
      this.width = entry.contentRect.width;
      this.relayout();
    });
    this.resizing.observe(this.viewport);
    this.viewport.addEventListener("pointermove", (event) => this.showTitle(event));
  }

  /** Fill from a snapshot; what is there already stays. */
  load(snapshot) {
    this.hopUs = snapshot.hop_us;
    this.generation = snapshot.generation;
    if (!this.streams.size) this.build(snapshot.modalities);
    const nowMs = performance.now();
    for (const kind of KINDS) snapshot[kind].forEach((record) => this.apply(kind, record, nowMs));
    this.step(nowMs, 1e6);
    this.draw(nowMs);
  }

  /** Queue a record until the session is drawn. A session that is not visible is not drawn, so the queue is bounded. */
  receive(kind, record) {
    this.queue.push([kind, record, performance.now()]);
    if (this.queue.length > QUEUE_MAX) this.applyQueue();
  }

  build(modalities) {
    this.modalities = [...ORDER.filter((m) => modalities.includes(m)), ...modalities.filter((m) => !ORDER.includes(m))];
    for (const modality of this.modalities) {
      const stream = new Stream(modality, this);
      this.streams.set(modality, stream);
      this.track.append(stream.node);
      this.gutter.append(el("div", { className: `stream m-${modality}` }, icon(modality), el("span", {}, modality)));
    }
    this.axisRow = el("div", { className: "axis" });
    const { row, contributionRow, eventRow } = this.predictions;
    this.track.append(row, contributionRow, eventRow, this.axisRow);
    for (const name of ["predictions", "contributions", "events"])
      this.gutter.append(el("div", { className: name }, el("span", {}, name)));
    this.current.build(this.modalities);
  }

  apply(kind, record, receivedMs) {
    if (!this.streams.size) return;
    this.receivedMs = receivedMs;
    const stream = this.streams.get(record.modality);
    if (kind === "window") this.predictions.addWindow(record);
    else if (kind === "prediction") this.predictions.addPrediction(record);
    else if (kind === "event") this.predictions.addEvent(record);
    else if (!stream) return;
    else if (kind === "chunk") {
      // A source whose clock is ahead must not move the axis away.
      this.advance(Math.min(record.t_us + record.duration_us, record.arrived_us + 1_000_000));
      stream.add(record);
    } else if (kind === "late" || kind === "dead") this.addRejected(kind, stream, record);
    else this.addIdle(kind, stream, record);
  }

  advance(us) {
    this.axis.advance(us, this.receivedMs);
  }

  count(kind) {
    this.counts[kind] += 1;
    const parts = Object.entries(this.counts).filter(([, n]) => n);
    setText(this.countsNode, parts.map(([name, n]) => `${n} ${COUNTED[name][n === 1 ? 0 : 1]}`).join(" · "));
  }

  addRejected(kind, stream, record) {
    const key = `${record.modality} ${record.at.join(" ")}`;
    if (this.rejected.has(key)) return;
    this.rejected.set(key, { us: record.t_us, modality: record.modality, reason: stream.reject(kind, record) });
    if (this.rejected.size > REJECTED_MAX) this.rejected.delete(this.rejected.keys().next().value);
  }

  addIdle(kind, stream, record) {
    const us = kind === "end" ? record.t_us : record.bound_us;
    if (kind === "end" || record.evidence === "end")
      this.addMark(`end ${stream.modality} ${us}`, stream.node, us, () => el("i", { className: "ended", title: "the source ended" }));
    else stream.idleUs.add(us);
  }

  /** Add an element at an event time once; the key says which. */
  addMark(key, row, us, make) {
    if (this.marks.has(key)) return;
    this.marks.add(key);
    const node = make();
    node.onRemove = () => this.marks.delete(key);
    this.add(row, node, us, 0);
  }

  /** Add an element at an event time, as wide as it lasts. */
  add(row, node, us, lengthUs) {
    node.us = us;
    node.lengthUs = lengthUs;
    this.placed.add(node);
    this.position(node);
    row.append(node);
  }

  position(node) {
    node.style.left = `${this.axis.percentAt(node.us)}%`;
    if (node.lengthUs) node.style.width = `${(node.lengthUs / this.axis.spanUs) * 100}%`;
  }

  remove(node) {
    this.placed.delete(node);
    node.remove();
    node.onRemove?.();
  }

  relayout() {
    this.streams.forEach((stream) => stream.resized());
    this.predictions.dirty = true;
    this.canvas.resized();
    this.move();
    if (this.streams.size) this.draw(performance.now());
  }

  setVisible(visible) {
    this.visible = visible;
    if (visible) this.draw(performance.now());
  }

  setSpan(us) {
    this.axis.spanUs = us;
    this.axis.baseUs = this.axis.shownUs || this.axis.baseUs;
    this.placed.forEach((node) => this.position(node));
    this.relayout();
  }

  /** The width in pixels of a span of event time. */
  widthPx(us) {
    return (us / this.axis.spanUs) * this.width;
  }

  /** The left edge of the viewport from the base, in whole device pixels: between two pixels the track would be painted again. */
  get shiftPx() {
    return Math.round(this.widthPx(this.axis.fromUs - this.axis.baseUs) * devicePixelRatio) / devicePixelRatio;
  }

  /** Move on by one animation step. */
  step(nowMs, deltaMs) {
    if (this.axis.step(nowMs, deltaMs)) {
      this.placed.forEach((node) => this.position(node));
      this.canvas.invalidate();
    }
    this.move();
    if (!this.canvas.covers) this.draw(nowMs);
  }

  move() {
    this.track.style.transform = `translateX(${-this.shiftPx}px)`;
  }

  /** Apply the queue and show all that changed. Only a visible session is painted. */
  draw(nowMs) {
    this.drawnMs = nowMs;
    this.applyQueue();
    if (!this.streams.size || !this.width) return;
    this.streams.forEach((stream) => stream.layout(this.width));
    this.predictions.draw();
    if (this.visible) this.canvas.paint();
    this.drawAxis();
  }

  /** Show a title for what is painted under the pointer; elements have their own. */
  showTitle({ target, clientX, clientY }) {
    if (target.closest(".viewport [title]")) return;
    const box = this.viewport.getBoundingClientRect();
    const row = this.canvas.rowAt(clientY - box.top);
    const us = this.axis.fromUs + ((clientX - box.left) / this.width) * this.axis.spanUs;
    const stream = [...this.streams.values()].find((one) => one.node === row);
    const toleranceUs = (TOLERANCE_PX / this.width) * this.axis.spanUs;
    if (stream) {
      const titles = [...stream.titlesAt(us, toleranceUs), this.predictions.stateAt(stream.modality, us)];
      this.viewport.title = titles.filter(Boolean).join("\n");
    } else this.viewport.title = row === this.predictions.contributionRow ? this.predictions.contributionsAt(us) : "";
  }

  /** Apply the queued records, and remove what is too old. */
  applyQueue() {
    const queue = this.queue;
    this.queue = [];
    queue.forEach(([kind, record, receivedMs]) => this.apply(kind, record, receivedMs));
    const oldestUs = Math.max(this.axis.shownUs, this.axis.newestUs - HELD_US) - HISTORY_US;
    // What lies left of the viewport stays for those who move back, but hidden, so that it costs no painting. The labels of
    // events reach out of their boxes, hence the half span.
    const visibleUs = this.axis.fromUs - this.axis.spanUs / 2;
    for (const node of this.placed) {
      const endUs = node.us + node.lengthUs;
      // To hide or remove what has the focus would take the focus away.
      if (node === document.activeElement && !(endUs < oldestUs && this.predictions.focusAfter(node))) continue;
      if (endUs < oldestUs) this.remove(node);
      else if (node.hidden !== endUs < visibleUs) node.hidden = endUs < visibleUs;
    }
    this.predictions.removeOlder(oldestUs);
    this.streams.forEach((stream) => stream.removeOlder(oldestUs));
  }

  drawAxis() {
    if (!this.axis.newestUs) return;
    const step = [1, 2, 5, 10, 20].map((s) => s * 1e6).find((us) => this.widthPx(us) > 84) ?? 3e7;
    for (const node of [...this.axisRow.children]) if (node.step !== step) this.remove(node);
    const endUs = this.axis.fromUs + this.axis.spanUs;
    for (let us = Math.floor(this.axis.fromUs / step) * step; us < endUs + step; us += step) {
      this.addMark(`axis ${us}`, this.axisRow, us, () => Object.assign(el("i", {}, el("span", {}, timeText(us))), { step }));
    }
  }

  close() {
    this.resizing.disconnect();
    this.node.remove();
  }
}
