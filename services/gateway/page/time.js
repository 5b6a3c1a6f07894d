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
    const target = this.held ?? this.newest + Math.min((nowMs - this.heard) * 1000, BEYOND_US);
    const gap = target - this.shown;
    if (Math.abs(gap) > JUMP_US) this.shown = target;
    else if (gap > 0 || this.held !== null) this.shown += gap * (1 - Math.exp(-deltaMs / EASE_MS));
    if (this.shown - this.base < FAR * this.spanUs) return false;
    this.base = this.shown;
    return true;
  }

  get from() {
    return this.shown + LEAD_US - this.spanUs;
  }

  /** An event time as a share of the width, from the base on. */
  at(us) {
    return ((us - this.base) / this.spanUs) * 100;
  }
}
