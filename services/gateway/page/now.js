// What a session says now: the newest answer, what each sense adds to it, and where the time went.

import { el, label, percent, sign, signed, span, stateSign, text } from "./dom.js";

const NATS = 4;

/** A signed bar around a middle line, with its number. */
export function bar(modality, value) {
  const fill = el("i", { className: `m-${modality}` });
  const size = Math.min(Math.abs(value) / NATS, 1) * 50;
  fill.style.width = `${size}%`;
  fill.style[value < 0 ? "right" : "left"] = "50%";
  return el("span", { className: "bar" }, fill);
}

/** The parts of a latency side by side; their widths sum as their times do. */
export function latencyBar(latency) {
  const made = el("div", { className: "latency", role: "img" });
  made.setAttribute("aria-label", `${span(latency.total_ms)}: ` + latency.parts.map((p) => `${p.key} ${span(p.ms)}`).join(", "));
  for (const part of latency.parts) {
    const piece = el("i", { className: `part p-${part.key}`, title: `${part.key.replaceAll("_", " ")} ${span(part.ms)}` });
    piece.style.flexGrow = Math.max(part.ms, 0);
    made.append(piece);
  }
  return made;
}

export class Now {
  constructor() {
    this.title = el("b", { className: "said" }, "…");
    this.sure = el("span", { className: "sure" });
    this.kind = el("span", { className: "kind" });
    this.senses = el("div", { className: "senses" });
    this.took = el("div", { className: "took" });
    this.node = el("div", { className: "now" }, el("div", { className: "head" }, this.title, this.sure, this.kind), this.senses, this.took);
    this.rows = new Map();
  }

  build(modalities) {
    for (const modality of modalities) {
      const row = el("div", { className: "sense" }, sign(modality), el("span", { className: "state" }), bar(modality, 0), el("span", { className: "number" }));
      this.rows.set(modality, row);
      this.senses.append(row);
    }
  }

  show(p) {
    text(this.title, label(p.label));
    text(this.sure, percent(p.confidence));
    text(this.kind, p.abstained ? "abstains" : p.final ? "final" : "first");
    this.kind.className = `kind ${p.abstained ? "abstained" : p.final ? "final" : "early"}`;
    this.title.classList.toggle("nothing", p.label === "nothing");
    for (const [modality, row] of this.rows) {
      const sense = p.modalities[modality];
      if (!sense) continue;
      text(row.children[1], stateSign(sense.state));
      row.children[1].title = `${modality} ${sense.state}`;
      row.children[2].replaceWith(bar(modality, sense.contribution));
      text(row.children[3], signed(sense.contribution));
    }
    if (p.latency) this.took.replaceChildren(latencyBar(p.latency), el("span", {}, span(p.latency.total_ms)));
  }

}
