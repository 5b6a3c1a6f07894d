"""The control record: what people said of a session's senses and of its past. Obeyed where payloads are used.

One record for a session, the newest counts (the topic is compacted). The aligner never reads it: windows stay a
function of the media logs.

What no command shows: what is about a time that was forgotten or came then, and media of muted senses. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from services.contract import canonical, cloudevents, timestamps
from services.contract.cloudevents import Envelope
from services.contract.record import Headers
from services.contract.topics import Topics
from services.contract.window import Window

SPANS_MAX = 16
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Control:
    """What holds for a session; all times in us since the epoch, on the clock of whoever said it.

    since_us: by modality that is muted now, since when. was_muted: by modality, earlier spans [from, until): what was
    captured in them stays muted, or the windows that are answered after an unmute would tell what was said before it.
    """

    session: str
    muted_since_us: Mapping[str, int] = field(default_factory=dict)
    past_mutes: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    forgotten_before_us: int = 0

    def mutes(self, modality: str, *spans: Span) -> bool:
        """True for media of any of these spans [from, to] of event time or of arrival: all of it while muted."""
        if modality in self.muted_since_us:
            return True
        muted = self.past_mutes.get(modality, ())
        return any(begin < until and end >= since for begin, end in spans for since, until in muted)

    def forgets(self, *times_us: int) -> bool:
        """True where any of the times is before what was forgotten."""
        return min(times_us) < self.forgotten_before_us

    def with_mutes(self, window: Window) -> Window:
        """The window with the senses muted that must not be used for its answer; all of them where it is forgotten.

        By event time and by when its members came: a device's clock may be wrong.
        """
        if self.forgets(window.start_us, window.opened_us):
            return replace(window, muted=frozenset(window.modalities))
        spans = (window.start_us, window.end_us - 1), (window.opened_us, window.closed_us)
        return replace(window, muted=frozenset(m for m in window.modalities if self.mutes(m, *spans)))

    def mute(self, modalities: Iterable[str], now_us: int) -> Control:
        """From now on; one that is muted already stays so since it was."""
        return replace(self, muted_since_us={**dict.fromkeys(modalities, now_us), **self.muted_since_us})

    def unmute(self, modalities: Iterable[str], now_us: int) -> Control:
        """What is captured from now on may be used again."""
        ended = {m: self.muted_since_us[m] for m in modalities if m in self.muted_since_us}
        was = dict(self.past_mutes)
        for modality, since in ended.items():
            spans = [*was.get(modality, ()), (since, max(now_us, since))]
            while len(spans) > SPANS_MAX:
                # Rather too much than too little: the two oldest become one, with what lies between them.
                spans[:2] = [(spans[0][0], spans[1][1])]
            was[modality] = tuple(spans)
        return replace(
            self, muted_since_us={m: t for m, t in self.muted_since_us.items() if m not in ended}, past_mutes=was
        )

    def forget(self, now_us: int) -> Control:
        """Everything of before now."""
        return replace(self, forgotten_before_us=max(now_us, self.forgotten_before_us))


def encode(control: Control) -> bytes:
    """The canonical bytes of a control record."""
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
    """Read a control record of a session (its key), None for what is none. `muted` alone is enough to mute."""
    try:
        r = canonical.loads_object(raw or b"")
        muted, since = r.get("muted", []), r.get("since_us", {})
        was = {
            str(m): tuple((_us(begin), _us(until)) for begin, until in spans)
            for m, spans in r.get("was_muted_us", {}).items()
        }
        if not isinstance(muted, list):
            return None
        return Control(
            session, {str(m): _us(since.get(m, 0)) for m in muted}, was, _us(r.get("forgotten_before_us", 0))
        )
    except (canonical.InvalidJson, TypeError, ValueError, AttributeError):
        return None


def _us(value: object) -> int:
    if type(value) is not int:
        raise TypeError("no time in us")
    return value


# In which field a record of ours says which event time it is about.
TIMES = ("start_us", "start", "t_us")


def is_hidden(
    of: Callable[[str], Control | None],
    topics: Topics,
    topic: str,
    key: bytes | None,
    headers: Headers,
    value: bytes | None,
    appended_us: int,
) -> bool:
    """True for a record that must not be shown; of: what was said of a session, appended_us: the broker's clock."""
    if key is None or topic in (topics.control, topics.frontier):
        return False
    control = of(key.decode(errors="replace"))
    if control is None:
        return False
    times = [appended_us, *_about(headers, value)]
    if control.forgets(*times):
        return True
    return topic in topics.media_all and control.mutes(topics.modality_of(topic), *((t, t) for t in times))


def _about(headers: Headers, value: bytes | None) -> list[int]:
    read = cloudevents.parse_envelope(headers, value)
    stated = timestamps.parse(read.get("time")) if isinstance(read, Envelope) else None
    if stated is not None:
        return [stated]
    record = canonical.object_or_empty(value)
    window = record.get("window")
    found = [record.get(name) for name in TIMES] + [window.get("start") if isinstance(window, dict) else None]
    return [t_us for t_us in found if type(t_us) is int]
