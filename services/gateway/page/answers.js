// The answers of a session: the masks of windows, the band of predictions, and the events.

import { NOTHING } from "./band.js";
import { el, label, nameWidth, percent, signed, text, time } from "./dom.js";

// Around the name of a chip: its padding and borders.
const CHIP_PX = 14;

/** A window: its mask by modality, its first and final answer, and the element that stands for them. */
class Slot {
  constructor(startUs, endUs) {
    this.startUs = startUs;
    this.endUs = endUs;
    this.closed = false;
    this.masks = new Map();
    this.cell = null;
    this.early = null;
    this.final = null;
  }

  get shown() {
    return this.final ?? this.early;
  }
}

export class Answers {
  constructor(strip, choose) {
    this.strip = strip;
    this.choose = choose;
    this.windows = new Map();
    this.events = new Map();
    this.confirmed = 0;
    this.band = el("div", { className: "answers", role: "group", "aria-label": "Answers, oldest first" });
    this.parts = el("div", { className: "adds", "aria-hidden": "true" });
    this.eventRow = el("div", { className: "events" });
    this.band.addEventListener("keydown", (event) => this.key(event));
    this.band.addEventListener("focusin", ({ target }) => {
      // A click of the mouse focuses a cell, too: that alone must not stop the axis.
      this.strip.axis.focusUs = target.us !== undefined && target.matches(":focus-visible") ? target.us : null;
    });
    this.band.addEventListener("focusout", () => (this.strip.axis.focusUs = null));
    this.band.addEventListener("click", (event) => {
      const cell = event.target.closest(".cell");
      if (cell?.chosen) this.choose(this.strip, cell.chosen.id);
    });
  }

  slot(startUs, endUs) {
    let slot = this.windows.get(startUs);
    if (!slot) {
      slot = new Slot(startUs, endUs);
      this.windows.set(startUs, slot);
      this.strip.hear(endUs);
    }
    return slot;
  }

  /** A window's mask; a final one stands over an early one. */
  window(w) {
    const slot = this.slot(w.start_us, w.end_us);
    if (slot.closed && !w.final) return;
    slot.closed = w.final;
    for (const [modality, { state, evidence }] of Object.entries(w.modalities)) slot.masks.set(modality, { state, evidence, final: w.final });
  }

  prediction(p) {
    const slot = this.slot(p.window.start, p.window.end);
    slot[p.final ? "final" : "early"] = p;
    if (!slot.cell) {
      slot.cell = el("button", { type: "button", tabIndex: -1 });
      slot.cell.slot = slot;
      this.strip.put(this.band, slot.cell, slot.endUs - this.strip.hopUs, this.strip.hopUs);
    }
    this.describe(slot);
    if (p.final) this.confirmed = Math.max(this.confirmed, p.window.start);
    if (p.final && p.event) this.lengthen(p);
    if (!this.latest || this.order(slot.shown) >= this.order(this.latest)) this.latest = slot.shown;
    if (!this.tab) this.stop(slot.cell);
  }

  order(p) {
    // The newest final answer is what counts; until there is one, the newest first answer.
    return p.window.start + (p.final ? 1 : 0);
  }

  /** What the band paints, in words. */
  describe(slot) {
    const [cell, p] = [slot.cell, slot.shown];
    cell.chosen = p;
    cell.className = ["cell", p.final ? "final" : "early", p.label === NOTHING ? "nothing" : "", p.abstained ? "abstained" : ""].join(" ").trim();
    const told = `${label(p.label)}, ${percent(p.confidence)}, ${p.final ? "final" : "first answer"}, window to ${time(slot.endUs, true)}`;
    cell.title = told + (p.abstained ? ", abstains" : "") + (p.odd ? `, ${p.odd} contradicts the others` : "");
    cell.setAttribute("aria-label", cell.title);
  }

  /** The windows, oldest first. */
  inOrder() {
    return [...this.windows.values()].sort((a, b) => a.startUs - b.startUs);
  }

  /** What the mask of a lane says at an event time. */
  maskAt(modality, us) {
    for (const slot of this.windows.values()) {
      const found = us >= slot.endUs - this.strip.hopUs && us < slot.endUs && slot.masks.get(modality);
      if (found) return `${modality} ${found.state}${found.evidence ? ` by ${found.evidence}` : ""}, window to ${time(slot.endUs, true)}`;
    }
    return "";
  }

  /** What each sense added to the answer at an event time. */
  addsAt(us) {
    for (const { endUs, final } of this.windows.values()) {
      if (!final || us < endUs - this.strip.hopUs || us >= endUs) continue;
      return Object.entries(final.modalities).map(([m, sense]) => `${m} ${signed(sense.contribution)}`).join(", ");
    }
    return "";
  }

  event(e) {
    let known = this.events.get(e.id);
    if (!known) {
      const node = el("button", { type: "button", tabIndex: -1 }, el("span", {}));
      node.addEventListener("click", () => this.choose(this.strip, known.prediction));
      known = { node, startUs: e.start, endUs: e.end, final: false, ended: false };
      this.events.set(e.id, known);
      this.strip.put(this.eventRow, node, e.start, e.end - e.start);
    }
    // What was confirmed is not taken back by a first answer that came after.
    if (known.final && !e.final) return;
    Object.assign(known, { final: e.final, prediction: e.prediction, label: e.label, confidence: e.confidence });
    known.windowUs = Number(e.prediction.split("@")[0].split("/").at(-2)) * 1000;
    if (e.lifecycle === "end") known.ended = true;
    this.stretch(known, e.start, e.end);
  }

  lengthen(p) {
    const known = this.events.get(p.event.id);
    if (known && !known.ended) this.stretch(known, p.event.start, p.event.end);
  }

  stretch(known, startUs, endUs) {
    known.endUs = Math.max(endUs, startUs + this.strip.hopUs);
    known.node.us = startUs;
    known.node.lengthUs = known.endUs - startUs;
    this.strip.place(known.node);
    known.node.className = `event ${known.final ? "final" : "early"}${known.ended ? " ended" : ""}`;
    text(known.node.firstChild, label(known.label));
    this.dirty = true;
    known.node.title = `${label(known.label)}, ${known.final ? "confirmed" : "first answer"}, ${time(startUs, true)} to ${time(known.endUs, true)}`;
  }

  /** The name of an event stands in its chip; one that does not fit there stands behind it, where there is more room. */
  names() {
    this.dirty = false;
    const known = [...this.events.values()].sort((a, b) => a.node.us - b.node.us);
    known.forEach(({ node }, n) => {
      const next = known[n + 1]?.node;
      const inside = this.strip.px(next ? Math.min(node.lengthUs, next.us - node.us) : node.lengthUs) - CHIP_PX;
      const behind = next ? this.strip.px(next.us - node.us - node.lengthUs) - CHIP_PX : Infinity;
      const beside = nameWidth(node.textContent) > inside && behind > inside;
      node.classList.toggle("beside", beside);
      const room = beside ? behind : inside;
      node.firstChild.style.maxWidth = room === Infinity ? "" : `${Math.max(room, 0)}px`;
    });
  }

  tidy(oldestUs) {
    for (const [start, slot] of this.windows) if (slot.endUs < oldestUs) this.windows.delete(start);
    for (const [id, known] of this.events) {
      // A first answer whose window's final one said nothing of it is withdrawn.
      const withdrawn = !known.final && known.windowUs <= this.confirmed;
      if (known.endUs >= oldestUs && !withdrawn) continue;
      this.strip.remove(known.node);
      this.events.delete(id);
    }
    // The tab key leads to the newest answer, unless somebody walks along them.
    if (!this.band.contains(document.activeElement)) this.stop(this.band.lastElementChild);
  }

  /** Show what changed, the paper aside. */
  draw() {
    if (this.latest !== this.told && this.latest) this.strip.now.show(this.latest);
    this.told = this.latest;
    if (this.dirty) this.names();
  }

  /** The neighbour of a prediction, by id, for the why panel. */
  beside(id, step) {
    const cells = this.cells();
    const at = cells.findIndex((cell) => cell.slot.early?.id === id || cell.slot.final?.id === id);
    return cells[at + step] ?? null;
  }

  /** Move the focus from a cell to the next one; return whether there is one. */
  focusAfter(cell) {
    const cells = this.cells();
    const at = cells.indexOf(cell);
    const next = cells[at + 1];
    if (at < 0 || !next) return false;
    next.hidden = false;
    this.stop(next);
    next.focus({ preventScroll: true });
    return true;
  }

  cells() {
    return [...this.band.querySelectorAll(".cell")].sort((a, b) => a.us - b.us);
  }

  stop(cell) {
    if (this.tab) this.tab.tabIndex = -1;
    this.tab = cell ?? null;
    if (cell) cell.tabIndex = 0;
  }

  key(event) {
    const cell = event.target.closest(".cell");
    const cells = this.cells().filter((one) => !one.hidden);
    const goes = { ArrowLeft: -1, ArrowRight: 1, Home: -cells.length, End: cells.length }[event.key];
    if (!cell || goes === undefined) return;
    const at = Math.min(Math.max(cells.indexOf(cell) + goes, 0), cells.length - 1);
    this.stop(cells[at]);
    cells[at].focus({ preventScroll: true });
    event.preventDefault();
  }

  /** Point at the window of a prediction, null for none. */
  point(id) {
    this.pointer?.remove();
    this.pointer = null;
    if (id === null) this.strip.axis.held = null;
    for (const slot of this.windows.values()) {
      const on = id !== null && (slot.early?.id === id || slot.final?.id === id);
      slot.cell?.classList.toggle("chosen", on);
      if (!on) continue;
      this.pointer = el("div", { className: "pointer" });
      this.strip.axis.hold(slot.startUs, slot.endUs);
      this.strip.put(this.strip.track, this.pointer, slot.startUs, slot.endUs - slot.startUs);
    }
  }
}
