// The list of sessions. Rows are made once and changed only where something changed, so that 500 sessions cost little.

import { ago, el, labelText, percent, setText, stateSign } from "./dom.js";

const LIVE_S = 8;

export class SessionList {
  constructor(list, filterInput, count) {
    this.list = list;
    this.filterInput = filterInput;
    this.count = count;
    this.rows = new Map();
    filterInput.addEventListener("input", () => this.filter());
  }

  show(sessions, nowUs) {
    const ids = new Set();
    for (const session of sessions) {
      ids.add(session.id);
      this.fill(this.rows.get(session.id) ?? this.addRow(session.id), session, nowUs);
    }
    for (const [id, row] of this.rows) {
      if (ids.has(id)) continue;
      row.node.remove();
      this.rows.delete(id);
    }
    setText(this.count, String(sessions.length));
    this.filter();
  }

  addRow(id) {
    const parts = {
      label: el("span", { className: "label" }),
      states: el("span", { className: "states" }),
      age: el("span", { className: "age" }),
    };
    const pulse = el("i", { className: "pulse" });
    const link = el("a", { href: `#${encodeURIComponent(id)}` }, pulse, el("b", {}, id), parts.label, parts.states, parts.age);
    const row = { ...parts, link, node: el("li", {}, link), id };
    this.rows.set(id, row);
    const next = [...this.rows.values()].filter((other) => other.id > id).sort((a, b) => (a.id < b.id ? -1 : 1))[0];
    this.list.insertBefore(row.node, next && next.node.parentNode ? next.node : null);
    return row;
  }

  fill(row, session, nowUs) {
    const seconds = Math.max(nowUs - session.heard_us, 0) / 1e6;
    const { answer: prediction, event } = session;
    const live = seconds < LIVE_S;
    const shown = JSON.stringify([live || (session.heard_us && ago(seconds)), prediction, event]);
    if (row.shown === shown) return;
    row.shown = shown;
    row.node.classList.toggle("live", live);
    const guess = prediction && prediction.label !== "nothing" ? `${labelText(prediction.label)}?` : "no event";
    setText(row.label, event ? labelText(event.label) : guess);
    row.label.className = `label ${event ? "" : "faint"}`;
    setText(row.states, prediction ? Object.values(prediction.states).map(stateSign).join("") : "");
    setText(row.age, live ? (prediction ? percent(prediction.confidence) : "") : session.heard_us ? ago(seconds) : "");
  }

  filter() {
    const wanted = this.filterInput.value.trim().toLowerCase();
    for (const row of this.rows.values()) row.node.hidden = wanted !== "" && !row.id.toLowerCase().includes(wanted);
  }

  /** Mark the selected session, or none if null. */
  select(id) {
    for (const row of this.rows.values()) {
      if (row.id === id) row.link.setAttribute("aria-current", "page");
      else row.link.removeAttribute("aria-current");
    }
  }
}
