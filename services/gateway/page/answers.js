// The answers of a session: masks in the lanes, the band of predictions, what each sense adds, and the events.

import { el, label, nameWidth, percent, signed, text, time } from "./dom.js";

const NOTHING = "nothing";
const NATS = 4;
// Around a name: of a chip its padding and borders, of a cell its distance from the edge.
const CHIP_PX = 14;
const CELL_PX = 8;

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
    this.band.addEventListener("click", (event) => {
      const cell = event.target.closest(".cell");
      if (cell?.chosen) this.choose(this.strip, cell.chosen.id);
    });
  }

  slot(startUs, endUs) {
    let slot = this.windows.get(startUs);
    if (!slot) {
      slot = { startUs, endUs, masks: new Map(), cell: null, early: null, final: null };
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
    for (const [modality, lane] of Object.entries(w.modalities)) this.mask(slot, modality, lane, w.final);
  }

  mask(slot, modality, lane, final) {
    const row = this.strip.lanes.get(modality)?.node;
    if (!row) return;
    let node = slot.masks.get(modality);
    if (!node) {
      node = el("i", {});
      slot.masks.set(modality, node);
      this.strip.put(row, node, slot.endUs - this.strip.hopUs, this.strip.hopUs);
    }
    node.className = `mask ${lane.state}${final ? "" : " early"}`;
    node.title = `${modality} ${lane.state}${lane.evidence ? ` by ${lane.evidence}` : ""}, window to ${time(slot.endUs, true)}`;
  }

  prediction(p) {
    const slot = this.slot(p.window.start, p.window.end);
    slot[p.final ? "final" : "early"] = p;
    const shown = slot.final ?? slot.early;
    if (!slot.cell) {
      slot.cell = el("button", { type: "button", tabIndex: -1 }, el("i", { className: "fill" }), el("b", {}), el("u", {}));
      this.strip.put(this.band, slot.cell, slot.endUs - this.strip.hopUs, this.strip.hopUs);
      slot.cell.slot = slot;
    }
    this.draw(slot, shown);
    if (p.final) this.confirmed = Math.max(this.confirmed, p.window.start);
    if (p.final && p.event) this.lengthen(p);
    if (!this.latest || this.order(shown) >= this.order(this.latest)) {
      this.latest = shown;
      this.strip.now.show(shown, slot);
    }
    if (!this.tab) this.stop(slot.cell);
    this.dirty = true;
  }

  order(p) {
    // The newest final answer is what counts; until there is one, the newest first answer.
    return p.window.start + (p.final ? 1 : 0);
  }

  draw(slot, p) {
    const cell = slot.cell;
    cell.chosen = p;
    const marks = (p.abstained ? "?" : "") + (p.odd ? "◆" : "");
    cell.className = ["cell", p.final ? "final" : "early", p.label === NOTHING ? "nothing" : "", p.abstained ? "abstained" : ""].join(" ").trim();
    cell.children[0].style.height = `${Math.max(p.confidence, 0.04) * 100}%`;
    text(cell.children[2], marks);
    cell.children[2].className = p.odd ? "conflict" : "";
    const told = `${label(p.label)}, ${percent(p.confidence)}, ${p.final ? "final" : "first answer"}, window to ${time(slot.endUs, true)}`;
    cell.title = told + (p.abstained ? ", abstains" : "") + (p.odd ? `, ${p.odd} contradicts the others` : "");
    cell.setAttribute("aria-label", cell.title);
    if (p.final) this.adds(slot, p);
  }

  /** What each sense adds (up) or takes (down), stacked from the middle. */
  adds(slot, p) {
    if (slot.adds) this.strip.remove(slot.adds);
    let up = 0;
    let down = 0;
    const node = el("div", { className: "stack" });
    for (const modality of this.strip.modalities) {
      const sense = p.modalities[modality];
      if (!sense) continue;
      const size = Math.min(Math.abs(sense.contribution) / NATS, 1) * 50;
      if (size < 1) continue;
      const part = el("i", { className: `m-${modality}` });
      part.style.height = `${size}%`;
      if (sense.contribution > 0) part.style.bottom = `${50 + up}%`;
      else part.style.top = `${50 + down}%`;
      if (sense.contribution > 0) up += size;
      else down += size;
      node.append(part);
    }
    node.title = Object.entries(p.modalities).map(([m, s]) => `${m} ${signed(s.contribution)}`).join(", ");
    slot.adds = node;
    this.strip.put(this.parts, node, slot.endUs - this.strip.hopUs, this.strip.hopUs);
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

  /** Runs of one label carry their name once, over as many cells as they have. */
  measure() {
    this.dirty = false;
    const slots = [...this.windows.values()].filter((slot) => slot.cell).sort((a, b) => a.startUs - b.startUs);
    let first = null;
    let count = 0;
    const close = () => {
      if (!first) return;
      const shown = first.cell.chosen;
      const name = label(shown.label);
      const fits = this.px(count * this.strip.hopUs) > nameWidth(name) + CELL_PX;
      text(first.cell.children[1], fits && shown.label !== NOTHING ? name : "");
      first.cell.children[1].style.width = `calc(${count * 100}% - ${CELL_PX}px)`;
    };
    slots.forEach((slot) => {
      const [one, other] = [first?.cell.chosen, slot.cell.chosen];
      const same = first && one.label === other.label && one.final === other.final && slot.startUs - first.startUs <= (count + 0.5) * this.strip.hopUs;
      if (same) {
        count += 1;
        text(slot.cell.children[1], "");
        return;
      }
      close();
      first = slot;
      count = 1;
    });
    close();
    this.names();
  }

  px(us) {
    return (us / this.strip.axis.spanUs) * this.strip.width;
  }

  /** The name of an event stands in its chip; one that does not fit there stands behind it, where there is more room. */
  names() {
    const known = [...this.events.values()].sort((a, b) => a.node.us - b.node.us);
    known.forEach(({ node }, n) => {
      const next = known[n + 1]?.node;
      const inside = this.px(next ? Math.min(node.lengthUs, next.us - node.us) : node.lengthUs) - CHIP_PX;
      const behind = next ? this.px(next.us - node.us - node.lengthUs) - CHIP_PX : Infinity;
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
    if (this.dirty && this.strip.width) this.measure();
  }

  /** The neighbour of a prediction, by id, for the why panel. */
  beside(id, step) {
    const cells = this.cells();
    const at = cells.findIndex((cell) => cell.slot.early?.id === id || cell.slot.final?.id === id);
    return cells[at + step] ?? null;
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
