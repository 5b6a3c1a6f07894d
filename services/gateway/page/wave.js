// The outline of a sound; quiet sounds are raised so that they can be seen.

import { svg } from "./dom.js";

const PEAK_MAX = 255;

/** How far an outline stands from its middle line, 0 to 1, at each edge of its parts. */
export function heights(peaks) {
  const found = peaks.map((peak) => Math.max(Math.sqrt(peak / PEAK_MAX), 0.03));
  found.push(found[found.length - 1]);
  return found;
}

/** An outline as an element of its own. */
export function wave(peaks) {
  const found = heights(peaks);
  const up = found.map((h, n) => `${n} ${(1 - h).toFixed(3)}`);
  const down = found.map((h, n) => `${n} ${(1 + h).toFixed(3)}`).reverse();
  const path = svg("path", { d: `M${up.join("L")}L${down.join("L")}Z` });
  return svg("svg", { viewBox: `0 0 ${peaks.length} 2`, preserveAspectRatio: "none", "aria-hidden": "true" }, path);
}

/** Add an outline to the path of a pen, in a box of pixels. */
export function trace(pen, found, left, top, width, height) {
  const [step, half] = [width / (found.length - 1), height / 2];
  pen.moveTo(left, top + half - found[0] * half);
  for (let n = 1; n < found.length; n += 1) pen.lineTo(left + n * step, top + half - found[n] * half);
  for (let n = found.length - 1; n >= 0; n -= 1) pen.lineTo(left + n * step, top + half + found[n] * half);
  pen.closePath();
}
