// What comes from the gateway: the list by asking, what happens in the shown sessions by server-sent events.

const KINDS = ["chunk", "window", "prediction", "event", "late", "dead", "tick", "end"];
const LIST_EVERY_MS = 2000;
const SECONDS = 75;

async function read(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

export const why = (id) => read(`api/v1/predictions/${encodeURIComponent(id)}`);
export async function correct(id, label) {
  const answer = await fetch(`api/v1/predictions/${encodeURIComponent(id)}/label`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ label }),
  });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail);
  return told;
}

export const devices = async () => (await read("api/v1/devices")).devices;

/** Calls `told(sessions, now_us)` every two seconds while somebody looks; `failed()` where nobody answers. */
export function followList(told, failed) {
  const ask = async () => {
    if (!document.hidden) {
      try {
        const found = await read("api/v1/sessions");
        told(found.sessions, found.now_us);
      } catch {
        failed();
      }
    }
    setTimeout(ask, LIST_EVERY_MS);
  };
  ask();
}

/** One event stream for all shown sessions; it resumes where it broke off, and starts anew where that is gone. */
export class Feed {
  constructor({ begin, message, linked }) {
    this.begin = begin;
    this.message = message;
    this.linked = linked;
    this.sessions = [];
    this.source = null;
    this.turn = 0;
  }

  /** Follow these sessions: `begin(session, snapshot)` first, then `message(kind, record)` for each that happens. */
  async follow(sessions) {
    if (sessions.join("\n") === this.sessions.join("\n") && this.source) return;
    this.sessions = sessions;
    await this.start();
  }

  async start() {
    const turn = ++this.turn;
    this.source?.close();
    this.source = null;
    if (!this.sessions.length) return;
    let after = null;
    try {
      // The first place read is the oldest: what stands in several snapshots is only said twice.
      const place = await read(`api/v1/sessions/${encodeURIComponent(this.sessions[0])}?seconds=0`);
      after = place.last_id;
      const found = await Promise.allSettled(
        this.sessions.map((id) => read(`api/v1/sessions/${encodeURIComponent(id)}?seconds=${SECONDS}`)),
      );
      if (turn !== this.turn) return;
      found.forEach((one, n) => one.status === "fulfilled" && this.begin(this.sessions[n], one.value));
    } catch {
      if (turn === this.turn) {
        this.linked(false);
        setTimeout(() => turn === this.turn && this.start(), LIST_EVERY_MS);
      }
      return;
    }
    const query = new URLSearchParams();
    this.sessions.forEach((id) => query.append("session", id));
    KINDS.forEach((kind) => query.append("kind", kind));
    query.set("after", after);
    const source = new EventSource(`api/v1/events?${query}`);
    source.onopen = () => this.linked(true);
    source.onerror = () => {
      this.linked(false);
      // A browser gives up after an answer that is no stream (the gateway is starting, or full).
      if (source.readyState === EventSource.CLOSED && turn === this.turn) setTimeout(() => this.start(), LIST_EVERY_MS);
    };
    source.addEventListener("reset", () => this.start());
    for (const kind of KINDS) source.addEventListener(kind, (event) => this.message(kind, JSON.parse(event.data)));
    this.source = source;
  }
}
