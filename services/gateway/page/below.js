// Below the chosen session: its events in words, and its sources: who sends, how often, how late, how far off its clock.

import { ago, el, label, percent, sign, time } from "./dom.js";

const EVENTS_MAX = 8;

/** Fill the place below a strip; who stands in it with the keyboard is not disturbed. */
export function showBelow(node, strip, sources, choose) {
  if (node.contains(document.activeElement)) return;
  const left = el("div", {}, eventList(strip.answers.events.values(), choose), refusedList(strip.refused.values()));
  node.replaceChildren(left, sourceTable(sources));
}

function refusedList(refused) {
  const newest = [...refused].slice(-EVENTS_MAX).reverse();
  const rows = newest.map((one) => el("li", { title: one.why }, el("span", {}, time(one.us)), sign(one.modality), el("span", { className: "why" }, one.why)));
  return rows.length ? el("section", { className: "log refused" }, el("h3", {}, "Not taken"), el("ol", {}, ...rows)) : "";
}

function eventList(events, choose) {
  const newest = [...events].sort((a, b) => b.startUs - a.startUs).slice(0, EVENTS_MAX);
  const rows = newest.map((one) => {
    const open = el("button", { type: "button" }, label(one.label));
    open.addEventListener("click", () => choose(one.prediction));
    const kind = one.final ? "final" : "early";
    return el("li", {}, el("span", {}, time(one.startUs)), open, el("span", {}, percent(one.confidence)), el("span", { className: `kind ${kind}` }, one.final ? "confirmed" : "first answer"));
  });
  return el("section", { className: "log" }, el("h3", {}, "Events"), rows.length ? el("ol", {}, ...rows) : el("p", { className: "faint" }, "none in the last minute"));
}

function sourceTable(sources) {
  const rows = sources.map((s) =>
    el(
      "tr",
      { className: s.silent_since_us || s.ended ? "quiet" : "" },
      el("th", { scope: "row" }, sign(s.modality), s.source),
      el("td", {}, heard(s)),
      el("td", {}, `${s.rate_hz.toFixed(1)}/s`),
      el("td", { title: s.clock_corrected_ms ? `its clock was corrected by ${ms(s.clock_corrected_ms)}` : "" }, `${ms(s.clock_offset_ms)}${s.clock_corrected_ms ? " *" : ""}`),
      el("td", {}, `${(s.late_share * 100).toFixed(1)} %`),
    ),
  );
  const heads = ["source", "last heard", "rate", "way and clock", "late"].map((name) => el("th", { scope: "col" }, name));
  return el("section", {}, el("h3", {}, "Sources"), el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows)));
}

function heard(s) {
  if (s.ended) return `ended ${ago(s.last_seen_s)}`;
  return s.silent_since_us ? `silent since ${time(s.silent_since_us)} (${ago(s.last_seen_s)})` : ago(s.last_seen_s);
}

function ms(number) {
  return `${number > 0 ? "+" : ""}${number} ms`;
}
