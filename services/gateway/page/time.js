// The axis of a strip: event time runs smoothly with what comes, stands when nothing comes, and never jumps for one
// record with a wrong clock.

const LEAD_US = 600_000;
const BEYOND_US = 1_200_000;
const EASE_MS = 350;
const JUMP_US = 6_000_000;
const FAR = 12;

export class Axis {
  constructor(spanUs) {
    this.spanUs = spanUs;
    this.newest = 0;
    this.heard = 0;
    this.shown = 0;
    this.base = 0;
    this.held = null;
    this.focusUs = null;
  }

  /** Stand where a window can be seen whole; what is in sight already stays where it is. */
  hold(startUs, endUs) {
    const inSight = startUs >= this.from && endUs <= this.from + this.spanUs;
    this.held = inSight ? this.shown : endUs + this.spanUs / 3;
  }

  /** Something of this event time was heard now. */
  hear(us, nowMs) {
    if (us > this.newest) {
      this.newest = us;
      this.heard = nowMs;
    }
    if (!this.base) this.base = us;
  }

  /** Move on; true where positions must be set anew because the base moved. */
  step(nowMs, deltaMs) {
    let target = this.held ?? this.newest + Math.min((nowMs - this.heard) * 1000, BEYOND_US);
    let back = this.held !== null;
    // What has the keyboard focus must not leave the view: the axis waits for it, and goes back to it.
    if (this.focusUs !== null && target - this.leftUs > this.focusUs) {
      target = this.focusUs + this.leftUs;
      back = true;
    }
    const gap = target - this.shown;
    if (Math.abs(gap) > JUMP_US) this.shown = target;
    else if (gap > 0 || back) this.shown += gap * (1 - Math.exp(-deltaMs / EASE_MS));
    if (this.shown - this.base < FAR * this.spanUs) return false;
    this.base = this.shown;
    return true;
  }

  get from() {
    return this.shown - this.leftUs;
  }

  /** How far the left edge of the view lies behind the time that is shown. */
  get leftUs() {
    return this.spanUs - LEAD_US;
  }

  /** An event time as a share of the width, from the base on. */
  at(us) {
    return ((us - this.base) / this.spanUs) * 100;
  }
}
