// The windows, predictions and events of a session.

import { el, labelText, labelWidth, percent, setText, signed, stateText, timeText } from "./dom.js";
import { NOTHING } from "./predictions-canvas.js";

// The padding and borders of an event's box.
const EVENT_PADDING_PX = 14;

/** A window: the state of each modality, its early and final prediction, and the cell that a person can select. */
class TimeWindow {
  constructor(startUs, endUs) {
    this.startUs = startUs;
    this.endUs = endUs;
    this.closed = false;
    this.states = new Map();
    this.cell = null;
    this.early = null;
    this.final = null;
  }

  get prediction() {
    return this.final ?? this.early;
  }

  hasPrediction(id) {
    return this.early?.id === id || this.final?.id === id;
  }
}

export class Predictions {
  constructor(view, select) {
    this.view = view;
    this.select = select;
    this.windows = new Map();
    this.events = new Map();
    this.finalUs = 0;
    this.row = el("div", { className: "predictions", role: "group", "aria-label": "Predictions, oldest first" });
    this.contributionRow = el("div", { className: "contributions", "aria-hidden": "true" });
    this.eventRow = el("div", { className: "events" });
    this.row.addEventListener("keydown", (event) => this.onKey(event));
    this.row.addEventListener("focusin", ({ target }) => {
      // A mouse click focuses a cell as well: that alone must not stop the axis.
      this.view.axis.focusUs = target.us !== undefined && target.matches(":focus-visible") ? target.us : null;
    });
    this.row.addEventListener("focusout", () => (this.view.axis.focusUs = null));
    this.row.addEventListener("click", (event) => {
      const cell = event.target.closest(".cell");
      if (cell?.prediction) this.select(this.view, cell.prediction.id);
    });
  }

  timeWindow(startUs, endUs) {
    let timeWindow = this.windows.get(startUs);
    if (!timeWindow) {
      timeWindow = new TimeWindow(startUs, endUs);
      this.windows.set(startUs, timeWindow);
      this.view.advance(endUs);
    }
    return timeWindow;
  }

  /** Add a window record; an early one does not replace a final one. */
  addWindow(record) {
    const timeWindow = this.timeWindow(record.start_us, record.end_us);
    if (timeWindow.closed && !record.final) return;
    timeWindow.closed = record.final;
    for (const [modality, { state, evidence }] of Object.entries(record.modalities))
      timeWindow.states.set(modality, { state, evidence, final: record.final });
  }

  addPrediction(p) {
    const timeWindow = this.timeWindow(p.window.start, p.window.end);
    timeWindow[p.final ? "final" : "early"] = p;
    if (!timeWindow.cell) {
      timeWindow.cell = el("button", { type: "button", tabIndex: -1 });
      timeWindow.cell.timeWindow = timeWindow;
      this.view.add(this.row, timeWindow.cell, timeWindow.endUs - this.view.hopUs, this.view.hopUs);
    }
    this.describe(timeWindow);
    if (p.final) this.finalUs = Math.max(this.finalUs, p.window.start);
    if (p.final && p.event) this.extendEvent(p.event);
    if (!this.latest || order(timeWindow.prediction) >= order(this.latest)) this.latest = timeWindow.prediction;
    if (!this.tabStop) this.setTabStop(timeWindow.cell);
  }

  /** Say in words what the canvas paints. */
  describe({ cell, prediction: p, endUs }) {
    cell.prediction = p;
    cell.className = ["cell", p.final ? "final" : "early", p.label === NOTHING ? "nothing" : "", p.abstained ? "abstained" : ""].join(" ").trim();
    const parts = [
      `${labelText(p.label)}, ${percent(p.confidence)}, ${p.final ? "final" : "early"} prediction of the window up to ${timeText(endUs, true)}`,
      p.abstained && "unsure: several labels are likely",
      p.odd && `${p.odd} contradicts the others`,
    ];
    cell.title = parts.filter(Boolean).join("; ");
    cell.setAttribute("aria-label", cell.title);
  }

  /** All windows, oldest first. */
  inOrder() {
    return [...this.windows.values()].sort((a, b) => a.startUs - b.startUs);
  }

  /** The state of a modality at an event time, in words. */
  stateAt(modality, us) {
    for (const { endUs, states } of this.windows.values()) {
      const found = us >= endUs - this.view.hopUs && us < endUs && states.get(modality);
      if (found) return `${modality} ${stateText(found.state, found.evidence)} in the window up to ${timeText(endUs, true)}`;
    }
    return "";
  }

  /** The contributions to the final prediction at an event time, in words. */
  contributionsAt(us) {
    for (const { endUs, final } of this.windows.values()) {
      if (!final || us < endUs - this.view.hopUs || us >= endUs) continue;
      return Object.entries(final.modalities).map(([modality, input]) => `${modality} ${signed(input.contribution)}`).join(", ");
    }
    return "";
  }

  addEvent(record) {
    let event = this.events.get(record.id);
    if (record.lifecycle === "withdrawn") {
      if (event && !event.final) this.removeEvent(record.id, event);
      return;
    }
    if (!event) {
      const node = el("button", { type: "button", tabIndex: -1 }, el("span", {}));
      node.addEventListener("click", () => this.select(this.view, event.prediction));
      event = { node, startUs: record.start, endUs: record.end, final: false, ended: false };
      this.events.set(record.id, event);
      this.view.add(this.eventRow, node, record.start, record.end - record.start);
    }
    // An early prediction does not take back a confirmed event.
    if (event.final && !record.final) return;
    const { final, prediction, label, confidence } = record;
    Object.assign(event, { final, prediction, label, confidence });
    event.expiresUs = record.expires;
    if (record.lifecycle === "end") event.ended = true;
    this.resizeEvent(event, record.start, record.end);
  }

  removeEvent(id, event) {
    this.view.remove(event.node);
    this.events.delete(id);
    this.dirty = true;
  }

  extendEvent({ id, start, end }) {
    const event = this.events.get(id);
    if (event && !event.ended) this.resizeEvent(event, start, end);
  }

  resizeEvent(event, startUs, endUs) {
    event.endUs = Math.max(endUs, startUs + this.view.hopUs);
    event.node.us = startUs;
    event.node.lengthUs = event.endUs - startUs;
    this.view.position(event.node);
    event.node.className = `event ${event.final ? "final" : "early"}${event.ended ? " ended" : ""}`;
    setText(event.node.firstChild, labelText(event.label));
    const kind = event.final ? "confirmed" : "early";
    event.node.title = `${labelText(event.label)}, ${kind}, ${timeText(startUs, true)} to ${timeText(event.endUs, true)}`;
    this.dirty = true;
  }

  /** Put the label of each event inside its box, or behind the box if there is more room. */
  layoutLabels() {
    this.dirty = false;
    const nodes = [...this.events.values()].map((event) => event.node).sort((a, b) => a.us - b.us);
    nodes.forEach((node, n) => {
      const next = nodes[n + 1];
      const inside = this.view.widthPx(next ? Math.min(node.lengthUs, next.us - node.us) : node.lengthUs) - EVENT_PADDING_PX;
      const behind = next ? this.view.widthPx(next.us - node.us - node.lengthUs) - EVENT_PADDING_PX : Infinity;
      const outside = labelWidth(node.textContent) > inside && behind > inside;
      node.classList.toggle("outside", outside);
      const room = outside ? behind : inside;
      node.firstChild.style.maxWidth = room === Infinity ? "" : `${Math.max(room, 0)}px`;
    });
  }

  removeOlder(oldestUs) {
    for (const [start, { endUs }] of this.windows) if (endUs < oldestUs) this.windows.delete(start);
    for (const [id, event] of this.events) {
      // The record that withdraws an early event is missing if the fusion worker was started again meanwhile.
      const expired = !event.final && event.expiresUs <= this.finalUs;
      if (event.endUs < oldestUs || expired) this.removeEvent(id, event);
    }
    // The Tab key leads to the newest prediction, unless a person is moving along them.
    if (!this.row.contains(document.activeElement)) this.setTabStop(this.row.lastElementChild);
  }

  /** Show what changed, except for the canvas. */
  draw() {
    if (this.latest !== this.drawn && this.latest) this.view.current.show(this.latest);
    this.drawn = this.latest;
    if (this.dirty) this.layoutLabels();
  }

  /** The cell some steps after the one with this prediction, or null. */
  neighbour(id, step) {
    const cells = this.cells();
    const index = cells.findIndex((cell) => cell.timeWindow.hasPrediction(id));
    return cells[index + step] ?? null;
  }

  /** Move the focus from a cell to the next one; return whether there is one. */
  focusAfter(cell) {
    const cells = this.cells();
    const index = cells.indexOf(cell);
    const next = cells[index + 1];
    if (index < 0 || !next) return false;
    next.hidden = false;
    this.setTabStop(next);
    next.focus({ preventScroll: true });
    return true;
  }

  cells() {
    return [...this.row.querySelectorAll(".cell")].sort((a, b) => a.us - b.us);
  }

  setTabStop(cell) {
    if (this.tabStop) this.tabStop.tabIndex = -1;
    this.tabStop = cell ?? null;
    if (cell) cell.tabIndex = 0;
  }

  onKey(event) {
    const cell = event.target.closest(".cell");
    const cells = this.cells().filter((one) => !one.hidden);
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -cells.length, End: cells.length }[event.key];
    if (!cell || step === undefined) return;
    const index = Math.min(Math.max(cells.indexOf(cell) + step, 0), cells.length - 1);
    this.setTabStop(cells[index]);
    cells[index].focus({ preventScroll: true });
    event.preventDefault();
  }

  /** Highlight the window of a prediction, or nothing if the id is null. */
  highlight(id) {
    this.highlighted?.remove();
    this.highlighted = null;
    if (id === null) this.view.axis.heldUs = null;
    for (const timeWindow of this.windows.values()) {
      const selected = id !== null && timeWindow.hasPrediction(id);
      timeWindow.cell?.classList.toggle("selected", selected);
      if (!selected) continue;
      this.highlighted = el("div", { className: "highlight" });
      this.view.axis.hold(timeWindow.startUs, timeWindow.endUs);
      this.view.add(this.view.track, this.highlighted, timeWindow.startUs, timeWindow.endUs - timeWindow.startUs);
    }
  }
}

/** Later windows come after earlier ones, and the final prediction of a window after its early one. */
function order(p) {
  return p.window.start + (p.final ? 1 : 0);
}
