// A lane, painted: the outlines of sounds, told silences, and the mask of each window.

import { ink, slanted } from "./ink.js";
import { trace } from "./wave.js";

const MASK_PX = 4;
const ABOVE_PX = 2;
const BELOW_PX = 6;
const STRIPE_PX = 3;

/** Paint a lane; how many windows in sight found its sense in each state. */
export function paintLane(paper, lane, slots) {
  const colours = ink();
  const own = colours[lane.modality] ?? colours.other;
  const counts = {};
  for (const slot of slots) {
    const found = slot.masks.get(lane.modality);
    const place = found && paper.span(slot.endUs - paper.strip.hopUs, paper.strip.hopUs);
    if (!place) continue;
    counts[found.state] = (counts[found.state] ?? 0) + 1;
    mask(paper, found, place, own, colours);
  }
  sounds(paper, [...lane.sounds.values()].filter((one) => !one.refused), own, 1);
  sounds(paper, [...lane.sounds.values()].filter((one) => one.refused), colours.faint, 0.5);
  silences(paper, lane.silences, colours.faint);
  return counts;
}

function mask(paper, found, { left, width }, own, colours) {
  const { pen, height } = paper;
  const top = height - MASK_PX;
  pen.globalAlpha = found.final ? 1 : 0.5;
  if (found.state === "present") {
    pen.fillStyle = own;
    pen.fillRect(left, top, width - 1, MASK_PX);
  } else if (found.state === "absent") {
    if (found.final) pen.globalAlpha = 0.6;
    pen.fillStyle = colours.faint;
    pen.fillRect(left, top + 1, width, 1);
  } else if (found.state === "unknown") {
    pen.fillStyle = slanted(pen, colours.hatch, 1.2, -paper.fromPx, paper.scale);
    pen.fillRect(left, 0, width, height);
  } else {
    pen.fillStyle = colours.warn;
    for (let at = 0; at < width; at += 2 * STRIPE_PX) pen.fillRect(left + at, top, Math.min(STRIPE_PX, width - at), MASK_PX);
  }
  pen.globalAlpha = 1;
}

function sounds(paper, found, colour, alpha) {
  const { pen } = paper;
  pen.beginPath();
  for (const sound of found) {
    const place = paper.span(sound.us, sound.lengthUs);
    if (place) trace(pen, sound.heights, place.left, ABOVE_PX, place.width, paper.height - ABOVE_PX - BELOW_PX);
  }
  pen.globalAlpha = alpha;
  pen.fillStyle = colour;
  pen.fill();
  pen.globalAlpha = 1;
}

function silences(paper, times, colour) {
  const { pen } = paper;
  const [radius, y] = [1.5, paper.height - BELOW_PX - 1.5];
  pen.beginPath();
  for (const us of times) {
    const place = paper.span(us, 0);
    if (!place) continue;
    pen.moveTo(place.left + radius, y);
    pen.arc(place.left, y, radius, 0, 2 * Math.PI);
  }
  pen.globalAlpha = 0.7;
  pen.fillStyle = colour;
  pen.fill();
  pen.globalAlpha = 1;
}
