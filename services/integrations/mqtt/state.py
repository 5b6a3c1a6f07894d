"""The home as MQTT sees it: what each record leads to, and what is said of sources that fall silent. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

from services.contract import canonical
from services.contract.control import Control
from services.contract.event import Event
from services.integrations.mqtt import discovery
from services.integrations.mqtt.topics import MqttTopics

PICTURES_MAX, SAID_MAX, LABELS_MAX = 64, 64, 256


@dataclass(frozen=True, slots=True)
class MqttMessage:
    """One MQTT message; kind: what is counted."""

    kind: str
    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


@dataclass(frozen=True, slots=True)
class FrameRef:
    """Where a picture stands in the log of video; t_us: its capture time."""

    partition: int
    offset: int
    t_us: int
    content_type: str


@dataclass(frozen=True, slots=True)
class BridgeLimits:
    """At most so many sessions, sources of one session; a source is silent after silent_us."""

    sessions_max: int
    sources_max: int
    silent_us: int


@dataclass(slots=True)
class SessionState:
    """What is remembered of one session: sources with their last arrival, and what was last said of each."""

    heard_us: OrderedDict[tuple[str, str], int] = field(default_factory=OrderedDict)
    told: dict[tuple[str, str], bytes] = field(default_factory=dict)
    pictures: deque[FrameRef] = field(default_factory=lambda: deque(maxlen=PICTURES_MAX))
    picture_type: str | None = None
    said: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)
    config: bytes = b""
    prediction: bytes = b""


class BridgeState:
    """Sessions by name, the one heard last at the end; every method answers with the messages to send."""

    def __init__(
        self,
        names: MqttTopics,
        labels: Sequence[str],
        bounds: BridgeLimits,
        version: str,
        modalities: Sequence[str] = (),
    ) -> None:
        self._names, self._bounds, self._version = names, bounds, version
        self._modalities, self._controls = modalities, dict[str, Control]()
        self._labels = list(labels)
        self.sessions: OrderedDict[str, SessionState] = OrderedDict()

    def chunk(
        self, session: str, modality: str, source: str, at_us: int, picture: FrameRef | None = None
    ) -> Iterator[MqttMessage]:
        """A source was heard; at_us: on the broker's clock."""
        found = yield from self._session(session)
        key = modality, source
        changed = key not in found.heard_us or not found.config
        found.heard_us[key] = max(at_us, found.heard_us.get(key, at_us))
        found.heard_us.move_to_end(key)
        while len(found.heard_us) > self._bounds.sources_max:
            gone, _ = found.heard_us.popitem(last=False)
            found.told.pop(gone, None)
        if picture is not None and not self.is_muted(session, modality, picture.t_us, at_us):
            found.pictures.append(picture)
            changed |= found.picture_type != picture.content_type
            found.picture_type = picture.content_type
        if changed:
            yield from self._config(session, found)

    def control(self, control: Control) -> Iterator[MqttMessage]:
        """What was said of a session's senses: the states of its switches; one that is forgotten leaves."""
        before = self._controls.get(control.session)
        self._controls[control.session] = control
        if control.forgotten_before_us > (before.forgotten_before_us if before else 0):
            gone = self.sessions.pop(control.session, None)
            if gone is not None:
                yield from self._gone(control.session, gone)
        if control.session in self.sessions:
            self.sessions[control.session].pictures.clear()
            yield from self._switches(control.session)

    def parse_command(self, topic: str, payload: bytes) -> tuple[str, str, bool] | None:
        """What somebody wants by a switch: session, modality and whether to mute; None for what is none of ours."""
        for session in self.sessions:
            for modality in self._modalities:
                if topic == f"{self._names.mute(session, modality)}/set" and payload in (b"ON", b"OFF"):
                    return session, modality, payload == b"ON"
        return None

    def is_muted(self, session: str, modality: str, *times_us: int) -> bool:
        """True for media of these times that must not be used."""
        control = self._controls.get(session)
        return control is not None and (
            control.forgets(*times_us) or control.mutes(modality, *((t_us, t_us) for t_us in times_us))
        )

    def is_forgotten(self, session: str, *times_us: int) -> bool:
        """True for what is about one of these times of a session."""
        control = self._controls.get(session)
        return control is not None and control.forgets(*times_us)

    def prediction(
        self, session: str, label: str | None, confidence: float, end_us: int, final: bool
    ) -> Iterator[MqttMessage]:
        """A final prediction is the state of two sensors; early answers are left out: they would flicker."""
        if not final or label is None:
            return
        found = yield from self._session(session)
        yield from self._config(session, found)
        found.prediction = canonical.dumps({"label": label, "confidence": confidence, "end_us": end_us})
        yield MqttMessage("prediction", self._names.for_session(session, "prediction"), found.prediction, retain=True)

    def event(self, event: Event, record: bytes) -> Iterator[MqttMessage]:
        """Every step as it stands in the topic; for Home Assistant one message by event and label, at the first word."""
        found = yield from self._session(event.session)
        if event.label not in self._labels and len(self._labels) < LABELS_MAX:
            self._labels.append(event.label)
        yield from self._config(event.session, found)
        yield MqttMessage("step", self._names.for_session(event.session, "step"), record)
        if event.lifecycle == "end" or (event.id, event.label) in found.said or event.label not in self._labels:
            return
        found.said[event.id, event.label] = None
        while len(found.said) > SAID_MAX:
            found.said.popitem(last=False)
        told = {
            "event_type": event.label,
            "id": event.id,
            "kind": event.kind,
            "confidence": event.confidence,
            "start_us": event.start_us,
            "end_us": event.end_us,
            "final": event.final,
            "prediction": event.prediction,
        }
        yield MqttMessage("event", self._names.for_session(event.session, "event"), canonical.dumps(told))

    def newest_frame(self, event: Event) -> FrameRef | None:
        """The newest picture from within an event, None where there is none."""
        found = self.sessions.get(event.session)
        within = [p for p in (found.pictures if found else ()) if event.start_us <= p.t_us <= event.end_us]
        return max(within, key=lambda p: p.t_us, default=None)

    def image(self, session: str, content: bytes) -> MqttMessage:
        """Not retained: pictures of a home do not stay on the broker."""
        return MqttMessage("image", self._names.for_session(session, "image"), content)

    def source_states(self, now_us: int, again: bool = False) -> Iterator[MqttMessage]:
        """Which sources are heard and which are silent, where that has changed; again: all of them."""
        for session, found in self.sessions.items():
            for key, heard_us in found.heard_us.items():
                state = discovery.ON if now_us - heard_us < self._bounds.silent_us else discovery.OFF
                payload = state.encode()
                if again or found.told.get(key) != payload:
                    found.told[key] = payload
                    yield MqttMessage("source", self._names.source(session, *key), payload, retain=True)

    def announce(self, now_us: int) -> Iterator[MqttMessage]:
        """Everything again that Home Assistant must know: it has come up, or we have."""
        yield MqttMessage("available", self._names.available, discovery.ONLINE.encode(), retain=True)
        for session, found in self.sessions.items():
            yield MqttMessage("config", self._names.config(session), self._configured(session, found), retain=True)
            yield from self._switches(session)
            if found.prediction:
                yield MqttMessage(
                    "prediction", self._names.for_session(session, "prediction"), found.prediction, retain=True
                )
        yield from self.source_states(now_us, again=True)

    def _session(self, session: str) -> Generator[MqttMessage, None, SessionState]:
        """The session, made where it is new; the one heard longest ago leaves Home Assistant for it."""
        found = self.sessions.setdefault(session, SessionState())
        self.sessions.move_to_end(session)
        while len(self.sessions) > self._bounds.sessions_max:
            yield from self._gone(*self.sessions.popitem(last=False))
        return found

    def _gone(self, name: str, gone: SessionState) -> Iterator[MqttMessage]:
        yield MqttMessage("config", self._names.config(name), b"", retain=True)
        yield MqttMessage("prediction", self._names.for_session(name, "prediction"), b"", retain=True)
        for key in gone.told:
            yield MqttMessage("source", self._names.source(name, *key), b"", retain=True)
        for modality in self._modalities:
            yield MqttMessage("mute", self._names.mute(name, modality), b"", retain=True)

    def _switches(self, session: str) -> Iterator[MqttMessage]:
        control = self._controls.get(session)
        for modality in self._modalities:
            state = discovery.ON if control is not None and modality in control.muted_since_us else discovery.OFF
            yield MqttMessage("mute", self._names.mute(session, modality), state.encode(), retain=True)

    def _config(self, session: str, found: SessionState) -> Iterator[MqttMessage]:
        config = self._configured(session, found)
        if config != found.config:
            if not found.config:
                yield from self._switches(session)
            found.config = config
            yield MqttMessage("config", self._names.config(session), config, retain=True)

    def _configured(self, session: str, found: SessionState) -> bytes:
        expire_s = 3 * self._bounds.silent_us // 1_000_000
        return canonical.dumps(
            discovery.device(
                self._names,
                session,
                self._labels,
                found.heard_us,
                found.picture_type,
                self._modalities,
                expire_s,
                self._version,
            )
        )
