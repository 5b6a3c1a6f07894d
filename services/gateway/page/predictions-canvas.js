// Paints the predictions of a session: the height is the confidence, early and final look different, and equal labels in a
// row share one name. Below, it paints the contribution of each modality.

import { colors, hatching } from "./colors.js";
import { labelText, labelWidth } from "./dom.js";

export const NOTHING = "nothing";
const CONTRIBUTION_MAX = 4;
const CONFIDENCE_MIN = 0.04;
const EDGE_PX = 4;
const NAME_UP_PX = 7;
const SIGN_DOWN_PX = 11;

/** Paint the predictions of these windows, which are ordered by time. */
export function paintPredictions(canvas, timeWindows) {
  const predicted = timeWindows.filter((timeWindow) => timeWindow.cell);
  for (const timeWindow of predicted) {
    const place = placeOf(canvas, timeWindow);
    if (place) paintConfidence(canvas, timeWindow.prediction, place);
  }
  canvas.context.font = colors().font;
  for (const run of runsOf(predicted, canvas.view.hopUs)) paintLabel(canvas, run);
  for (const timeWindow of predicted) if (timeWindow.prediction.abstained || timeWindow.prediction.odd) paintSigns(canvas, timeWindow);
}

function placeOf(canvas, timeWindow) {
  return canvas.place(timeWindow.endUs - canvas.view.hopUs, canvas.view.hopUs);
}

function paintConfidence(canvas, prediction, { left, width }) {
  const { context, height } = canvas;
  const theme = colors();
  const top = height - Math.max(prediction.confidence, CONFIDENCE_MIN) * height;
  const nothing = prediction.label === NOTHING;
  context.beginPath();
  context.roundRect(left + 0.5, top, width - 1, height - top, [2, 2, 0, 0]);
  if (prediction.final) {
    context.globalAlpha = prediction.abstained ? 0.5 : 1;
    context.fillStyle = nothing ? theme.line : theme.prediction;
    context.fill();
    context.globalAlpha = 1;
    return;
  }
  if (!nothing) {
    context.fillStyle = hatching(context, theme["prediction-soft"], 3, -canvas.fromPx, canvas.scale);
    context.fill();
  }
  context.beginPath();
  context.moveTo(left + 1, height);
  context.lineTo(left + 1, top + 0.5);
  context.lineTo(left + width - 1, top + 0.5);
  context.lineTo(left + width - 1, height);
  context.setLineDash([3, 2]);
  context.strokeStyle = nothing ? theme.line : theme.prediction;
  context.lineWidth = 1;
  context.stroke();
  context.setLineDash([]);
}

/** Group predictions that follow each other with the same label and are all early or all final. */
function runsOf(predicted, hopUs) {
  const runs = [];
  for (const timeWindow of predicted) {
    const run = runs.at(-1);
    const first = run?.first.prediction;
    const same = first && first.label === timeWindow.prediction.label && first.final === timeWindow.prediction.final;
    if (same && timeWindow.startUs - run.first.startUs <= (run.count + 0.5) * hopUs) run.count += 1;
    else runs.push({ first: timeWindow, count: 1 });
  }
  return runs;
}

/** Write the label of a run once, if there is room. */
function paintLabel(canvas, { first, count }) {
  const { label, abstained, final } = first.prediction;
  const place = canvas.place(first.endUs - canvas.view.hopUs, count * canvas.view.hopUs);
  const name = labelText(label);
  if (!place || label === NOTHING || labelWidth(name) + 2 * EDGE_PX >= place.width) return;
  const theme = colors();
  canvas.context.fillStyle = abstained ? theme.ink : final ? theme.card : theme.prediction;
  canvas.context.fillText(name, place.left + EDGE_PX, canvas.height - NAME_UP_PX);
}

function paintSigns(canvas, timeWindow) {
  const { abstained, odd } = timeWindow.prediction;
  const place = placeOf(canvas, timeWindow);
  if (!place) return;
  const signs = (abstained ? "?" : "") + (odd ? "◆" : "");
  canvas.context.fillStyle = odd ? colors().warn : colors().faint;
  canvas.context.fillText(signs, place.left + (place.width - labelWidth(signs)) / 2, SIGN_DOWN_PX);
}

/** Paint the contribution of each modality, stacked from the middle: up is for the prediction, down is against it. */
export function paintContributions(canvas, timeWindows, modalities) {
  const { context } = canvas;
  const theme = colors();
  const [top, height] = [3, canvas.height - 6];
  for (const timeWindow of timeWindows) {
    const place = timeWindow.final && placeOf(canvas, timeWindow);
    if (!place) continue;
    const middle = top + height / 2;
    context.fillStyle = theme.line;
    context.fillRect(place.left, middle - 0.5, place.width, 1);
    let [up, down] = [middle, middle];
    for (const modality of modalities) {
      const contribution = timeWindow.final.modalities[modality]?.contribution ?? 0;
      const size = (Math.min(Math.abs(contribution) / CONTRIBUTION_MAX, 1) * height) / 2;
      if (size < height / 100) continue;
      if (contribution > 0) up -= size;
      context.fillStyle = theme[modality] ?? theme.other;
      context.fillRect(place.left + 0.22 * place.width, contribution > 0 ? up : down, 0.56 * place.width, size);
      if (contribution < 0) down += size;
    }
  }
}
