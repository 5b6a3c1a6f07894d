"""What the bridge publishes over MQTT for each record, and the state of each session behind it. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from services.contract import canonical
from services.contract.event import Event
from services.contract.mute_and_forget import Control
from services.contract.source_stats import CLOCK_REMEDY, PERIOD_US, ClockOffset, clock_problem
from services.integrations.mqtt import discovery
from services.integrations.mqtt.topics import MqttTopics

FRAMES_MAX, ANNOUNCED_MAX, LABELS_MAX = 64, 64, 256


@dataclass(frozen=True, slots=True)
class MqttMessage:
    """One MQTT message; `kind` is the label under which it is counted."""

    kind: str
    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


@dataclass(frozen=True, slots=True)
class FrameRef:
    """The position of a frame in the video topic, and its event time."""

    partition: int
    offset: int
    t_us: int
    content_type: str


@dataclass(frozen=True, slots=True)
class BridgeLimits:
    """The most sessions, the most sources of one session, and after how long without a record a source is silent."""

    sessions_max: int
    sources_max: int
    silent_us: int


@dataclass(slots=True)
class Announcement:
    """An event and label that Home Assistant knows of.

    Attributes:
        label: The label.
        id: The id of the event; of the provisional one until a final one is found to be the same.
        final: False while no final event has confirmed it.
        until_us: A step of an event that starts later than this belongs to another event, unless that one is final with
            the same id.
    """

    label: str
    id: str
    final: bool
    until_us: int

    def covers(self, step: Event) -> bool:
        """Return True if a step is about the announced event.

        Early and final predictions may disagree on how many events there were. So an announcement that no final event
        has confirmed stands for whatever event of that label comes within its time, under whatever id.
        """
        if self.label != step.label:
            return False
        if self.final:
            return self.id == step.id and (step.final or step.start_us <= self.until_us)
        return step.start_us <= self.until_us


@dataclass(slots=True)
class SessionState:
    """Sources of a session with their newest append time and published state, its newest frames and its messages."""

    arrived_us: OrderedDict[tuple[str, str], int] = field(default_factory=OrderedDict)
    clocks: dict[tuple[str, str], ClockOffset] = field(default_factory=dict)
    published_clocks: dict[tuple[str, str], bytes] = field(default_factory=dict)
    published: dict[tuple[str, str], bytes] = field(default_factory=dict)
    frames: deque[FrameRef] = field(default_factory=lambda: deque(maxlen=FRAMES_MAX))
    frame_type: str | None = None
    announced: deque[Announcement] = field(default_factory=lambda: deque(maxlen=ANNOUNCED_MAX))
    config: bytes = b""
    prediction: bytes = b""


class BridgeState:
    """Sessions by name, the most recently active last; every method returns the messages to send."""

    def __init__(
        self,
        topics: MqttTopics,
        labels: Sequence[str],
        limits: BridgeLimits,
        version: str,
        modalities: Sequence[str] = (),
    ) -> None:
        self._topics, self._limits, self._version = topics, limits, version
        self._modalities, self._controls = modalities, dict[str, Control]()
        self._labels = list(labels)
        self.sessions: OrderedDict[str, SessionState] = OrderedDict()

    def chunk(
        self,
        session: str,
        modality: str,
        source: str,
        appended_us: int,
        frame: FrameRef | None = None,
        captured_us: int | None = None,
    ) -> Iterator[MqttMessage]:
        """Take a chunk of a source.

        Args:
            session: The session.
            modality: The modality.
            source: The source.
            appended_us: The broker's append time.
            frame: Given for video.
            captured_us: The end of the capture by the clock of the source; None if it has no clock.
        """
        state = yield from self._session(session)
        key = modality, source
        is_changed = key not in state.arrived_us or not state.config
        state.arrived_us[key] = max(appended_us, state.arrived_us.get(key, appended_us))
        state.arrived_us.move_to_end(key)
        while len(state.arrived_us) > self._limits.sources_max:
            removed, _ = state.arrived_us.popitem(last=False)
            state.published.pop(removed, None)
            state.clocks.pop(removed, None)
            state.published_clocks.pop(removed, None)
        if captured_us is not None:
            clock = state.clocks.setdefault(key, ClockOffset())
            clock.observe(appended_us - captured_us, appended_us // PERIOD_US)
        if frame is not None and not self.is_muted(session, modality, frame.t_us, appended_us):
            state.frames.append(frame)
            is_changed |= state.frame_type != frame.content_type
            state.frame_type = frame.content_type
        if is_changed:
            yield from self._update_config(session, state)

    def control(self, control: Control) -> Iterator[MqttMessage]:
        """Take a control record: publish the switches of its session, or remove the session if it is forgotten."""
        before = self._controls.get(control.session)
        self._controls[control.session] = control
        if control.forgotten_before_us > (before.forgotten_before_us if before else 0):
            state = self.sessions.pop(control.session, None)
            if state is not None:
                yield from self._removed(control.session, state)
        if control.session in self.sessions:
            self.sessions[control.session].frames.clear()
            yield from self._switches(control.session)

    def parse_command(self, topic: str, payload: bytes) -> tuple[str, str, bool] | None:
        """Return session, modality and whether to mute it; None for a message that is not a switch command."""
        for session in self.sessions:
            for modality in self._modalities:
                if topic == f"{self._topics.mute(session, modality)}/set" and payload in (b"ON", b"OFF"):
                    return session, modality, payload == b"ON"
        return None

    def is_muted(self, session: str, modality: str, *times_us: int) -> bool:
        """Return whether media of any of these times are muted or forgotten."""
        control = self._controls.get(session)
        return control is not None and (
            control.forgets(*times_us) or control.mutes(modality, *((t_us, t_us) for t_us in times_us))
        )

    def is_forgotten(self, session: str, *times_us: int) -> bool:
        """Return whether any of these times of a session is forgotten."""
        control = self._controls.get(session)
        return control is not None and control.forgets(*times_us)

    def prediction(
        self, session: str, label: str | None, confidence: float, end_us: int, final: bool
    ) -> Iterator[MqttMessage]:
        """Take a prediction; early ones are left out, because the sensors would flicker."""
        if not final or label is None:
            return
        state = yield from self._session(session)
        yield from self._update_config(session, state)
        state.prediction = canonical.dumps({"label": label, "confidence": confidence, "end_us": end_us})
        yield MqttMessage("prediction", self._topics.for_session(session, "prediction"), state.prediction, retain=True)

    def event(self, event: Event, record: bytes) -> Iterator[MqttMessage]:
        """Publish every step of an event as it is, and for Home Assistant one message an event and label."""
        state = yield from self._session(event.session)
        if event.label not in self._labels and len(self._labels) < LABELS_MAX:
            self._labels.append(event.label)
        yield from self._update_config(event.session, state)
        yield MqttMessage("step", self._topics.for_session(event.session, "step"), record)
        if event.lifecycle in ("end", "withdrawn") or event.label not in self._labels:
            return
        if _is_announced(state.announced, event):
            return
        state.announced.append(Announcement(event.label, event.id, event.final, event.expires_us))
        body = {
            "event_type": event.label,
            "id": event.id,
            "kind": event.kind,
            "confidence": event.confidence,
            "start_us": event.start_us,
            "end_us": event.end_us,
            "final": event.final,
            "prediction": event.prediction,
        }
        yield MqttMessage("event", self._topics.for_session(event.session, "event"), canonical.dumps(body))

    def newest_frame(self, event: Event) -> FrameRef | None:
        """Return the newest frame within an event, None if there is none."""
        state = self.sessions.get(event.session)
        within = [f for f in (state.frames if state else ()) if event.start_us <= f.t_us <= event.end_us]
        return max(within, key=lambda f: f.t_us, default=None)

    def image(self, session: str, content: bytes) -> MqttMessage:
        """Return the message with an image; it is not retained, so that no image of a home stays on the broker."""
        return MqttMessage("image", self._topics.for_session(session, "image"), content)

    def source_states(self, now_us: int, repeat: bool = False) -> Iterator[MqttMessage]:
        """Publish which sources are connected, where that has changed; with `repeat` for all of them."""
        for session, state in self.sessions.items():
            for key, arrived_us in state.arrived_us.items():
                is_connected = now_us - arrived_us < self._limits.silent_us
                payload = (discovery.ON if is_connected else discovery.OFF).encode()
                if repeat or state.published.get(key) != payload:
                    state.published[key] = payload
                    yield MqttMessage("source", self._topics.source(session, *key), payload, retain=True)
                clock = state.clocks.get(key)
                problem = clock and clock_problem(clock.us)
                remedy = CLOCK_REMEDY % key[1] if problem else None
                payload = canonical.dumps({"clock": problem or "ok", "what_to_do": remedy})
                if repeat or state.published_clocks.get(key) != payload:
                    state.published_clocks[key] = payload
                    yield MqttMessage("clock", self._topics.clock(session, *key), payload, retain=True)

    def announce(self, now_us: int) -> Iterator[MqttMessage]:
        """Publish all retained state again, because Home Assistant or the bridge has started."""
        yield MqttMessage("available", self._topics.available, discovery.ONLINE.encode(), retain=True)
        for session, state in self.sessions.items():
            yield MqttMessage("config", self._topics.config(session), self._config(session, state), retain=True)
            yield from self._switches(session)
            if state.prediction:
                topic = self._topics.for_session(session, "prediction")
                yield MqttMessage("prediction", topic, state.prediction, retain=True)
        yield from self.source_states(now_us, repeat=True)

    def _session(self, session: str) -> Generator[MqttMessage, None, SessionState]:
        """Return the state of a session; a new one displaces the least recently active one beyond the limit."""
        state = self.sessions.setdefault(session, SessionState())
        self.sessions.move_to_end(session)
        while len(self.sessions) > self._limits.sessions_max:
            yield from self._removed(*self.sessions.popitem(last=False))
        return state

    def _removed(self, session: str, state: SessionState) -> Iterator[MqttMessage]:
        yield MqttMessage("config", self._topics.config(session), b"", retain=True)
        yield MqttMessage("prediction", self._topics.for_session(session, "prediction"), b"", retain=True)
        for key in state.published:
            yield MqttMessage("source", self._topics.source(session, *key), b"", retain=True)
            yield MqttMessage("clock", self._topics.clock(session, *key), b"", retain=True)
        for modality in self._modalities:
            yield MqttMessage("mute", self._topics.mute(session, modality), b"", retain=True)

    def _switches(self, session: str) -> Iterator[MqttMessage]:
        control = self._controls.get(session)
        for modality in self._modalities:
            is_on = control is not None and modality in control.muted_since_us
            payload = (discovery.ON if is_on else discovery.OFF).encode()
            yield MqttMessage("mute", self._topics.mute(session, modality), payload, retain=True)

    def _update_config(self, session: str, state: SessionState) -> Iterator[MqttMessage]:
        config = self._config(session, state)
        if config != state.config:
            if not state.config:
                yield from self._switches(session)
            state.config = config
            yield MqttMessage("config", self._topics.config(session), config, retain=True)

    def _config(self, session: str, state: SessionState) -> bytes:
        expire_s = 3 * self._limits.silent_us // 1_000_000
        return canonical.dumps(
            discovery.device(
                self._topics,
                session,
                self._labels,
                state.arrived_us,
                state.frame_type,
                self._modalities,
                expire_s,
                self._version,
            )
        )


def _is_announced(announced: Iterable[Announcement], step: Event) -> bool:
    """Return True if a step needs no announcement; a final one takes the announcement that it confirms for its own."""
    covering = [a for a in announced if a.covers(step)]
    if not covering:
        return False
    # A final event that was confirmed before, else the provisional one under its own id, else the oldest one.
    found = min(covering, key=lambda a: (not a.final, a.id != step.id))
    if step.final:
        found.id, found.final = step.id, True
    return True
