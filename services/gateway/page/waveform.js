// The waveform of an audio chunk. Quiet audio is raised so that it can be seen.

import { svg } from "./dom.js";

const PEAK_MAX = 255;

/** The distance from the middle line, 0 to 1, at each edge between the peaks. */
export function heights(peaks) {
  const values = peaks.map((peak) => Math.max(Math.sqrt(peak / PEAK_MAX), 0.03));
  values.push(values[values.length - 1]);
  return values;
}

/** A waveform as an SVG element. */
export function waveform(peaks) {
  const values = heights(peaks);
  const upper = values.map((height, n) => `${n} ${(1 - height).toFixed(3)}`);
  const lower = values.map((height, n) => `${n} ${(1 + height).toFixed(3)}`).reverse();
  const path = svg("path", { d: `M${upper.join("L")}L${lower.join("L")}Z` });
  return svg("svg", { viewBox: `0 0 ${peaks.length} 2`, preserveAspectRatio: "none", "aria-hidden": "true" }, path);
}

/** Add a waveform to the path of a canvas context, inside a box of pixels. */
export function traceWaveform(context, values, left, top, width, height) {
  const [step, half] = [width / (values.length - 1), height / 2];
  context.moveTo(left, top + half - values[0] * half);
  for (let n = 1; n < values.length; n += 1) context.lineTo(left + n * step, top + half - values[n] * half);
  for (let n = values.length - 1; n >= 0; n -= 1) context.lineTo(left + n * step, top + half + values[n] * half);
  context.closePath();
}
