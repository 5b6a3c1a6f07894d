"""The control record: which modalities of a session are muted, and before which time the session is forgotten.

There is one record per session; the newest counts (the topic is compacted). Services apply it where they use payloads.
The aligner never reads it, so that windows remain a function of the media logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from services.contract import canonical, cloudevents, timestamps
from services.contract.cloudevents import Envelope
from services.contract.kafka_record import Headers
from services.contract.record_fields import (
    ContractError,
    check_items,
    check_text,
    check_time_us,
    fields,
    items,
    time_us,
)
from services.contract.topics import Topics
from services.contract.window import Window

SPANS_MAX = 16
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Control:
    """The mutes of a session and the time before which it is forgotten.

    All times are in us since the epoch, on the clock of the process that published the record.

    Attributes:
        session: The session.
        muted_since_us: Start of the mute, by modality that is muted now.
        past_mutes: Earlier spans [from, until) by modality. What was captured in them stays muted; otherwise windows
            that are predicted after an unmute would reveal it.
        forgotten_before_us: Everything before this time is forgotten.
    """

    session: str
    muted_since_us: Mapping[str, int] = field(default_factory=dict)
    past_mutes: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    forgotten_before_us: int = 0

    def mutes(self, modality: str, *spans: Span) -> bool:
        """Return True if media of any of these spans [from, to] is muted; during a mute, all of it is."""
        if modality in self.muted_since_us:
            return True
        muted = self.past_mutes.get(modality, ())
        return any(begin < until and end >= since for begin, end in spans for since, until in muted)

    def forgets(self, *times_us: int) -> bool:
        """Return True if any of the times is forgotten."""
        return min(times_us) < self.forgotten_before_us

    def with_mutes(self, window: Window) -> Window:
        """Return the window with the modalities that its prediction must not use; all of them if it is forgotten.

        Event times and append times both count, because the clock of a device may be wrong.
        """
        if self.forgets(window.start_us, window.opened_us):
            return replace(window, muted=frozenset(window.modalities))
        spans = (window.start_us, window.end_us - 1), (window.opened_us, window.closed_us)
        return replace(window, muted=frozenset(m for m in window.modalities if self.mutes(m, *spans)))

    def mute(self, modalities: Iterable[str], now_us: int) -> Control:
        """Mute from now on; an existing mute keeps its start."""
        return replace(self, muted_since_us={**dict.fromkeys(modalities, now_us), **self.muted_since_us})

    def unmute(self, modalities: Iterable[str], now_us: int) -> Control:
        """Unmute: what is captured from now on may be used again."""
        ended = {m: self.muted_since_us[m] for m in modalities if m in self.muted_since_us}
        was = dict(self.past_mutes)
        for modality, since in ended.items():
            spans = [*was.get(modality, ()), (since, max(now_us, since))]
            while len(spans) > SPANS_MAX:
                # At the limit, merge the two oldest spans, which also mutes the gap between them.
                spans[:2] = [(spans[0][0], spans[1][1])]
            was[modality] = tuple(spans)
        return replace(
            self, muted_since_us={m: t for m, t in self.muted_since_us.items() if m not in ended}, past_mutes=was
        )

    def forget(self, now_us: int) -> Control:
        """Forget everything before now."""
        return replace(self, forgotten_before_us=max(now_us, self.forgotten_before_us))


def encode(control: Control) -> bytes:
    """Return the canonical bytes of a control record."""
    return canonical.dumps(
        {
            "session": control.session,
            "muted": sorted(control.muted_since_us),
            "since_us": dict(control.muted_since_us),
            "was_muted_us": {m: [list(span) for span in spans] for m, spans in control.past_mutes.items()},
            "forgotten_before_us": control.forgotten_before_us,
        }
    )


def decode_or_none(session: str, raw: bytes | None) -> Control | None:
    """Decode the control record of a session (its key); None if it is invalid. `muted` alone is enough to mute."""
    try:
        record = {**_DEFAULTS, **canonical.loads_object(raw or b"")}
        since = fields(record, "since_us")
        muted = {check_text(m, "muted"): check_time_us(since.get(m, 0), "since_us") for m in items(record, "muted")}
        spans = fields(record, "was_muted_us")
        past = {modality: tuple(map(_span, items(spans, modality))) for modality in spans}
        return Control(session, muted, past, time_us(record, "forgotten_before_us"))
    except ContractError:
        return None


_DEFAULTS: Mapping[str, object] = {"muted": [], "since_us": {}, "was_muted_us": {}, "forgotten_before_us": 0}


def _span(span: object) -> Span:
    begin_us, end_us = check_items(span, 2, "a past mute")
    return check_time_us(begin_us, "a past mute"), check_time_us(end_us, "a past mute")


# The fields in which records other than media state their event time.
TIME_FIELDS = ("start_us", "start", "t_us")


def is_hidden(
    control_of: Callable[[str], Control | None],
    topics: Topics,
    topic: str,
    key: bytes | None,
    headers: Headers,
    value: bytes | None,
    appended_us: int,
) -> bool:
    """Return True for a record that must not be shown: it is about a forgotten time, or media of a muted modality.

    Args:
        control_of: Returns the control record of a session.
        topics: The topic names.
        topic: The topic of the record.
        key: The session.
        headers: The headers of the record.
        value: The value of the record.
        appended_us: The broker's append time (us).
    """
    if key is None or topic in (topics.control, topics.frontier):
        return False
    control = control_of(key.decode(errors="replace"))
    if control is None:
        return False
    times = [appended_us, *_event_times(headers, value)]
    if control.forgets(*times):
        return True
    return topic in topics.media_all and control.mutes(topics.modality_of(topic), *((t, t) for t in times))


def _event_times(headers: Headers, value: bytes | None) -> list[int]:
    envelope = cloudevents.parse_envelope(headers, value)
    captured_us = timestamps.parse(envelope.get("time")) if isinstance(envelope, Envelope) else None
    if captured_us is not None:
        return [captured_us]
    record = canonical.object_or_empty(value)
    window = record.get("window")
    times = [record.get(name) for name in TIME_FIELDS] + [window.get("start") if isinstance(window, dict) else None]
    return [t_us for t_us in times if type(t_us) is int]
