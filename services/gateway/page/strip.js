// One session: lanes, answers and events on one axis. What comes is kept until the strip's turn to draw; elements are placed
// once, the rest is painted on one canvas, and the whole track is moved by whole pixels, which needs no painting.

import { Answers } from "./answers.js";
import { el, sign, text, time } from "./dom.js";
import { Lane } from "./lane.js";
import { Now } from "./now.js";
import { Paper } from "./paper.js";
import { Axis } from "./time.js";

const ORDER = ["video", "audio", "text"];
// Events before predictions: a prediction says how long the event that goes on has lasted by then.
const KINDS = ["chunk", "late", "dead", "window", "event", "prediction", "tick", "end"];
const KEPT_US = 70_000_000;
const HELD_US = 300_000_000;
const REFUSED_MAX = 200;
const WAITING_MAX = 2_000;
const NEAR_PX = 4;
const WORDS = { late: ["late", "late"], copy: ["copy", "copies"], dead: ["refused", "refused"] };

export class Strip {
  constructor(session, { choose, spanUs, focus }) {
    this.session = session;
    this.focus = focus;
    this.axis = new Axis(spanUs);
    this.placed = new Set();
    this.lanes = new Map();
    this.ticks = new Set();
    this.counts = { late: 0, copy: 0, dead: 0 };
    this.refused = new Map();
    this.visible = true;
    this.atMs = 0;
    this.width = 0;
    this.waiting = [];
    this.drawnMs = 0;
    this.paper = new Paper(this);
    this.track = el("div", { className: "track" }, this.paper.node);
    this.view = el("div", { className: "view" }, this.track);
    this.answers = new Answers(this, choose);
    this.now = new Now();
    this.told = el("span", { className: "counts" });
    this.gutter = el("div", { className: "gutter", "aria-hidden": "true" });
    const name = el("a", { className: "name", href: focus ? "#" : `#${encodeURIComponent(session)}` }, session);
    this.node = el(
      "section",
      { className: "strip" + (focus ? " focus" : ""), "aria-label": `Session ${session}` },
      el("header", {}, el("h2", {}, name), this.told),
      el("div", { className: "body" }, this.gutter, this.view, this.now.node),
    );
    this.node.dataset.session = session;
    this.sized = new ResizeObserver(([entry]) => {
      this.width = entry.contentRect.width;
      this.relayout();
    });
    this.sized.observe(this.view);
    this.view.addEventListener("pointermove", (event) => this.pointed(event));
  }

  /** Fill from a snapshot; what is known already stays as it is. */
  begin(snapshot) {
    this.hopUs = snapshot.hop_us;
    if (!this.lanes.size) this.build(snapshot.modalities);
    const nowMs = performance.now();
    for (const kind of KINDS) snapshot[kind].forEach((record) => this.take(kind, record, nowMs));
    this.step(nowMs, 1e6);
    this.draw(nowMs);
  }

  /** One record of the stream, which waits for the strip's turn; where nobody looks, no turn comes. */
  message(kind, record) {
    this.waiting.push([kind, record, performance.now()]);
    if (this.waiting.length > WAITING_MAX) this.tidy();
  }

  build(modalities) {
    this.modalities = [...ORDER.filter((m) => modalities.includes(m)), ...modalities.filter((m) => !ORDER.includes(m))];
    for (const modality of this.modalities) {
      const lane = new Lane(modality, this);
      this.lanes.set(modality, lane);
      this.track.append(lane.node);
      this.gutter.append(el("div", { className: `lane m-${modality}` }, sign(modality), el("span", {}, modality)));
    }
    this.axisRow = el("div", { className: "axis" });
    this.track.append(this.answers.band, this.answers.parts, this.answers.eventRow, this.axisRow);
    for (const name of ["answers", "adds", "events"]) this.gutter.append(el("div", { className: name }, el("span", {}, name)));
    this.now.build(this.modalities);
  }

  take(kind, record, atMs) {
    if (!this.lanes.size) return;
    this.atMs = atMs;
    const lane = this.lanes.get(record.modality);
    if (kind === "window") this.answers.window(record);
    else if (kind === "prediction") this.answers.prediction(record);
    else if (kind === "event") this.answers.event(record);
    else if (!lane) return;
    else if (kind === "chunk") {
      // A clock that runs ahead must not carry the axis away.
      this.hear(Math.min(record.t_us + record.duration_us, record.arrived_us + 1_000_000));
      lane.add(record);
    } else if (kind === "late" || kind === "dead") this.refuse(kind, lane, record);
    else this.silence(kind, lane, record);
  }

  hear(us) {
    this.axis.hear(us, this.atMs);
  }

  count(kind) {
    this.counts[kind] += 1;
    const told = Object.entries(this.counts).filter(([, n]) => n);
    text(this.told, told.map(([k, n]) => `${n} ${WORDS[k][n === 1 ? 0 : 1]}`).join(" · "));
  }

  refuse(kind, lane, record) {
    const key = `${record.modality} ${record.at.join(" ")}`;
    if (this.refused.has(key)) return;
    this.refused.set(key, { kind, us: record.t_us, modality: record.modality, why: lane.mark(kind, record) });
    if (this.refused.size > REFUSED_MAX) this.refused.delete(this.refused.keys().next().value);
  }

  silence(kind, lane, record) {
    const us = kind === "end" ? record.t_us : record.bound_us;
    if (kind === "end" || record.evidence === "end")
      this.once(`end ${lane.modality} ${us}`, lane.node, us, () => el("i", { className: "ended", title: "its sources have ended" }));
    else lane.silences.add(us);
  }

  /** Make something at a time unless it is there. */
  once(key, row, us, make) {
    if (this.ticks.has(key)) return;
    this.ticks.add(key);
    const made = make();
    made.gone = () => this.ticks.delete(key);
    this.put(row, made, us, 0);
  }

  /** Stand at an event time, with a width where it lasts. */
  put(row, node, us, lengthUs) {
    node.us = us;
    node.lengthUs = lengthUs;
    this.placed.add(node);
    this.place(node);
    row.append(node);
  }

  place(node) {
    node.style.left = `${this.axis.at(node.us)}%`;
    if (node.lengthUs) node.style.width = `${(node.lengthUs / this.axis.spanUs) * 100}%`;
  }

  remove(node) {
    this.placed.delete(node);
    node.remove();
    node.gone?.();
  }

  relayout() {
    this.lanes.forEach((lane) => lane.resized());
    this.answers.dirty = true;
    this.paper.resized();
    this.move();
    if (this.lanes.size) this.draw(performance.now());
  }

  /** Somebody sees the strip from now on, or no more. */
  seen(on) {
    this.visible = on;
    if (on) this.draw(performance.now());
  }

  set span(us) {
    this.axis.spanUs = us;
    this.axis.base = this.axis.shown || this.axis.base;
    this.placed.forEach((node) => this.place(node));
    this.relayout();
  }

  /** How many pixels a span of event time is wide. */
  px(us) {
    return (us / this.axis.spanUs) * this.width;
  }

  /** Where the view begins, in pixels of the screen from the base on: a track between two pixels must be blended anew. */
  get shiftPx() {
    return Math.round(this.px(this.axis.from - this.axis.base) * devicePixelRatio) / devicePixelRatio;
  }

  /** Move the picture on. */
  step(nowMs, deltaMs) {
    if (this.axis.step(nowMs, deltaMs)) {
      this.placed.forEach((node) => this.place(node));
      this.paper.stale();
    }
    this.move();
    if (!this.paper.covers) this.draw(nowMs);
  }

  move() {
    this.track.style.transform = `translateX(${-this.shiftPx}px)`;
  }

  /** Take what waits, and show all that changed; who is out of sight paints nothing. */
  draw(nowMs) {
    this.drawnMs = nowMs;
    this.tidy();
    if (!this.lanes.size || !this.width) return;
    this.lanes.forEach((lane) => lane.layout(this.width));
    this.answers.draw();
    if (this.visible) this.paper.paint();
    this.scale();
  }

  /** What is under a point and is no element tells its title. */
  pointed({ target, clientX, clientY }) {
    if (target.closest(".view [title]")) return;
    const box = this.view.getBoundingClientRect();
    const row = this.paper.rowAt(clientY - box.top);
    const us = this.axis.from + ((clientX - box.left) / this.width) * this.axis.spanUs;
    const lane = [...this.lanes.values()].find((one) => one.node === row);
    const near = (NEAR_PX / this.width) * this.axis.spanUs;
    if (lane) this.view.title = [...lane.at(us, near), this.answers.maskAt(lane.modality, us)].filter(Boolean).join("\n");
    else this.view.title = row === this.answers.parts ? this.answers.addsAt(us) : "";
  }

  /** Take what waits, and take away what is long out of sight. */
  tidy() {
    const waiting = this.waiting;
    this.waiting = [];
    waiting.forEach(([kind, record, atMs]) => this.take(kind, record, atMs));
    const oldest = Math.max(this.axis.shown, this.axis.newest - HELD_US) - KEPT_US;
    // What is left of the view, names that reach out of it aside, is kept for who walks back, and costs no painting.
    const seen = this.axis.from - this.axis.spanUs / 2;
    for (const node of this.placed) {
      const ends = node.us + node.lengthUs;
      // To hide or remove what has the focus would take the focus away.
      if (node === document.activeElement && !(ends < oldest && this.answers.focusAfter(node))) continue;
      if (ends < oldest) this.remove(node);
      else if (node.hidden !== ends < seen) node.hidden = ends < seen;
    }
    this.answers.tidy(oldest);
    this.lanes.forEach((lane) => lane.tidy(oldest));
  }

  scale() {
    if (!this.axis.newest) return;
    const step = [1, 2, 5, 10, 20].map((s) => s * 1e6).find((us) => (us / this.axis.spanUs) * this.width > 84) ?? 3e7;
    for (const node of [...this.axisRow.children]) if (node.step !== step) this.remove(node);
    const ends = this.axis.from + this.axis.spanUs;
    for (let us = Math.floor(this.axis.from / step) * step; us < ends + step; us += step) {
      this.once(`axis ${us}`, this.axisRow, us, () => Object.assign(el("i", {}, el("span", {}, time(us))), { step }));
    }
  }

  close() {
    this.sized.disconnect();
    this.node.remove();
  }
}
