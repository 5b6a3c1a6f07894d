// The list of sessions: rows are made once and changed where something changed, so that 500 cost little.

import { ago, el, label, percent, stateSign, text } from "./dom.js";

const LIVE_S = 8;

export class List {
  constructor(list, find, count) {
    this.list = list;
    this.find = find;
    this.count = count;
    this.rows = new Map();
    find.addEventListener("input", () => this.filter());
  }

  show(sessions, nowUs) {
    const known = new Set();
    for (const session of sessions) {
      known.add(session.id);
      const row = this.rows.get(session.id) ?? this.make(session.id);
      this.fill(row, session, nowUs);
    }
    for (const [id, row] of this.rows) {
      if (known.has(id)) continue;
      row.node.remove();
      this.rows.delete(id);
    }
    text(this.count, String(sessions.length));
    this.filter();
  }

  make(id) {
    const parts = { name: el("b", {}, id), said: el("span", { className: "said" }), senses: el("span", { className: "senses" }), age: el("span", { className: "age" }) };
    const link = el("a", { href: `#${encodeURIComponent(id)}` }, el("i", { className: "pulse" }), parts.name, parts.said, parts.senses, parts.age);
    const row = { ...parts, link, node: el("li", {}, link), id };
    this.rows.set(id, row);
    const after = [...this.rows.values()].filter((other) => other.id > id).sort((a, b) => (a.id < b.id ? -1 : 1))[0];
    this.list.insertBefore(row.node, after && after.node.parentNode ? after.node : null);
    return row;
  }

  fill(row, session, nowUs) {
    const seconds = Math.max(nowUs - session.heard_us, 0) / 1e6;
    const answer = session.answer;
    const live = seconds < LIVE_S;
    const told = JSON.stringify([live || (session.heard_us && ago(seconds)), answer, session.event]);
    if (row.told === told) return;
    row.told = told;
    row.node.classList.toggle("live", live);
    const event = session.event;
    text(row.said, event ? label(event.label) : answer && answer.label !== "nothing" ? `${label(answer.label)}?` : "quiet");
    row.said.className = `said ${event ? "" : "faint"}`;
    text(row.senses, answer ? Object.values(answer.states).map(stateSign).join("") : "");
    text(row.age, live ? (answer ? percent(answer.confidence) : "") : session.heard_us ? ago(seconds) : "");
  }

  filter() {
    const wanted = this.find.value.trim().toLowerCase();
    for (const row of this.rows.values()) row.node.hidden = wanted !== "" && !row.id.toLowerCase().includes(wanted);
  }

  /** Mark the chosen session, null for all. */
  choose(id) {
    for (const row of this.rows.values()) {
      if (row.id === id) row.link.setAttribute("aria-current", "page");
      else row.link.removeAttribute("aria-current");
    }
  }
}
