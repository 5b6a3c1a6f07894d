// Data from the gateway: the list of sessions by polling, the records of the shown sessions by server-sent events.

const KINDS = ["chunk", "window", "prediction", "event", "late", "dead", "tick", "end"];
const POLL_MS = 2000;
const SNAPSHOT_S = 75;

async function read(path) {
  const response = await fetch(path, { headers: { accept: "application/json" } });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

export const readExplanation = (id) => read(`api/v1/predictions/${encodeURIComponent(id)}`);

/** Save the correct label of a prediction. Rejects with the reason of the gateway. */
export async function saveLabel(id, label) {
  const response = await fetch(`api/v1/predictions/${encodeURIComponent(id)}/label`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ label }),
  });
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail);
  return body;
}

export const readDevices = async () => (await read("api/v1/devices")).devices;

/** Call `onSessions(sessions, now_us, problems)` every two seconds while the page is visible, `onFailure()` if the gateway is away. */
export function pollSessions(onSessions, onFailure) {
  const poll = async () => {
    if (!document.hidden) {
      try {
        const body = await read("api/v1/sessions");
        onSessions(body.sessions, body.now_us, body.problems);
      } catch {
        onFailure();
      }
    }
    setTimeout(poll, POLL_MS);
  };
  poll();
}

/** One event stream for all shown sessions. It resumes after an interruption, or starts again if that is impossible. */
export class Feed {
  constructor({ onSnapshot, onRecord, onConnection }) {
    this.onSnapshot = onSnapshot;
    this.onRecord = onRecord;
    this.onConnection = onConnection;
    this.sessions = [];
    this.source = null;
    this.attempt = 0;
  }

  /** Follow these sessions: `onSnapshot(session, snapshot)` first, then `onRecord(kind, record)` for each new record. */
  async follow(sessions) {
    if (sessions.join("\n") === this.sessions.join("\n") && this.source) return;
    this.sessions = sessions;
    await this.start();
  }

  async start() {
    const attempt = ++this.attempt;
    this.source?.close();
    this.source = null;
    if (!this.sessions.length) return;
    const path = (id, seconds) => `api/v1/sessions/${encodeURIComponent(id)}?seconds=${seconds}`;
    let after = null;
    try {
      // The position is read before the snapshots: a record that arrives in between is only received twice.
      after = (await read(path(this.sessions[0], 0))).last_id;
      const snapshots = await Promise.allSettled(this.sessions.map((id) => read(path(id, SNAPSHOT_S))));
      if (attempt !== this.attempt) return;
      snapshots.forEach((one, n) => one.status === "fulfilled" && this.onSnapshot(this.sessions[n], one.value));
    } catch {
      if (attempt === this.attempt) {
        this.onConnection(false);
        setTimeout(() => attempt === this.attempt && this.start(), POLL_MS);
      }
      return;
    }
    const query = new URLSearchParams();
    this.sessions.forEach((id) => query.append("session", id));
    KINDS.forEach((kind) => query.append("kind", kind));
    query.set("after", after);
    const source = new EventSource(`api/v1/events?${query}`);
    source.onopen = () => this.onConnection(true);
    source.onerror = () => {
      this.onConnection(false);
      // A browser gives up if the response is no event stream, as while the gateway starts or is full.
      if (source.readyState === EventSource.CLOSED && attempt === this.attempt) setTimeout(() => this.start(), POLL_MS);
    };
    source.addEventListener("reset", () => this.start());
    for (const kind of KINDS) source.addEventListener(kind, (event) => this.onRecord(kind, JSON.parse(event.data)));
    this.source = source;
  }
}
