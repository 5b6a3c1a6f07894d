// Elements and texts. No data is ever turned into markup.

/** An element with properties, attributes (with a dash, or `role`) and children. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.includes("-") || name === "role") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Set a text only if it changes, because setting it costs a layout. */
export function setText(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

const measuring = document.createElement("canvas").getContext("2d");
const widths = new Map();

/** The width of a label in pixels, in the font of style.css, without a layout. */
export function labelWidth(value) {
  if (!widths.has(value)) {
    // Read once: reading a computed style makes the browser compute everything that changed.
    if (!widths.size) measuring.font = `600 11.5px ${getComputedStyle(document.body).fontFamily}`;
    widths.set(value, measuring.measureText(value).width);
  }
  return widths.get(value);
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** The time of day of an event time in microseconds, with tenths of a second if asked for. */
export function timeText(us, tenths = false) {
  const ms = us / 1000;
  return clock.format(ms) + (tenths ? "." + (Math.floor(ms / 100) % 10) : "");
}

export const percent = (p) => `${Math.round(p * 100)} %`;
export const labelText = (name) => (name === null || name === undefined ? "no prediction" : name.replaceAll("_", " "));
export const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(2);

/** A duration in milliseconds as text. */
export function duration(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** The time since something happened as text. */
export function ago(seconds) {
  if (seconds < 2) return "now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`;
}

const SHAPES = {
  video: [["rect", { x: 2.5, y: 4.5, width: 10, height: 11, rx: 2 }], ["path", { d: "M12.5 9l5-3v8l-5-3" }]],
  audio: [["path", { d: "M3 10h1.5M7 6v8M10 3.500v13M13 7v6M16 9v2" }]],
  text: [["path", { d: "M4 5h12M10 5v10.500M7.500 15.500h5" }]],
};

/** The icon of a modality; a plain square for a modality without one. */
export function icon(modality) {
  const shapes = SHAPES[modality] ?? [["rect", { x: 4, y: 4, width: 12, height: 12, rx: 2 }]];
  const node = svg("svg", { viewBox: "0 0 20 20", class: `icon m-${modality}`, "aria-hidden": "true" });
  node.append(...shapes.map(([tag, attributes]) => svg(tag, attributes)));
  return node;
}

const STATES = { present: "●", absent: "○", unknown: "◌", unusable: "✕", muted: "⊘", skipped: "↷" };

/** The sign of a state: shapes differ, not only colours. */
export const stateSign = (state) => STATES[state] ?? "·";

const EVIDENCE = { data: "newer data arrived", alive: "source sent a heartbeat", tick: "timed out", end: "source ended", config: "not expected" };

/** A state and the reason for it, as "unknown (timed out)". */
export function stateText(state, evidence) {
  return evidence && state !== "present" ? `${state} (${EVIDENCE[evidence] ?? evidence})` : state;
}
