// Elements and texts. Nothing here or elsewhere ever turns data into markup.

/** An element with properties, attributes (with a dash, or `role`) and children. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes. */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Set a text only where it changes: layout is not touched for nothing. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

const pen = document.createElement("canvas").getContext("2d");

const widths = new Map();

/** How wide a name of the answers and events is, in pixels; it asks for no layout. The font is that of style.css. */
export function nameWidth(value) {
  if (!widths.has(value)) {
    // Asked once: each look at a computed style makes the browser compute all that changed.
    if (!widths.size) pen.font = `600 11.5px ${getComputedStyle(document.body).fontFamily}`;
    widths.set(value, pen.measureText(value).width);
  }
  return widths.get(value);
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** The time of day of an event time in microseconds; tenths where asked for. */
export function time(us, tenths = false) {
  const ms = us / 1000;
  return clock.format(ms) + (tenths ? "." + (Math.floor(ms / 100) % 10) : "");
}

export const percent = (p) => `${Math.round(p * 100)} %`;
export const label = (name) => (name === null || name === undefined ? "no answer" : name.replaceAll("_", " "));
export const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(2);

/** A span of milliseconds for people. */
export function span(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** How long ago, for people. */
export function ago(seconds) {
  if (seconds < 2) return "now";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

const SHAPES = {
  video: [["rect", { x: 2.5, y: 4.5, width: 10, height: 11, rx: 2 }], ["path", { d: "M12.5 9l5-3v8l-5-3" }]],
  audio: [["path", { d: "M3 10h1.5M7 6v8M10 3.500v13M13 7v6M16 9v2" }]],
  text: [["path", { d: "M4 5h12M10 5v10.500M7.500 15.500h5" }]],
};

/** The sign of a modality; an unknown one gets a plain square. */
export function sign(modality) {
  const parts = SHAPES[modality] ?? [["rect", { x: 4, y: 4, width: 12, height: 12, rx: 2 }]];
  const made = svg("svg", { viewBox: "0 0 20 20", class: `sign m-${modality}`, "aria-hidden": "true" });
  made.append(...parts.map(([tag, attributes]) => svg(tag, attributes)));
  return made;
}

const STATES = { present: "●", absent: "○", unknown: "◌", unusable: "✕", muted: "⊘", skipped: "↷" };

/** The sign of a state: a filled, an empty, a dotted ring; never a colour alone. */
export const stateSign = (state) => STATES[state] ?? "·";
