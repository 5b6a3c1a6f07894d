// The band of answers, painted: how sure each is, first and final told apart, one name for a run of the same label, the
// marks of doubt and conflict; and, below it, what each sense adds and takes.

import { label, nameWidth } from "./dom.js";
import { ink, slanted } from "./ink.js";

export const NOTHING = "nothing";
const NATS = 4;
const LEAST = 0.04;
const EDGE_PX = 4;
const NAME_UP_PX = 7;
const MARK_DOWN_PX = 11;

/** Paint the answers, oldest first. */
export function paintAnswers(paper, slots) {
  const answered = slots.filter((slot) => slot.cell);
  for (const slot of answered) {
    const place = paper.span(slot.endUs - paper.strip.hopUs, paper.strip.hopUs);
    if (place) fill(paper, slot.shown, place);
  }
  paper.pen.font = ink().font;
  for (const run of runs(answered, paper.strip.hopUs)) name(paper, run);
  for (const slot of answered) if (slot.shown.abstained || slot.shown.odd) mark(paper, slot);
}

function fill(paper, p, { left, width }) {
  const { pen, height } = paper;
  const colours = ink();
  const top = height - Math.max(p.confidence, LEAST) * height;
  const nothing = p.label === NOTHING;
  pen.beginPath();
  pen.roundRect(left + 0.5, top, width - 1, height - top, [2, 2, 0, 0]);
  if (p.final) {
    pen.globalAlpha = p.abstained ? 0.5 : 1;
    pen.fillStyle = nothing ? colours.line : colours.answer;
    pen.fill();
    pen.globalAlpha = 1;
    return;
  }
  if (!nothing) {
    pen.fillStyle = slanted(pen, colours["answer-soft"], 3, -paper.fromPx, paper.scale);
    pen.fill();
  }
  pen.beginPath();
  pen.moveTo(left + 1, height);
  pen.lineTo(left + 1, top + 0.5);
  pen.lineTo(left + width - 1, top + 0.5);
  pen.lineTo(left + width - 1, height);
  pen.setLineDash([3, 2]);
  pen.strokeStyle = nothing ? colours.line : colours.answer;
  pen.lineWidth = 1;
  pen.stroke();
  pen.setLineDash([]);
}

/** Answers that follow each other with the same label, first or final alike. */
function runs(answered, hopUs) {
  const found = [];
  for (const slot of answered) {
    const run = found.at(-1);
    const p = run?.first.shown;
    const goesOn = p && p.label === slot.shown.label && p.final === slot.shown.final;
    if (goesOn && slot.startUs - run.first.startUs <= (run.count + 0.5) * hopUs) run.count += 1;
    else found.push({ first: slot, count: 1 });
  }
  return found;
}

/** The name of a run stands in it once, where it has the room. */
function name(paper, { first, count }) {
  const p = first.shown;
  const place = paper.span(first.endUs - paper.strip.hopUs, count * paper.strip.hopUs);
  const told = label(p.label);
  if (!place || p.label === NOTHING || nameWidth(told) + 2 * EDGE_PX >= place.width) return;
  const colours = ink();
  paper.pen.fillStyle = p.abstained ? colours.ink : p.final ? colours.card : colours.answer;
  paper.pen.fillText(told, place.left + EDGE_PX, paper.height - NAME_UP_PX);
}

function mark(paper, slot) {
  const p = slot.shown;
  const place = paper.span(slot.endUs - paper.strip.hopUs, paper.strip.hopUs);
  if (!place) return;
  const told = (p.abstained ? "?" : "") + (p.odd ? "◆" : "");
  paper.pen.fillStyle = p.odd ? ink().warn : ink().faint;
  paper.pen.fillText(told, place.left + (place.width - nameWidth(told)) / 2, MARK_DOWN_PX);
}

/** Paint what each sense adds (up) or takes (down), stacked from the middle. */
export function paintAdds(paper, slots, modalities) {
  const { pen } = paper;
  const colours = ink();
  const [top, height] = [3, paper.height - 6];
  for (const slot of slots) {
    const place = slot.final && paper.span(slot.endUs - paper.strip.hopUs, paper.strip.hopUs);
    if (!place) continue;
    const middle = top + height / 2;
    pen.fillStyle = colours.line;
    pen.fillRect(place.left, middle - 0.5, place.width, 1);
    let [up, down] = [middle, middle];
    for (const modality of modalities) {
      const adds = slot.final.modalities[modality]?.contribution ?? 0;
      const size = (Math.min(Math.abs(adds) / NATS, 1) * height) / 2;
      if (size < height / 100) continue;
      if (adds > 0) up -= size;
      pen.fillStyle = colours[modality] ?? colours.other;
      pen.fillRect(place.left + 0.22 * place.width, adds > 0 ? up : down, 0.56 * place.width, size);
      if (adds < 0) down += size;
    }
  }
}
