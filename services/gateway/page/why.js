// Why an answer says what it says: what was there, what each sense added, where the time went, and the inputs themselves.

import { el, label, percent, sign, signed, span, stateSign, time } from "./dom.js";
import { correct, why } from "./feed.js";
import { bar, latencyBar } from "./now.js";
import { play, stop } from "./sound.js";
import { wave } from "./wave.js";

const FRAMES_MAX = 24;

export class Why {
  constructor(node, closed) {
    this.node = node;
    this.closed = closed;
    this.strip = null;
    this.id = null;
    this.narrow = matchMedia("(max-width: 760px)");
    this.narrow.addEventListener("change", () => this.cover());
    document.addEventListener("keydown", (event) => this.key(event));
  }

  get open() {
    return this.id !== null;
  }

  async show(strip, id) {
    stop();
    this.strip?.answers.point(null);
    this.from ??= document.activeElement;
    this.strip = strip;
    this.id = id;
    strip.answers.point(id);
    let found;
    try {
      found = await why(id);
    } catch {
      found = null;
    }
    if (this.id !== id) return;
    this.node.hidden = false;
    this.cover();
    document.body.classList.add("asking");
    const close = el("button", { type: "button", className: "close", title: "Close (Esc)", "aria-label": "Close" }, "✕");
    close.addEventListener("click", () => this.close());
    const before = el("button", { type: "button", title: "The answer before (←)", "aria-label": "The answer before" }, "←");
    const next = el("button", { type: "button", title: "The next answer (→)", "aria-label": "The next answer" }, "→");
    before.addEventListener("click", () => this.go(-1));
    next.addEventListener("click", () => this.go(1));
    const top = el("div", { className: "top" }, el("span", { className: "of" }, strip.session), before, next, close);
    const body = found ? this.body(found) : [el("p", { className: "empty" }, "This answer is not kept any more.")];
    this.node.replaceChildren(top, ...body);
    this.node.scrollTop = 0;
    close.focus({ preventScroll: true });
  }

  close() {
    if (!this.open) return;
    stop();
    this.strip.answers.point(null);
    this.id = null;
    this.node.hidden = true;
    this.cover();
    document.body.classList.remove("asking");
    const back = this.from?.isConnected ? this.from : this.strip.answers.tab;
    back?.focus({ preventScroll: true });
    this.from = null;
    this.closed();
  }

  /** Where it covers what is beside it, keys do not lead there. */
  cover() {
    for (const node of this.node.parentElement.children) if (node !== this.node) node.inert = this.open && this.narrow.matches;
  }

  go(step) {
    const cell = this.strip.answers.beside(this.id, step);
    if (!cell) return;
    this.from = cell;
    this.show(this.strip, cell.chosen.id);
  }

  key(event) {
    if (!this.open || event.target.matches("input")) return;
    if (event.key === "Escape") this.close();
    else if (this.node.contains(event.target) && event.key === "ArrowLeft") this.go(-1);
    else if (this.node.contains(event.target) && event.key === "ArrowRight") this.go(1);
  }

  body(found) {
    const p = found.prediction;
    return [
      this.head(p, found),
      part("What each sense added", senses(p, this.strip.modalities)),
      part("What it would have said otherwise", without(found)),
      part("What it saw and heard", inputs(found, p, this.strip.modalities)),
      part("What else it could have been", top(p)),
      p.latency ? part("Where the time went", latency(p.latency)) : null,
      found.others.length || found.events.length ? part("What came of it", history(found)) : null,
      part("It should have been", correction(p)),
      part("Make it again", reproduce(found, p)),
    ].filter(Boolean);
  }

  head(p, found) {
    const marks = [
      el("span", { className: `kind ${p.final ? "final" : "early"}` }, p.final ? "final answer" : "first answer"),
      p.abstained ? el("span", { className: "kind abstained" }, "? abstains") : null,
      p.odd ? el("span", { className: "kind conflict" }, `◆ ${p.odd} contradicts the others`) : null,
      p.error ? el("span", { className: "kind conflict" }, `error: ${p.error}`) : null,
    ];
    const runner = found.runner_up ? `, before ${label(found.runner_up.label)} with ${percent(found.runner_up.p)}` : "";
    return el(
      "div",
      { className: "answer" },
      el("h2", {}, label(p.label)),
      el("p", {}, `${percent(p.confidence)} sure${runner}`),
      el("p", { className: "faint" }, `window ${time(p.window.start, true)} to ${time(p.window.end, true)}`),
      el("p", { className: "kinds" }, ...marks),
    );
  }
}

function part(title, ...children) {
  return el("section", {}, el("h3", {}, title), ...children.flat());
}

function senses(p, order) {
  const rows = order.filter((m) => p.modalities[m]).map((modality) => {
    const s = p.modalities[modality];
    const evidence = s.evidence && s.state !== "present" ? ` by ${s.evidence}` : "";
    const age = s.age_ms === null ? "" : `, ${span(s.age_ms)} old`;
    const unusable = s.unusable.length ? `, ${s.unusable.length} unusable (${s.unusable.map((u) => u.reason).join(", ")})` : "";
    return el(
      "div",
      { className: "sense" },
      sign(modality),
      el("span", { className: "name" }, modality),
      bar(modality, s.contribution),
      el("span", { className: "number" }, signed(s.contribution)),
      el("span", { className: "note" }, `${stateSign(s.state)} ${s.state}${evidence}${age}${unusable}`),
    );
  });
  const sum = Object.values(p.modalities).reduce((all, s) => all + s.contribution, 0);
  const told = `Knowing nothing, the model gives ${label(p.label)} ${chance(p.baseline)}; the senses move that by ${signed(sum)} (log), to ${chance(p.score)}.`;
  return [el("div", { className: "senses" }, ...rows), el("p", { className: "faint" }, told)];
}

function without(found) {
  const rows = found.counterfactuals.map((c) =>
    el(
      "tr",
      { className: c.changes ? "changes" : "" },
      el("th", { scope: "row" }, `without ${c.without.join(" and ")}:`),
      el("td", {}, `${c.changes ? "≠ " : ""}${label(c.label)}`, c.changes ? el("span", { className: "note" }, " another answer") : null),
      el("td", {}, percent(c.confidence)),
    ),
  );
  return rows.length ? el("table", { className: "without" }, ...rows) : el("p", { className: "faint" }, "No sense was there that could be taken away.");
}

function chance(log) {
  const p = Math.exp(log) * 100;
  return p >= 10 ? `${p.toFixed(0)} %` : `${p.toFixed(1)} %`;
}

function inputs(found, p, order) {
  if (!found.members) return [el("p", { className: "faint" }, "The window is not kept any more: only the places of its members are.")];
  const of = (modality) => found.members.filter((m) => m.modality === modality);
  const shown = [];
  for (const modality of order) {
    const members = of(modality).filter((m) => m.media);
    const muted = of(modality).some((m) => m.muted);
    const alive = of(modality).length - members.length;
    if (modality === "video" && members.length) shown.push(frames(members));
    else if (modality === "audio" && members.length) shown.push(sounds(members, p.window));
    else if (modality === "text" && members.length) shown.push(...members.map(words));
    else if (muted) shown.push(el("p", { className: "none" }, sign(modality), `${modality}: muted, not used and not shown`));
    else shown.push(el("p", { className: "none" }, sign(modality), alive ? `${modality}: it says that it is there, and shows nothing` : `no ${modality}`));
  }
  return shown;
}

function frames(members) {
  const made = el("div", { className: "frames" });
  for (const m of members.slice(-FRAMES_MAX)) {
    const link = el("a", { href: m.media, target: "_blank", rel: "noopener", title: `${m.source}, ${time(m.t_us, true)}` });
    link.append(el("img", { src: m.media, alt: `frame from ${m.source}` }), el("span", {}, time(m.t_us, true)));
    made.append(link);
  }
  return made;
}

function sounds(members, window) {
  const button = el("button", { type: "button", className: "play" }, "▶ Play");
  const outline = el("div", { className: "outline m-audio" });
  for (const m of members) {
    if (!m.peaks?.length) continue;
    const piece = wave(m.peaks);
    const all = window.end - window.start;
    piece.style.left = `${((m.t_us - window.start) / all) * 100}%`;
    piece.style.width = `${(m.duration_us / all) * 100}%`;
    outline.append(piece);
  }
  const idle = () => {
    button.textContent = "▶ Play";
    button.dataset.on = "";
  };
  button.addEventListener("click", async () => {
    if (button.dataset.on) {
      stop();
      idle();
      return;
    }
    button.dataset.on = "1";
    button.textContent = "■ Stop";
    try {
      await play(members, window.start, window.end, idle);
    } catch {
      button.textContent = "cannot be played any more";
    }
  });
  return el("div", { className: "sounds" }, button, outline);
}

function words(m) {
  return el("blockquote", { title: `${m.source}, ${time(m.t_us, true)}` }, m.text ?? "a text that is not kept any more", el("span", {}, time(m.t_us, true)));
}

function top(p) {
  return p.top.map((one) => {
    const fill = el("i", {});
    fill.style.width = `${one.p * 100}%`;
    return el("div", { className: "top-row" }, el("span", {}, label(one.label)), el("span", { className: "share" }, fill), el("span", { className: "number" }, percent(one.p)));
  });
}

function latency(told) {
  const rows = told.parts.map((one) =>
    el("tr", {}, el("th", { scope: "row" }, el("i", { className: `part p-${one.key}` }), one.key.replaceAll("_", " ")), el("td", {}, span(one.ms))),
  );
  rows.push(el("tr", { className: "sum" }, el("th", { scope: "row" }, "in all"), el("td", {}, span(told.total_ms))));
  return [latencyBar(told), el("table", {}, ...rows)];
}

function history(found) {
  const lines = found.others.map((o) => `${o.final ? "The final answer" : "A first answer"} for this window: ${label(o.label)}, ${percent(o.confidence)}.`);
  const step = { new: "began", update: "became", end: "ended" };
  found.events.forEach((e) => lines.push(`The event ${step[e.lifecycle] ?? e.lifecycle} here: ${label(e.label)}${e.final ? "" : " (not confirmed yet)"}.`));
  return lines.map((line) => el("p", {}, line));
}

function correction(p) {
  const known = el("datalist", { id: "classes" }, ...p.top.map((one) => el("option", { value: one.label })));
  const field = el("input", { type: "text", maxLength: 64, "aria-label": "What it should have been", placeholder: p.label ?? "a class" });
  field.setAttribute("list", "classes");
  const button = el("button", { type: "submit" }, "Keep as a label");
  const said = el("p", { className: "faint", role: "status" }, "It is kept on this machine with what the answer was made from, for training.");
  const form = el("form", { className: "command correct" }, field, known, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = field.value.trim() || p.label;
    button.disabled = true;
    try {
      await correct(p.id, name);
      said.textContent = `Kept: it is ${label(name)}.`;
    } catch (error) {
      said.textContent = `Not kept: ${error.message}`;
    }
    button.disabled = false;
  });
  return [form, said];
}

function reproduce(found, p) {
  const code = el("code", {}, found.reproduce);
  const copy = el("button", { type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(found.reproduce);
    copy.textContent = "Copied";
  });
  const model = `${p.model.name} ${p.model.version}, ${p.model.digest.slice(0, 12)}`;
  return [
    el("div", { className: "command" }, code, copy),
    el("p", { className: "faint" }, "It computes this answer again from what it was made from, and says whether a byte differs."),
    el("p", { className: "id" }, `${p.id}`),
    el("p", { className: "id" }, `model ${model} · window ${p.window.digest.slice(0, 12)}`),
    p.trace_id ? el("p", { className: "id" }, `trace ${p.trace_id}`) : "",
  ];
}
