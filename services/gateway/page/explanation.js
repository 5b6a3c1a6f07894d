// Explains a prediction: the inputs, the contribution of each modality, counterfactuals, and the latency.

import { play, stop } from "./audio-player.js";
import { contributionBar, latencyBar } from "./current.js";
import { duration, el, icon, labelText, percent, signed, stateSign, stateText, timeText } from "./dom.js";
import { readExplanation, saveLabel } from "./feed.js";
import { waveform } from "./waveform.js";

const FRAMES_MAX = 24;

export class ExplanationPanel {
  constructor(node) {
    this.node = node;
    this.view = null;
    this.id = null;
    this.narrow = matchMedia("(max-width: 760px)");
    this.narrow.addEventListener("change", () => this.makeCoveredInert());
    document.addEventListener("keydown", (event) => this.onKey(event));
  }

  get isOpen() {
    return this.id !== null;
  }

  async show(view, id) {
    stop();
    this.view?.predictions.highlight(null);
    this.openedFrom ??= document.activeElement;
    this.view = view;
    this.id = id;
    view.predictions.highlight(id);
    let explanation;
    try {
      explanation = await readExplanation(id);
    } catch {
      explanation = null;
    }
    if (this.id !== id) return;
    this.node.hidden = false;
    this.makeCoveredInert();
    document.body.classList.add("explaining");
    const close = button("✕", "Close", "Close (Esc)", () => this.close());
    close.className = "close";
    const previous = button("←", "Previous prediction", "Previous prediction (←)", () => this.go(-1));
    const next = button("→", "Next prediction", "Next prediction (→)", () => this.go(1));
    const top = el("div", { className: "top" }, el("span", { className: "session-name" }, view.id), previous, next, close);
    const body = explanation ? this.body(explanation) : [el("p", { className: "empty" }, "This prediction is no longer stored.")];
    this.node.replaceChildren(top, ...body);
    this.node.scrollTop = 0;
    close.focus({ preventScroll: true });
  }

  close() {
    if (!this.isOpen) return;
    stop();
    this.view.predictions.highlight(null);
    this.id = null;
    this.node.hidden = true;
    this.makeCoveredInert();
    document.body.classList.remove("explaining");
    const target = this.openedFrom?.isConnected ? this.openedFrom : this.view.predictions.tabStop;
    target?.focus({ preventScroll: true });
    this.openedFrom = null;
  }

  /** On a narrow screen the panel covers everything else: the Tab key must not lead there. */
  makeCoveredInert() {
    for (const node of this.node.parentElement.children) if (node !== this.node) node.inert = this.isOpen && this.narrow.matches;
  }

  go(step) {
    const cell = this.view.predictions.neighbour(this.id, step);
    if (!cell) return;
    this.openedFrom = cell;
    this.show(this.view, cell.prediction.id);
  }

  onKey(event) {
    if (!this.isOpen || event.target.matches("input")) return;
    if (event.key === "Escape") this.close();
    else if (this.node.contains(event.target) && event.key === "ArrowLeft") this.go(-1);
    else if (this.node.contains(event.target) && event.key === "ArrowRight") this.go(1);
  }

  body(explanation) {
    const p = explanation.prediction;
    const { modalities } = this.view;
    return [
      head(p, explanation),
      part("Contribution of each modality", contributions(p, modalities)),
      part("What if an input were missing?", counterfactuals(explanation)),
      part("Inputs", inputs(explanation, p, modalities)),
      part("Most likely labels", alternatives(p)),
      p.latency ? part("Latency", latency(p.latency)) : null,
      explanation.others.length || explanation.events.length ? part("What happened next", history(explanation)) : null,
      part("Correct the label", correction(p)),
      part("Reproduce", reproduce(explanation, p)),
    ].filter(Boolean);
  }
}

function button(text, label, title, onClick) {
  const node = el("button", { type: "button", title, "aria-label": label }, text);
  node.addEventListener("click", onClick);
  return node;
}

function part(title, ...children) {
  return el("section", {}, el("h3", {}, title), ...children.flat());
}

function head(p, explanation) {
  const kinds = [
    el("span", { className: `kind ${p.final ? "final" : "early"}` }, p.final ? "final prediction" : "early prediction"),
    p.abstained ? el("span", { className: "kind abstained" }, "? unsure") : null,
    p.odd ? el("span", { className: "kind conflict" }, `◆ ${p.odd} contradicts the others`) : null,
    p.error ? el("span", { className: "kind conflict" }, `error: ${p.error}`) : null,
  ];
  const second = explanation.runner_up;
  const alternative = second ? `; next best: "${labelText(second.label)}", ${percent(second.p)}` : "";
  return el(
    "div",
    { className: "head" },
    el("h2", {}, labelText(p.label)),
    el("p", {}, `${percent(p.confidence)} sure${alternative}`),
    el("p", { className: "faint" }, `Window from ${timeText(p.window.start, true)} to ${timeText(p.window.end, true)}`),
    el("p", { className: "kinds" }, ...kinds),
  );
}

function contributions(p, order) {
  const rows = order.filter((modality) => p.modalities[modality]).map((modality) => {
    const input = p.modalities[modality];
    const age = input.age_ms === null ? "" : `, ${duration(input.age_ms)} old`;
    const reasons = input.unusable.map((one) => one.reason).join(", ");
    const unusable = input.unusable.length ? `, ${input.unusable.length} unusable (${reasons})` : "";
    return el(
      "div",
      { className: "modality" },
      icon(modality),
      el("span", { className: "name" }, modality),
      contributionBar(modality, input.contribution),
      el("span", { className: "number" }, signed(input.contribution)),
      el("span", { className: "note" }, `${stateSign(input.state)} ${stateText(input.state, input.evidence)}${age}${unusable}`),
    );
  });
  const [before, after] = [probability(p.baseline), probability(p.score)];
  const effect = before === after ? "do not change it" : `${p.score < p.baseline ? "lower" : "raise"} it to ${after}`;
  const summary = `With no input the model would give "${labelText(p.label)}" a ${before} chance. The inputs ${effect}.`;
  const unit = "Contributions are in nats (natural logarithm of the chance).";
  return [el("div", { className: "modalities" }, ...rows), el("p", { className: "faint" }, summary, el("br"), unit)];
}

function counterfactuals(explanation) {
  const rows = explanation.counterfactuals.map((one) =>
    el(
      "tr",
      { className: one.changes ? "changes" : "" },
      el("th", { scope: "row" }, `without ${one.without.join(" and ")}`),
      el("td", {}, labelText(one.label), one.changes ? el("span", { className: "note" }, " ≠ changed") : null),
      el("td", {}, percent(one.confidence)),
    ),
  );
  return rows.length ? el("table", { className: "counterfactuals" }, ...rows) : el("p", { className: "faint" }, "No modality was present.");
}

function probability(logarithm) {
  const value = Math.exp(logarithm) * 100;
  return value >= 10 ? `${value.toFixed(0)} %` : `${value.toFixed(1)} %`;
}

function inputs(explanation, p, order) {
  if (!explanation.members) return [el("p", { className: "faint" }, "The window is no longer stored, so its inputs cannot be shown.")];
  const missing = (modality, text) => el("p", { className: "missing" }, icon(modality), text);
  return order.flatMap((modality) => {
    const all = explanation.members.filter((member) => member.modality === modality);
    const members = all.filter((member) => member.media);
    if (modality === "video" && members.length) return [frames(members)];
    if (modality === "audio" && members.length) return [audio(members, p.window)];
    if (modality === "text" && members.length) return members.map(quote);
    if (all.some((member) => member.muted)) return [missing(modality, `${modality} is muted: not used and not shown`)];
    if (all.length > members.length) return [missing(modality, `${modality}: only a heartbeat, no content`)];
    return [missing(modality, `no ${modality}`)];
  });
}

function frames(members) {
  const node = el("div", { className: "frames" });
  for (const member of members.slice(-FRAMES_MAX)) {
    const time = timeText(member.t_us, true);
    const link = el("a", { href: member.media, target: "_blank", rel: "noopener", title: `${member.source}, ${time}` });
    link.append(el("img", { src: member.media, alt: `frame from ${member.source}` }), el("span", {}, time));
    node.append(link);
  }
  return node;
}

function audio(members, { start, end }) {
  const node = el("div", { className: "waveform m-audio" });
  for (const member of members) {
    if (!member.peaks?.length) continue;
    const piece = waveform(member.peaks);
    piece.style.left = `${((member.t_us - start) / (end - start)) * 100}%`;
    piece.style.width = `${(member.duration_us / (end - start)) * 100}%`;
    node.append(piece);
  }
  const playButton = el("button", { type: "button", className: "play" }, "▶ Play");
  let playing = false;
  const onEnd = () => {
    playing = false;
    playButton.textContent = "▶ Play";
  };
  playButton.addEventListener("click", async () => {
    if (playing) {
      stop();
      onEnd();
      return;
    }
    playing = true;
    playButton.textContent = "■ Stop";
    try {
      await play(members, start, end, onEnd);
    } catch {
      playButton.textContent = "The audio is no longer stored";
    }
  });
  return el("div", { className: "audio" }, playButton, node);
}

function quote(member) {
  const time = timeText(member.t_us, true);
  return el("blockquote", { title: `${member.source}, ${time}` }, member.text ?? "This text is no longer stored", el("span", {}, time));
}

function alternatives(p) {
  return p.top.map((one) => {
    const fill = el("i", {});
    fill.style.width = `${one.p * 100}%`;
    const share = el("span", { className: "share" }, fill);
    return el("div", { className: "alternative" }, el("span", {}, labelText(one.label)), share, el("span", { className: "number" }, percent(one.p)));
  });
}

function latency({ parts, total_ms: totalMs }) {
  const row = (name, ms, properties, ...icons) =>
    el("tr", properties, el("th", { scope: "row" }, ...icons, name), el("td", {}, duration(ms)));
  const rows = parts.map((one) => row(one.key.replaceAll("_", " "), one.ms, {}, el("i", { className: `part p-${one.key}` })));
  return [latencyBar({ parts, total_ms: totalMs }), el("table", {}, ...rows, row("total", totalMs, { className: "total" }))];
}

function history(explanation) {
  const predictions = explanation.others.map(
    (other) => `The ${other.final ? "final" : "early"} prediction of this window is "${labelText(other.label)}", ${percent(other.confidence)}.`,
  );
  const verbs = { new: "started", update: "changed", end: "ended", withdrawn: "was withdrawn" };
  const events = explanation.events.map(
    (event) => `The event "${labelText(event.label)}" ${verbs[event.lifecycle] ?? event.lifecycle} here${event.final ? "" : " (not confirmed yet)"}.`,
  );
  return [...predictions, ...events].map((line) => el("p", {}, line));
}

function correction(p) {
  const labels = el("datalist", { id: "labels" }, ...p.top.map((one) => el("option", { value: one.label })));
  const input = el("input", { type: "text", maxLength: 64, "aria-label": "Correct label", placeholder: p.label ?? "label" });
  input.setAttribute("list", "labels");
  const save = el("button", { type: "submit" }, "Save label");
  const status = el("p", { className: "faint", role: "status" }, "The label and the inputs are stored on this machine, for training.");
  const form = el("form", { className: "command" }, input, labels, save);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const label = input.value.trim() || p.label;
    save.disabled = true;
    try {
      await saveLabel(p.id, label);
      status.textContent = `Saved: ${labelText(label)}.`;
    } catch (error) {
      status.textContent = `Not saved: ${error.message}`;
    }
    save.disabled = false;
  });
  return [form, status];
}

function reproduce(explanation, p) {
  const copy = el("button", { type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(explanation.reproduce);
    copy.textContent = "Copied";
  });
  const model = `${p.model.name} ${p.model.version}, ${p.model.digest.slice(0, 12)}`;
  return [
    el("div", { className: "command" }, el("code", {}, explanation.reproduce), copy),
    el("p", { className: "faint" }, "Computes this prediction again from its inputs and compares the result byte by byte."),
    el("p", { className: "id" }, p.id),
    el("p", { className: "id" }, `model ${model} · window ${p.window.digest.slice(0, 12)}`),
    p.trace_id ? el("p", { className: "id" }, `trace ${p.trace_id}`) : "",
  ];
}
