// The live page: which sessions are shown, one clock for all of them, and the keys.

import { showBelow } from "./below.js";
import { el, text } from "./dom.js";
import { devices, Feed, followList } from "./feed.js";
import { List } from "./list.js";
import { Strip } from "./strip.js";
import { Why } from "./why.js";

const SHOWN_MAX = 10;
// A strip draws what came for it at most this often; of many, so many at once, the ones that wait the longest.
const DRAW_MS = 100;
const DRAWN_AT_ONCE = 2;
// Many strips move on every second frame, together: in 20 s of an axis a pixel takes longer than that.
const FEW = 3;
const MANY_STEP_MS = 25;
const SLOW_STEP_MS = 1000;
const LIVE_US = 20_000_000;
const find = (id) => document.getElementById(id);

const stage = find("stage");
const strips = new Map();
let spanUs = (Number(localStorage.getItem("span")) || (innerWidth < 640 ? 10 : 20)) * 1_000_000;
let paused = false;
// Which sessions there are, the one heard last first, and whether each is live.
let known = new Map();

const list = new List(find("list"), find("find"), find("count"));
const why = new Why(find("why"), () => {});
const seen = new IntersectionObserver((entries) => entries.forEach((e) => strips.get(e.target.dataset.session)?.seen(e.isIntersecting)), {
  rootMargin: "120px",
});
const feed = new Feed({
  begin: (session, snapshot) => strips.get(session)?.begin(snapshot),
  message: (kind, record) => strips.get(record.session)?.message(kind, record),
  linked: (on) => link(on ? "live" : "reconnecting"),
});

function link(state) {
  find("link").className = `link ${state}`;
  text(find("link").lastElementChild, state);
}

function chosen() {
  try {
    return decodeURIComponent(location.hash.slice(1)) || null;
  } catch {
    return null;
  }
}

/** The sessions to show: the chosen one, else up to ten; what is shown stays, unless it is quiet and another is live. */
function wanted() {
  const one = chosen();
  if (one !== null) return known.has(one) ? [one] : [];
  const shown = [...strips.keys()].filter((id) => known.has(id) && !strips.get(id).focus);
  const others = [...known.keys()].filter((id) => !shown.includes(id));
  // A strip with the keyboard focus stays: the person would lose the place.
  const focused = (id) => strips.get(id)?.node.contains(document.activeElement);
  const live = (id) => known.get(id) || focused(id);
  const all = [...shown.filter(live), ...others.filter(live), ...shown.filter((id) => !live(id)), ...others];
  return [...new Set(all)].slice(0, SHOWN_MAX).sort();
}

function show() {
  const ids = wanted();
  const focus = chosen() !== null;
  for (const [id, strip] of strips) {
    if (ids.includes(id) && strip.focus === focus) continue;
    if (why.strip === strip) why.close();
    seen.unobserve(strip.node);
    strip.close();
    strips.delete(id);
  }
  ids.forEach((id, place) => {
    if (strips.has(id)) return;
    const strip = new Strip(id, { choose: (s, prediction) => why.show(s, prediction), spanUs, focus });
    strips.set(id, strip);
    const after = ids.slice(place + 1).map((other) => strips.get(other)?.node).find((node) => node?.isConnected);
    stage.insertBefore(strip.node, after ?? find("below"));
    seen.observe(strip.node);
  });
  find("empty").hidden = ids.length > 0;
  find("below").hidden = !focus || !ids.length;
  list.choose(chosen());
  find("all").toggleAttribute("aria-current", !focus);
  // The strips that are new need their snapshot even where the set of names is the same.
  if (ids.some((id) => !strips.get(id).lanes.size)) feed.sessions = [];
  feed.follow(ids);
}

function span(seconds) {
  spanUs = seconds * 1_000_000;
  localStorage.setItem("span", seconds);
  strips.forEach((strip) => (strip.span = spanUs));
  document.querySelectorAll("[data-span]").forEach((b) => b.setAttribute("aria-pressed", String(Number(b.dataset.span) === seconds)));
}

function pause(on) {
  paused = on;
  find("pause").setAttribute("aria-pressed", String(on));
  text(find("pause"), on ? "Go on" : "Pause");
  document.body.classList.toggle("paused", on);
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  localStorage.setItem("theme", name);
  strips.forEach((strip) => strip.draw(performance.now()));
}

let turned = performance.now();
let moved = turned;
const slow = matchMedia("(prefers-reduced-motion: reduce)");

function turn(nowMs) {
  requestAnimationFrame(turn);
  if (paused) moved = nowMs;
  if (paused || (strips.size > FEW && nowMs - turned < MANY_STEP_MS)) return;
  turned = nowMs;
  if (!slow.matches || nowMs - moved > SLOW_STEP_MS) {
    strips.forEach((strip) => strip.visible && strip.step(nowMs, nowMs - moved));
    moved = nowMs;
  }
  const due = [...strips.values()].filter((strip) => strip.waiting.length && nowMs - strip.drawnMs >= DRAW_MS);
  due.sort((a, b) => a.drawnMs - b.drawnMs);
  due.slice(0, DRAWN_AT_ONCE).forEach((strip) => strip.draw(nowMs));
}

async function below() {
  if (chosen() !== null && !document.hidden) {
    try {
      const found = (await devices()).filter((one) => one.session === chosen());
      const strip = strips.get(chosen());
      if (strip) showBelow(find("below"), strip, found, (id) => why.show(strip, id));
    } catch {
      // The list says that nobody answers.
    }
  }
  setTimeout(below, 1000);
}

document.querySelectorAll("[data-span]").forEach((b) => b.addEventListener("click", () => span(Number(b.dataset.span))));
find("pause").addEventListener("click", () => pause(!paused));
find("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  theme(dark === "dark" ? "light" : "dark");
});
find("help").addEventListener("click", () => find("legend").showModal());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => strips.forEach((strip) => strip.draw(performance.now())));
addEventListener("hashchange", show);
addEventListener("keydown", (event) => {
  if (event.target.matches("input, dialog *") || (event.target.matches("button, a") && event.key === " ")) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " ") pause(!paused);
  else if (event.key === "/") find("find").focus();
  else if (event.key === "?") find("legend").showModal();
  else return;
  event.preventDefault();
});

stage.append(
  el("div", { id: "empty", className: "empty" }, el("h1", {}, "Nothing is heard yet"), el("p", {}, "Send something, and it shows here:"), el("pre", {}, `curl --data-binary @photo.jpg -H 'content-type: image/jpeg' ${location.origin}/api/v1/sessions/kitchen/video`)),
  el("div", { id: "below", hidden: true }),
);
if (localStorage.getItem("theme")) theme(localStorage.getItem("theme"));
span(spanUs / 1_000_000);
followList(
  (sessions, nowUs) => {
    known = new Map(sessions.map((session) => [session.id, nowUs - session.heard_us < LIVE_US]));
    list.show(sessions, nowUs);
    if (!feed.source) link("live");
    show();
  },
  () => link("reconnecting"),
);
requestAnimationFrame(turn);
below();
