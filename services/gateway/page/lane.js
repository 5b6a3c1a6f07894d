// One modality of a session: its chunks where they were captured, laid out so that none covers another.

import { el, svg, time } from "./dom.js";

const PEAK_MAX = 255;
const LETTER_PX = 6.6;
const FRAME_SHARE = 0.9;
const MARKS_MAX = 500;
const GLYPHS = { late: "◂", copy: "×2", dead: "✕" };

export class Lane {
  constructor(modality, strip) {
    this.modality = modality;
    this.strip = strip;
    this.node = el("div", { className: `lane m-${modality}` });
    this.known = new Map();
    this.marks = new Map();
    this.identities = new Map();
    this.dirty = false;
    this.height = 0;
  }

  /** What was laid out holds no more: the strip has another size. */
  resized() {
    this.dirty = true;
    this.height = 0;
  }

  /** A chunk; one that is known already is passed over. */
  add(c) {
    const key = `${c.at[0]} ${c.at[1]}`;
    if (this.known.has(key)) return;
    const identity = [c.source, c.id, c.t_us, c.duration_us].join("\n");
    const copy = this.identities.has(identity);
    if (!copy) this.identities.set(identity, key);
    const node = shape(c, copy);
    node.title = `${c.modality} from ${c.source}, ${time(c.t_us, true)}${c.text ? `: ${c.text}` : ""}`;
    node.gone = () => {
      this.known.delete(key);
      if (!copy) this.identities.delete(identity);
    };
    const waiting = this.marks.get(key);
    this.marks.delete(key);
    this.known.set(key, node);
    this.strip.put(this.node, node, c.t_us, c.duration_us);
    if (copy) this.flag(node, "copy", "a copy of one that was there already");
    if (waiting) this.flag(node, waiting.kind, waiting.why);
    this.dirty = true;
  }

  /** What became of a chunk, which may be heard of before the chunk itself; in words. */
  mark(kind, record) {
    const key = `${record.at[0]} ${record.at[1]}`;
    const why =
      kind === "late"
        ? `${(record.behind_us / 1e6).toFixed(1)} s too late for its last window`
        : `refused: ${record.reason}, ${record.detail}`;
    const node = this.known.get(key);
    if (node) this.flag(node, kind, why);
    else this.marks.set(key, { kind, why });
    if (this.marks.size > MARKS_MAX) this.marks.delete(this.marks.keys().next().value);
    return why;
  }

  flag(node, kind, why) {
    if (node.classList.contains(kind)) return;
    node.classList.add(kind);
    node.append(el("i", { className: `flag ${kind}`, title: why, role: "img", "aria-label": `${kind}: ${why}` }, GLYPHS[kind]));
    this.strip.count(kind);
    this.dirty = true;
  }

  /** Lay out what may cover each other: pictures and words. */
  layout(width) {
    if (!this.dirty || !width) return;
    this.dirty = false;
    // Looked at once: to ask for it after each change makes the browser lay out the page each time.
    this.height ||= this.node.clientHeight;
    const at = (node) => ((node.us - this.strip.axis.base) / this.strip.axis.spanUs) * width;
    const inOrder = (name) => [...this.node.getElementsByClassName(name)].sort((a, b) => a.us - b.us);
    this.frames(inOrder("frame"), at);
    this.words(inOrder("words"), at);
  }

  frames(nodes, at) {
    const wide = this.height * FRAME_SHARE;
    let last = null;
    for (const node of nodes) {
      const fits = node.picture && (!last || at(node) - at(last) >= wide * 0.6);
      node.classList.toggle("thin", !fits);
      if (!fits) continue;
      if (!node.picture.isConnected) node.prepend(node.picture);
      if (last) last.picture.style.maxWidth = `${Math.max(at(node) - at(last) - 3, 4)}px`;
      node.picture.style.maxWidth = "";
      last = node;
    }
  }

  words(nodes, at) {
    const rows = this.height > 44 ? 2 : 1;
    const lasts = [];
    for (const node of nodes) {
      const begins = at(node);
      let row = [...Array(rows).keys()].find((n) => !lasts[n] || begins >= lasts[n].ends);
      row ??= lasts[0].us <= (lasts[1]?.us ?? Infinity) ? 0 : 1;
      if (lasts[row]) lasts[row].node.firstChild.style.maxWidth = `${Math.max(begins - lasts[row].begins - 10, 0)}px`;
      node.firstChild.style.maxWidth = "";
      node.classList.toggle("row1", row === 1);
      lasts[row] = { node, begins, us: node.us, ends: begins + Math.min(node.textContent.length, 36) * LETTER_PX + 12 };
    }
  }
}

function shape(c, copy) {
  if (c.muted) return el("i", { className: "alive", title: "muted" });
  if (c.alive) return el("i", { className: "alive" });
  if (c.peaks?.length) return el("div", { className: "wave" }, wave(c.peaks));
  if (c.modality === "video") {
    const made = el("div", { className: "frame" });
    if (!copy) made.picture = el("img", { src: c.media, alt: `frame of ${time(c.t_us)}`, decoding: "async", draggable: false });
    return made;
  }
  if (c.text !== undefined && !copy) return el("div", { className: "words" }, el("span", {}, c.text));
  if (c.text !== undefined) return el("i", { className: "dot" });
  return el("div", { className: "block" }, el("span", {}, c.content_type.split(";")[0]));
}

/** The outline of a sound as one path; quiet sounds are raised so that they can be seen. */
export function wave(peaks) {
  const heights = peaks.map((peak) => Math.max(Math.sqrt(peak / PEAK_MAX), 0.03));
  const last = heights.length;
  heights.push(heights[last - 1]);
  const up = heights.map((h, n) => `${n} ${(1 - h).toFixed(3)}`);
  const down = heights.map((h, n) => `${n} ${(1 + h).toFixed(3)}`).reverse();
  const path = svg("path", { d: `M${up.join("L")}L${down.join("L")}Z` });
  return svg("svg", { viewBox: `0 0 ${last} 2`, preserveAspectRatio: "none", "aria-hidden": "true" }, path);
}
