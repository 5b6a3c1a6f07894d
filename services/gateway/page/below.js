// Below the chosen session: its events in words, and its sources: who sends, how often, how late, how far off its clock.

import { ago, el, label, percent, sign, time } from "./dom.js";

const SILENT_S = 10;

const EVENTS_MAX = 8;

/** Fill the place below; events: as the strip knows them, with what opens one. */
export function showBelow(node, sources, events, choose) {
  const focused = node.contains(document.activeElement);
  if (focused) return;
  node.replaceChildren(eventList(events, choose), sourceTable(sources));
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
      { className: s.last_seen_s > SILENT_S ? "quiet" : "" },
      el("th", { scope: "row" }, sign(s.modality), s.source),
      el("td", {}, s.last_seen_s > SILENT_S ? `silent since ${ago(s.last_seen_s)}` : ago(s.last_seen_s)),
      el("td", {}, `${s.rate_hz.toFixed(1)}/s`),
      el("td", {}, `${s.clock_offset_ms > 0 ? "+" : ""}${s.clock_offset_ms} ms`),
      el("td", {}, `${(s.late_share * 100).toFixed(1)} %`),
    ),
  );
  const heads = ["source", "last heard", "rate", "way and clock", "late"].map((name) => el("th", { scope: "col" }, name));
  return el("section", {}, el("h3", {}, "Sources"), el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows)));
}
