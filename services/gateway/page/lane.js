// One modality of a session: its chunks where they were captured, laid out so that none covers another. Sounds and told
// silences are kept for the strip's paper; pictures, words and marks are elements.

import { el, time } from "./dom.js";
import { heights } from "./wave.js";

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
    this.sounds = new Map();
    this.silences = new Set();
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
    const waiting = this.marks.get(key);
    this.marks.delete(key);
    this.known.set(key, this.show(c, key, copy, () => {
      this.known.delete(key);
      if (!copy) this.identities.delete(identity);
    }));
    if (copy) this.flag(key, "copy", "a copy of one that was there already");
    if (waiting) this.flag(key, waiting.kind, waiting.why);
    this.dirty = true;
  }

  /** A chunk as an element, or as a sound that the paper paints; gone: to be called when it is out of reach. */
  show(c, key, copy, gone) {
    const title = `${c.modality} from ${c.source}, ${time(c.t_us, true)}${c.text ? `: ${c.text}` : ""}`;
    const [us, lengthUs] = [c.t_us, c.duration_us];
    if (c.peaks?.length && !c.muted && !c.alive) {
      const sound = { us, lengthUs, heights: heights(c.peaks), title, gone, flags: new Set() };
      this.sounds.set(key, sound);
      return sound;
    }
    const node = Object.assign(shape(c, copy), { title, gone, flags: new Set() });
    this.strip.put(this.node, node, us, lengthUs);
    return node;
  }

  /** What is painted at an event time, in words; nearUs: how far a point may be from it. */
  at(us, nearUs) {
    const sound = [...this.sounds.values()].find((one) => us >= one.us && us < one.us + one.lengthUs);
    const silent = [...this.silences].some((at) => Math.abs(at - us) < nearUs);
    return [sound?.title, silent && "silent up to here: a record stands for it"].filter(Boolean);
  }

  /** Forget what was painted and is long out of sight. */
  tidy(oldestUs) {
    for (const [key, sound] of this.sounds) {
      if (sound.us + sound.lengthUs >= oldestUs) continue;
      this.sounds.delete(key);
      sound.gone();
    }
    for (const us of this.silences) if (us < oldestUs) this.silences.delete(us);
  }

  /** What became of a chunk, which may be heard of before the chunk itself; in words. */
  mark(kind, record) {
    const key = `${record.at[0]} ${record.at[1]}`;
    const why =
      kind === "late"
        ? `${(record.behind_us / 1e6).toFixed(1)} s too late for its last window`
        : `refused: ${record.reason}, ${record.detail}`;
    if (this.known.has(key)) this.flag(key, kind, why);
    else this.marks.set(key, { kind, why });
    if (this.marks.size > MARKS_MAX) this.marks.delete(this.marks.keys().next().value);
    return why;
  }

  flag(key, kind, why) {
    const shown = this.known.get(key);
    if (shown.flags.has(kind)) return;
    shown.flags.add(kind);
    shown.refused ||= kind !== "copy";
    const made = el("i", { className: `flag ${kind}`, title: why, role: "img", "aria-label": `${kind}: ${why}` }, GLYPHS[kind]);
    if (this.sounds.has(key)) this.strip.put(this.node, made, shown.us, 0);
    else {
      shown.classList.add(kind);
      shown.append(made);
    }
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
  if (c.muted || c.alive) return el("i", { className: "alive" });
  if (c.modality === "video") {
    const made = el("div", { className: "frame" });
    if (!copy) made.picture = el("img", { src: c.media, alt: `frame of ${time(c.t_us)}`, decoding: "async", draggable: false });
    return made;
  }
  if (c.text !== undefined && !copy) return el("div", { className: "words" }, el("span", {}, c.text));
  if (c.text !== undefined) return el("i", { className: "dot" });
  return el("div", { className: "block" }, el("span", {}, c.content_type.split(";")[0]));
}
