// Paints one stream: waveforms, idle records, and the state of each window.

import { colors, hatching } from "./colors.js";
import { traceWaveform } from "./waveform.js";

const STATE_PX = 4;
const ABOVE_PX = 2;
const BELOW_PX = 6;
const STRIPE_PX = 3;

/** Paint a stream and return how many visible windows found it in each state. */
export function paintStream(canvas, stream, timeWindows) {
  const theme = colors();
  const color = theme[stream.modality] ?? theme.other;
  const counts = {};
  for (const timeWindow of timeWindows) {
    const found = timeWindow.states.get(stream.modality);
    const place = found && canvas.place(timeWindow.endUs - canvas.view.hopUs, canvas.view.hopUs);
    if (!place) continue;
    counts[found.state] = (counts[found.state] ?? 0) + 1;
    paintState(canvas, found, place, color, theme);
  }
  const waveforms = [...stream.waveforms.values()];
  paintWaveforms(canvas, waveforms.filter((one) => !one.rejected), color, 1);
  paintWaveforms(canvas, waveforms.filter((one) => one.rejected), theme.faint, 0.5);
  paintIdleRecords(canvas, stream.idleUs, theme.faint);
  return counts;
}

function paintState(canvas, { state, final }, { left, width }, color, theme) {
  const { context, height } = canvas;
  const top = height - STATE_PX;
  context.globalAlpha = final ? 1 : 0.5;
  if (state === "present") {
    context.fillStyle = color;
    context.fillRect(left, top, width - 1, STATE_PX);
  } else if (state === "absent") {
    if (final) context.globalAlpha = 0.6;
    context.fillStyle = theme.faint;
    context.fillRect(left, top + 1, width, 1);
  } else if (state === "unknown") {
    context.fillStyle = hatching(context, theme.hatch, 1.2, -canvas.fromPx, canvas.scale);
    context.fillRect(left, 0, width, height);
  } else {
    context.fillStyle = theme.warn;
    for (let x = 0; x < width; x += 2 * STRIPE_PX) context.fillRect(left + x, top, Math.min(STRIPE_PX, width - x), STATE_PX);
  }
  context.globalAlpha = 1;
}

function paintWaveforms(canvas, waveforms, color, alpha) {
  const { context } = canvas;
  context.beginPath();
  for (const { us, lengthUs, heights } of waveforms) {
    const place = canvas.place(us, lengthUs);
    if (place) traceWaveform(context, heights, place.left, ABOVE_PX, place.width, canvas.height - ABOVE_PX - BELOW_PX);
  }
  context.globalAlpha = alpha;
  context.fillStyle = color;
  context.fill();
  context.globalAlpha = 1;
}

function paintIdleRecords(canvas, times, color) {
  const { context } = canvas;
  const [radius, y] = [1.5, canvas.height - BELOW_PX - 1.5];
  context.beginPath();
  for (const us of times) {
    const place = canvas.place(us, 0);
    if (!place) continue;
    context.moveTo(place.left + radius, y);
    context.arc(place.left, y, radius, 0, 2 * Math.PI);
  }
  context.globalAlpha = 0.7;
  context.fillStyle = color;
  context.fill();
  context.globalAlpha = 1;
}
