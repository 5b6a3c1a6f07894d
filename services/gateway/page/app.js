// The live page: which sessions are shown, one animation loop for all of them, and the keyboard shortcuts.

import { showDetails } from "./session-details.js";
import { el, setText } from "./dom.js";
import { ExplanationPanel } from "./explanation.js";
import { Feed, pollSessions, readDevices } from "./feed.js";
import { SessionList } from "./session-list.js";
import { SessionView } from "./session-view.js";

const SHOWN_MAX = 10;
// Limits of drawing: how often a session is drawn, and how many per animation frame, longest wait first.
const DRAW_MS = 100;
const DRAWN_AT_ONCE = 2;
// Many sessions move on every second animation frame only: with 20 s on the axis, a pixel takes longer than that.
const FEW = 3;
const MANY_STEP_MS = 25;
const REDUCED_MOTION_STEP_MS = 1000;
const DETAILS_MS = 1000;
const LIVE_US = 20_000_000;
const byId = (id) => document.getElementById(id);

const main = byId("main");
const views = new Map();
let spanUs = (Number(localStorage.getItem("span")) || (innerWidth < 640 ? 10 : 20)) * 1_000_000;
let paused = false;
// Known sessions, the most recent first: whether each is live, by id.
let known = new Map();

const list = new SessionList(byId("list"), byId("find"), byId("count"));
const panel = new ExplanationPanel(byId("explanation"));
const visibility = new IntersectionObserver(
  (entries) => entries.forEach((entry) => views.get(entry.target.dataset.session)?.setVisible(entry.isIntersecting)),
  { rootMargin: "120px" },
);
const feed = new Feed({
  onSnapshot: (session, snapshot) => views.get(session)?.load(snapshot),
  onRecord: receive,
  onConnection: (connected) => showConnection(connected ? "live" : "reconnecting"),
});

function showConnection(state) {
  byId("connection").className = `connection ${state}`;
  setText(byId("connection").lastElementChild, state);
}

/** Show what keeps the gateway from working as it should; a banner, because old data look like a quiet room. */
function showProblems(problems) {
  byId("problems").hidden = !problems.length;
  setText(byId("problems"), problems.join(" "));
}

function selectedSession() {
  try {
    return decodeURIComponent(location.hash.slice(1)) || null;
  } catch {
    return null;
  }
}

/** The sessions to show: the selected one, or up to ten. A shown session stays until it is quiet and another one is live. */
function sessionsToShow() {
  const selected = selectedSession();
  if (selected !== null) return known.has(selected) ? [selected] : [];
  const shown = [...views.keys()].filter((id) => known.has(id) && !views.get(id).focus);
  const others = [...known.keys()].filter((id) => !shown.includes(id));
  // A session with the keyboard focus stays, because the person would lose the place.
  const focused = (id) => views.get(id)?.node.contains(document.activeElement);
  const live = (id) => known.get(id) || focused(id);
  const all = [...shown.filter(live), ...others.filter(live), ...shown.filter((id) => !live(id)), ...others];
  return [...new Set(all)].slice(0, SHOWN_MAX).sort();
}

/** Queue a record. A session that was begun anew is loaded anew, because its former windows may lie far ahead. */
function receive(kind, record) {
  const view = views.get(record.session);
  const generation = record.generation ?? record.window?.generation ?? 0;
  if (!view?.streams.size || generation <= view.generation) return view?.receive(kind, record);
  remove(record.session, view);
  showSessions();
}

function remove(id, view) {
  if (panel.view === view) panel.close();
  visibility.unobserve(view.node);
  view.close();
  views.delete(id);
}

function showSessions() {
  const ids = sessionsToShow();
  const selected = selectedSession();
  const focus = selected !== null;
  for (const [id, view] of views) {
    if (!ids.includes(id) || view.focus !== focus) remove(id, view);
  }
  ids.forEach((id, place) => {
    if (views.has(id)) return;
    const view = new SessionView(id, { select: (from, prediction) => panel.show(from, prediction), spanUs, focus });
    views.set(id, view);
    const next = ids.slice(place + 1).map((other) => views.get(other)?.node).find((node) => node?.isConnected);
    main.insertBefore(view.node, next ?? byId("details"));
    visibility.observe(view.node);
  });
  showEmpty(ids.length > 0, selected);
  byId("details").hidden = !focus || !ids.length;
  list.select(selected);
  byId("all").toggleAttribute("aria-current", !focus);
  // New views need their snapshot even if the set of sessions is the same.
  if (ids.some((id) => !views.get(id).streams.size)) feed.sessions = [];
  feed.follow(ids);
}

function showEmpty(hidden, selected) {
  byId("empty").hidden = hidden;
  setText(byId("empty-title"), selected === null ? "No data yet" : `No recent data from ${selected}`);
}

function setSpan(seconds) {
  spanUs = seconds * 1_000_000;
  localStorage.setItem("span", seconds);
  views.forEach((view) => view.setSpan(spanUs));
  document.querySelectorAll("[data-span]").forEach((b) => b.setAttribute("aria-pressed", String(Number(b.dataset.span) === seconds)));
}

function pause(on) {
  paused = on;
  byId("pause").setAttribute("aria-pressed", String(on));
  setText(byId("pause"), on ? "Resume" : "Pause");
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  localStorage.setItem("theme", name);
  views.forEach((view) => view.draw(performance.now()));
}

let animatedMs = performance.now();
let movedMs = animatedMs;
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

function animate(nowMs) {
  requestAnimationFrame(animate);
  if (paused) movedMs = nowMs;
  if (paused || (views.size > FEW && nowMs - animatedMs < MANY_STEP_MS)) return;
  animatedMs = nowMs;
  if (!reducedMotion.matches || nowMs - movedMs > REDUCED_MOTION_STEP_MS) {
    views.forEach((view) => view.visible && view.step(nowMs, nowMs - movedMs));
    movedMs = nowMs;
  }
  const due = [...views.values()].filter((view) => view.queue.length && nowMs - view.drawnMs >= DRAW_MS);
  due.sort((a, b) => a.drawnMs - b.drawnMs);
  due.slice(0, DRAWN_AT_ONCE).forEach((view) => view.draw(nowMs));
}

async function pollDetails() {
  const selected = selectedSession();
  if (selected !== null && !document.hidden) {
    try {
      const sources = (await readDevices()).filter((source) => source.session === selected);
      const view = views.get(selected);
      if (view) showDetails(byId("details"), view, sources, (id) => panel.show(view, id));
    } catch {
      // The poll of the session list shows that the gateway does not answer.
    }
  }
  setTimeout(pollDetails, DETAILS_MS);
}

document.querySelectorAll("[data-span]").forEach((b) => b.addEventListener("click", () => setSpan(Number(b.dataset.span))));
byId("pause").addEventListener("click", () => pause(!paused));
byId("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  setTheme(theme === "dark" ? "light" : "dark");
});
byId("help").addEventListener("click", () => byId("legend").showModal());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => views.forEach((view) => view.draw(performance.now())));
addEventListener("hashchange", showSessions);
addEventListener("keydown", (event) => {
  if (event.target.matches("input, dialog *") || (event.target.matches("button, a") && event.key === " ")) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " ") pause(!paused);
  else if (event.key === "/") byId("find").focus();
  else if (event.key === "?") byId("legend").showModal();
  else return;
  event.preventDefault();
});

const example = `curl --data-binary @photo.jpg -H 'content-type: image/jpeg' ${location.origin}/api/v1/sessions/kitchen/video`;
main.append(
  el(
    "div",
    { id: "empty", className: "empty" },
    el("h1", { id: "empty-title" }, "No data yet"),
    el("p", {}, "Send something and it appears here:"),
    el("pre", {}, example),
  ),
  el("div", { id: "details", hidden: true }),
);
if (localStorage.getItem("theme")) setTheme(localStorage.getItem("theme"));
setSpan(spanUs / 1_000_000);
pollSessions(
  (sessions, nowUs, problems) => {
    showProblems(problems);
    known = new Map(sessions.map((session) => [session.id, nowUs - session.heard_us < LIVE_US]));
    list.show(sessions, nowUs);
    if (!feed.source) showConnection("live");
    showSessions();
  },
  () => {
    showConnection("reconnecting");
    showProblems(["The gateway does not answer: what is shown is old."]);
  },
);
requestAnimationFrame(animate);
pollDetails();
