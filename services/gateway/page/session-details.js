// Below the selected session: its newest events, rejected records, and its sources with their rate, delay and late share.

import { ago, el, icon, labelText, percent, timeText } from "./dom.js";

const ROWS_MAX = 8;

/** Fill the details of a session; while they have the keyboard focus they stay as they are. */
export function showDetails(node, view, sources, select) {
  if (node.contains(document.activeElement)) return;
  const left = el("div", {}, eventList(view.predictions.events.values(), select), rejectedList(view.rejected.values()));
  node.replaceChildren(left, sourceTable(sources));
}

function rejectedList(rejected) {
  const newest = [...rejected].slice(-ROWS_MAX).reverse();
  const rows = newest.map(({ us, modality, reason }) =>
    el("li", { title: reason }, el("span", {}, timeText(us)), icon(modality), el("span", { className: "reason" }, reason)),
  );
  return rows.length ? el("section", { className: "log rejected" }, el("h3", {}, "Late and rejected"), el("ol", {}, ...rows)) : "";
}

function eventList(events, select) {
  const newest = [...events].sort((a, b) => b.startUs - a.startUs).slice(0, ROWS_MAX);
  const rows = newest.map((event) => {
    const open = el("button", { type: "button" }, labelText(event.label));
    open.addEventListener("click", () => select(event.prediction));
    const kind = event.final ? "final" : "early";
    return el(
      "li",
      {},
      el("span", {}, timeText(event.startUs)),
      open,
      el("span", {}, percent(event.confidence)),
      el("span", { className: `kind ${kind}` }, event.final ? "confirmed" : "early"),
    );
  });
  const body = rows.length ? el("ol", {}, ...rows) : el("p", { className: "faint" }, "None in the last minute");
  return el("section", { className: "log" }, el("h3", {}, "Events"), body);
}

function sourceTable(sources) {
  const rows = sources.map((source) => {
    const corrected = source.clock_corrected_ms;
    const title = corrected ? `The clock of this source was corrected by ${milliseconds(corrected)}` : "";
    return el(
      "tr",
      { className: source.silent_since_us || source.ended ? "silent" : "" },
      el("th", { scope: "row" }, icon(source.modality), source.source),
      el("td", {}, lastSeen(source)),
      el("td", {}, `${source.rate_hz.toFixed(1)}/s`),
      source.clock_problem
        ? el("td", { title: source.clock_remedy, className: "problem" }, source.clock_problem)
        : el("td", { title }, `${milliseconds(source.clock_offset_ms)}${corrected ? " *" : ""}`),
      el("td", {}, `${(source.late_share * 100).toFixed(1)} %`),
    );
  });
  const heads = ["Source", "Last record", "Rate", "Delay", "Late"].map((name) => el("th", { scope: "col" }, name));
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
  const remedies = sources.filter((source) => source.clock_problem).map((source) => el("p", { className: "problem" }, source.clock_remedy));
  return el("section", {}, el("h3", {}, "Sources"), table, ...remedies);
}

function lastSeen(source) {
  if (source.ended) return `ended ${ago(source.last_seen_s)}`;
  return source.silent_since_us ? `silent since ${timeText(source.silent_since_us)}` : ago(source.last_seen_s);
}

function milliseconds(number) {
  return `${number > 0 ? "+" : ""}${number} ms`;
}
