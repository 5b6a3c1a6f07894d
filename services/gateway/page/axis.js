// The time axis of a session. It runs smoothly with the event times that arrive, stands still when nothing arrives, and
// does not jump because of one record with a wrong clock.

const LEAD_US = 600_000;
const AHEAD_MAX_US = 1_200_000;
const EASE_MS = 350;
const JUMP_US = 6_000_000;
const REBASE_SPANS = 12;

export class Axis {
  constructor(spanUs) {
    this.spanUs = spanUs;
    this.newestUs = 0;
    this.newestAtMs = 0;
    this.shownUs = 0;
    this.baseUs = 0;
    this.heldUs = null;
    this.focusUs = null;
  }

  /** Stand still where a window is visible as a whole; what is visible already does not move. */
  hold(startUs, endUs) {
    const visible = startUs >= this.fromUs && endUs <= this.fromUs + this.spanUs;
    this.heldUs = visible ? this.shownUs : endUs + this.spanUs / 3;
  }

  /** Move the newest event time forward. */
  advance(us, nowMs) {
    if (us > this.newestUs) {
      this.newestUs = us;
      this.newestAtMs = nowMs;
    }
    if (!this.baseUs) this.baseUs = us;
  }

  /** Move on by one animation step; return true if the base moved, so that all positions must be set again. */
  step(nowMs, deltaMs) {
    let target = this.heldUs ?? this.newestUs + Math.min((nowMs - this.newestAtMs) * 1000, AHEAD_MAX_US);
    let mayGoBack = this.heldUs !== null;
    // What has the keyboard focus must not leave the view: the axis waits for it, and goes back to it.
    if (this.focusUs !== null && target - this.behindUs > this.focusUs) {
      target = this.focusUs + this.behindUs;
      mayGoBack = true;
    }
    const gap = target - this.shownUs;
    if (Math.abs(gap) > JUMP_US) this.shownUs = target;
    else if (gap > 0 || mayGoBack) this.shownUs += gap * (1 - Math.exp(-deltaMs / EASE_MS));
    if (this.shownUs - this.baseUs < REBASE_SPANS * this.spanUs) return false;
    this.baseUs = this.shownUs;
    return true;
  }

  /** The event time at the left edge of the view. */
  get fromUs() {
    return this.shownUs - this.behindUs;
  }

  /** How far the left edge lies behind the shown time. */
  get behindUs() {
    return this.spanUs - LEAD_US;
  }

  /** The position of an event time in percent of the width, counted from the base. */
  percentAt(us) {
    return ((us - this.baseUs) / this.spanUs) * 100;
  }
}
