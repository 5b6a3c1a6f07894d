// The newest prediction of a session: its label, the contribution of each modality, and the latency.

import { duration, el, icon, labelText, percent, setText, signed, stateSign } from "./dom.js";

const CONTRIBUTION_MAX = 4;

/** A bar to the left or right of a middle line. */
export function contributionBar(modality, value) {
  const fill = el("i", { className: `m-${modality}` });
  const size = Math.min(Math.abs(value) / CONTRIBUTION_MAX, 1) * 50;
  fill.style.width = `${size}%`;
  fill.style[value < 0 ? "right" : "left"] = "50%";
  return el("span", { className: "bar" }, fill);
}

/** The parts of a latency side by side, each as wide as its time. */
export function latencyBar(latency) {
  const bar = el("div", { className: "latency", role: "img" });
  const parts = latency.parts.map((part) => `${part.key.replaceAll("_", " ")} ${duration(part.ms)}`);
  bar.setAttribute("aria-label", `Latency ${duration(latency.total_ms)}: ${parts.join(", ")}`);
  latency.parts.forEach((part, n) => {
    const piece = el("i", { className: `part p-${part.key}`, title: parts[n] });
    piece.style.flexGrow = Math.max(part.ms, 0);
    bar.append(piece);
  });
  return bar;
}

export class CurrentPrediction {
  constructor() {
    this.label = el("b", { className: "label" }, "…");
    this.confidence = el("span", { className: "confidence" });
    this.kind = el("span", { className: "kind" });
    this.modalities = el("div", { className: "modalities" });
    this.timing = el("div", { className: "timing" });
    const head = el("div", { className: "head" }, this.label, this.confidence, this.kind);
    this.node = el("div", { className: "current" }, head, this.modalities, this.timing);
    this.rows = new Map();
  }

  build(modalities) {
    for (const modality of modalities) {
      const row = {
        state: el("span", { className: "state" }),
        bar: contributionBar(modality, 0),
        number: el("span", { className: "number" }),
      };
      this.rows.set(modality, row);
      this.modalities.append(el("div", { className: "modality" }, icon(modality), row.state, row.bar, row.number));
    }
  }

  show(p) {
    setText(this.label, labelText(p.label));
    setText(this.confidence, percent(p.confidence));
    setText(this.kind, p.abstained ? "unsure" : p.final ? "final" : "early");
    this.kind.className = `kind ${p.abstained ? "abstained" : p.final ? "final" : "early"}`;
    this.label.classList.toggle("nothing", p.label === "nothing");
    for (const [modality, row] of this.rows) {
      const input = p.modalities[modality];
      if (!input) continue;
      setText(row.state, stateSign(input.state));
      row.state.title = `${modality} ${input.state}`;
      const bar = contributionBar(modality, input.contribution);
      row.bar.replaceWith(bar);
      row.bar = bar;
      setText(row.number, signed(input.contribution));
    }
    if (p.latency) this.timing.replaceChildren(latencyBar(p.latency), el("span", {}, duration(p.latency.total_ms)));
  }
}
