// One stream: one modality of one session. Its chunks are placed at their event times so that none covers another. The
// canvas paints waveforms and idle records; frames, texts and flags are elements.

import { el, timeText } from "./dom.js";
import { heights } from "./waveform.js";

const LETTER_PX = 6.6;
const FRAME_SHARE = 0.9;
const PENDING_MAX = 500;
const SIGNS = { late: "◂", duplicate: "×2", dead: "✕" };
const KINDS = { late: "late", duplicate: "duplicate", dead: "rejected" };

export class Stream {
  constructor(modality, view) {
    this.modality = modality;
    this.view = view;
    this.node = el("div", { className: `stream m-${modality}` });
    this.chunks = new Map();
    this.waveforms = new Map();
    this.idleUs = new Set();
    this.pendingFlags = new Map();
    this.identities = new Map();
    this.dirty = false;
    this.height = 0;
  }

  /** The session view has another size: lay out everything again. */
  resized() {
    this.dirty = true;
    this.height = 0;
  }

  /** Add a chunk unless it is there already. */
  add(chunk) {
    const key = keyOf(chunk);
    if (this.chunks.has(key)) return;
    const identity = [chunk.source, chunk.id, chunk.t_us, chunk.duration_us].join("\n");
    const duplicate = this.identities.has(identity);
    if (!duplicate) this.identities.set(identity, key);
    const pending = this.pendingFlags.get(key);
    this.pendingFlags.delete(key);
    const onRemove = () => {
      this.chunks.delete(key);
      if (!duplicate) this.identities.delete(identity);
    };
    this.chunks.set(key, this.show(chunk, key, duplicate, onRemove));
    if (duplicate) this.flag(key, "duplicate", "a copy of a chunk that had arrived already");
    if (pending) this.flag(key, pending.kind, pending.reason);
    this.dirty = true;
  }

  /** Show a chunk as an element, or as a waveform on the canvas. */
  show(chunk, key, duplicate, onRemove) {
    const title = `${chunk.modality} from ${chunk.source}, ${timeText(chunk.t_us, true)}${chunk.text ? `: ${chunk.text}` : ""}`;
    const [us, lengthUs] = [chunk.t_us, chunk.duration_us];
    if (chunk.peaks?.length && !chunk.muted && !chunk.alive) {
      const waveform = { us, lengthUs, heights: heights(chunk.peaks), title, onRemove, flags: new Set() };
      this.waveforms.set(key, waveform);
      return waveform;
    }
    const node = Object.assign(element(chunk, duplicate), { title, onRemove, flags: new Set() });
    this.view.add(this.node, node, us, lengthUs);
    return node;
  }

  /** Titles of what is painted at an event time; `toleranceUs` is how far off the pointer may be. */
  titlesAt(us, toleranceUs) {
    const waveform = [...this.waveforms.values()].find((one) => us >= one.us && us < one.us + one.lengthUs);
    const idle = [...this.idleUs].some((idleUs) => Math.abs(idleUs - us) < toleranceUs);
    return [waveform?.title, idle && "idle up to here (idle record)"].filter(Boolean);
  }

  /** Drop what was painted and is older. */
  removeOlder(oldestUs) {
    for (const [key, waveform] of this.waveforms) {
      if (waveform.us + waveform.lengthUs >= oldestUs) continue;
      this.waveforms.delete(key);
      waveform.onRemove();
    }
    for (const us of this.idleUs) if (us < oldestUs) this.idleUs.delete(us);
  }

  /** Flag a chunk as late or rejected, even if the chunk itself has not arrived yet; return the reason in words. */
  reject(kind, record) {
    const key = keyOf(record);
    const reason =
      kind === "late"
        ? `late: its last window closed ${(record.behind_us / 1e6).toFixed(1)} s before`
        : `rejected: ${record.reason}, ${record.detail}`;
    if (this.chunks.has(key)) this.flag(key, kind, reason);
    else this.pendingFlags.set(key, { kind, reason });
    if (this.pendingFlags.size > PENDING_MAX) this.pendingFlags.delete(this.pendingFlags.keys().next().value);
    return reason;
  }

  flag(key, kind, reason) {
    const chunk = this.chunks.get(key);
    if (chunk.flags.has(kind)) return;
    chunk.flags.add(kind);
    chunk.rejected ||= kind !== "duplicate";
    const label = `${KINDS[kind]}: ${reason}`;
    const node = el("i", { className: `flag ${kind}`, title: reason, role: "img", "aria-label": label }, SIGNS[kind]);
    if (this.waveforms.has(key)) this.view.add(this.node, node, chunk.us, 0);
    else {
      chunk.classList.add(kind);
      chunk.append(node);
    }
    this.view.count(kind);
    this.dirty = true;
  }

  /** Lay out what could cover each other: frames and texts. */
  layout(width) {
    if (!this.dirty || !width) return;
    this.dirty = false;
    // Measured once: measuring after each change would make the browser lay out the page each time.
    this.height ||= this.node.clientHeight;
    const leftOf = (node) => ((node.us - this.view.axis.baseUs) / this.view.axis.spanUs) * width;
    const inOrder = (name) => [...this.node.getElementsByClassName(name)].sort((a, b) => a.us - b.us);
    this.layoutFrames(inOrder("frame"), leftOf);
    this.layoutTexts(inOrder("text"), leftOf);
  }

  layoutFrames(nodes, leftOf) {
    const width = this.height * FRAME_SHARE;
    let last = null;
    for (const node of nodes) {
      const fits = node.image && (!last || leftOf(node) - leftOf(last) >= width * 0.6);
      node.classList.toggle("thin", !fits);
      if (!fits) continue;
      if (!node.image.isConnected) node.prepend(node.image);
      if (last) last.image.style.maxWidth = `${Math.max(leftOf(node) - leftOf(last) - 3, 4)}px`;
      node.image.style.maxWidth = "";
      last = node;
    }
  }

  layoutTexts(nodes, leftOf) {
    const rows = this.height > 44 ? 2 : 1;
    const lasts = [];
    for (const node of nodes) {
      const left = leftOf(node);
      let row = [...Array(rows).keys()].find((n) => !lasts[n] || left >= lasts[n].right);
      row ??= lasts[0].us <= (lasts[1]?.us ?? Infinity) ? 0 : 1;
      if (lasts[row]) lasts[row].node.firstChild.style.maxWidth = `${Math.max(left - lasts[row].left - 10, 0)}px`;
      node.firstChild.style.maxWidth = "";
      node.classList.toggle("row1", row === 1);
      lasts[row] = { node, left, us: node.us, right: left + Math.min(node.textContent.length, 36) * LETTER_PX + 12 };
    }
  }
}

function keyOf(record) {
  return record.at.join(" ");
}

function element(chunk, duplicate) {
  if (chunk.muted || chunk.alive) return el("i", { className: "heartbeat" });
  if (chunk.modality === "video") {
    const node = el("div", { className: "frame" });
    const alt = `frame of ${timeText(chunk.t_us)}`;
    if (!duplicate) node.image = el("img", { src: chunk.media, alt, decoding: "async", draggable: false });
    return node;
  }
  if (chunk.text !== undefined && !duplicate) return el("div", { className: "text" }, el("span", {}, chunk.text));
  if (chunk.text !== undefined) return el("i", { className: "dot" });
  return el("div", { className: "block" }, el("span", {}, chunk.content_type.split(";")[0]));
}
