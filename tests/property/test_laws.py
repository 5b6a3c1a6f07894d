"""Laws of the aligner over generated logs, read in generated steps; nothing crashes here (tests/simulation does that)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from services.aligner.alignment import Aligner, fate_name
from services.contract import window as window_record
from services.contract.alignment_config import AlignmentConfig, StreamConfig
from services.contract.chunk import Chunk
from services.contract.tick import Tick
from services.contract.window import Window
from services.inspection.audit.oracle import LogEntry, judge_logs

SESSIONS = ("a", "b", "only video")
MEMBERS_MAX = 3
SHAPES = [(8, 4), (8, 8), (4, 8), (9, 4)]  # size and hop: over each other, side by side, apart, off the grid


def chunks(modality: str) -> st.SearchStrategy[Chunk]:
    """Sound has a length; text and video are points or say that they last."""
    sessions = SESSIONS if modality == "video" else SESSIONS[:2]
    return st.builds(
        lambda session, source, id, t, length, content: Chunk(
            session, modality, source, id, t, length, content * 64, 0, 0, 0
        ),
        st.sampled_from(sessions),
        st.sampled_from("xy"),
        st.sampled_from("0123"),
        st.integers(-20, 60),
        st.integers(1 if modality == "audio" else 0, 12),
        st.sampled_from("abc"),
    )


TICKS = st.builds(
    Tick, st.dictionaries(st.sampled_from(SESSIONS), st.integers(-20, 80)), st.sampled_from(["tick", "end"])
)
LOGS = st.fixed_dictionaries(
    {m: st.lists(st.one_of(chunks(m), chunks(m), TICKS), max_size=25) for m in ("audio", "text", "video")}
)


class Reading:
    """Generated logs read to their ends in generated steps, then ended by ticks.

    limited: ticks reach no further than the newest open window, as the aligner's own; else they say what they like.
    """

    def __init__(
        self,
        logs: dict[str, list[Chunk | Tick]],
        shape: tuple[int, int],
        steps: list[str],
        *,
        limited: bool = False,
        lead_us: int | None = None,
    ) -> None:
        lanes = {"audio": StreamConfig(3, True), "text": StreamConfig(0, False), "video": StreamConfig(6, False)}
        self.semantics = AlignmentConfig(
            size_us=shape[0],
            hop_us=shape[1],
            streams=lanes,
            sessions=(("only*", ("video",)),),
            lead_us=lead_us,
            members_max=MEMBERS_MAX,
            event_gap_us=20,
        )
        last = Tick(dict.fromkeys(SESSIONS, 1_000), "tick")
        self.logs = {m: [_placed(entry, m, at) for at, entry in enumerate([*log, last])] for m, log in logs.items()}
        self.limited = limited
        self.aligner = Aligner(self.semantics, {})
        self.windows: list[Window] = []
        self.fates: dict[tuple[str, int], str] = {}
        self.positions = dict.fromkeys(self.logs, 0)
        for modality in _order(steps, {m: len(log) - 1 for m, log in self.logs.items()}):
            self._one(modality)
        for modality in self.logs:
            self._one(modality)

    def _one(self, modality: str) -> None:
        at = self.positions[modality]
        entry, before = self.logs[modality][at], self._bounds()
        if isinstance(entry, Tick):
            if self.limited:
                self.logs[modality][at] = entry = self._limit(entry, modality)
            self.windows += self.aligner.apply_tick(modality, entry, at, self._time(at), 0)
        else:
            fate, windows = self.aligner.add_chunk(entry, 0)
            self.windows += windows
            self.fates[modality, at] = fate_name(fate)
        self.positions[modality] += 1
        after = self._bounds()
        assert all(after[lane] >= bound for lane, bound in before.items() if lane in after), "a bound fell"
        assert self.held() <= self._needed(), "something is held that no window and no tick needs"

    def _limit(self, tick: Tick, modality: str) -> Tick:
        bounds = {}
        for name, bound_us in tick.bounds.items():
            session = self.aligner.sessions.get(name)
            if session is not None and session.starts:
                bounds[name] = min(bound_us, self.semantics.closing_watermark_us(session.starts[-1], modality))
        return Tick(bounds, tick.evidence)

    def _bounds(self) -> dict[tuple[str, str], int]:
        return {(s.name, m): lane.watermark_us for s in self.aligner.sessions.values() for m, lane in s.streams.items()}

    def held(self) -> int:
        return sum(len(held) for held in self.aligner.retained.values())

    def _needed(self) -> int:
        """At most the members of windows that are open, and the ticks read: what the state is bounded by."""
        open_windows = sum(len(s.starts) for s in self.aligner.sessions.values())
        ticks = sum(isinstance(e, Tick) for m, at in self.positions.items() for e in self.logs[m][:at])
        return open_windows * MEMBERS_MAX * len(self.logs) + ticks

    def entries(self) -> dict[str, list[LogEntry]]:
        return {m: [LogEntry(at, self._time(at), e) for at, e in enumerate(log)] for m, log in self.logs.items()}

    @staticmethod
    def _time(at: int) -> int:
        return at * 10


def _placed(entry: Chunk | Tick, modality: str, at: int) -> Chunk | Tick:
    if isinstance(entry, Tick):
        return entry
    return Chunk(
        entry.session, modality, entry.source, entry.id, entry.t_us, entry.duration_us, entry.sha256, 0, at, at * 10
    )


def _order(steps: list[str], left: dict[str, int]) -> Iterator[str]:
    for modality in steps:
        if left[modality]:
            left[modality] -= 1
            yield modality
    for modality, count in left.items():
        yield from [modality] * count


STEPS = st.lists(st.sampled_from(["audio", "text", "video"]), max_size=80)


@settings(max_examples=300, deadline=None)
@given(logs=LOGS, shape=st.sampled_from(SHAPES), steps=STEPS, lead_us=st.sampled_from([None, -40, 0, 10]))
def test_windows_and_fates_equal_those_of_the_oracle(
    logs: dict[str, list[Chunk | Tick]], shape: tuple[int, int], steps: list[str], lead_us: int | None
) -> None:
    reading = Reading(logs, shape, steps, lead_us=lead_us)
    verdict = judge_logs(reading.entries(), reading.semantics)
    assert not verdict.open
    assert {(w.session, w.start_us): window_record.encode(w) for w in reading.windows} == {
        key: window_record.encode(w) for key, w in verdict.windows.items()
    }
    assert reading.fates == verdict.fates


@settings(max_examples=200, deadline=None)
@given(logs=LOGS, shape=st.sampled_from(SHAPES), steps=STEPS, others=STEPS, lead_us=st.sampled_from([None, -40, 10]))
def test_order_in_which_logs_are_read_changes_nothing(
    logs: dict[str, list[Chunk | Tick]],
    shape: tuple[int, int],
    steps: list[str],
    others: list[str],
    lead_us: int | None,
) -> None:
    one, other = (Reading(logs, shape, order, lead_us=lead_us) for order in (steps, others))
    assert sorted(map(window_record.encode, one.windows)) == sorted(map(window_record.encode, other.windows))
    assert one.fates == other.fates


@settings(max_examples=200, deadline=None)
@given(logs=LOGS, shape=st.sampled_from(SHAPES), steps=STEPS)
def test_windows_are_emitted_once_and_in_order_and_only_their_starts_remain(
    logs: dict[str, list[Chunk | Tick]], shape: tuple[int, int], steps: list[str]
) -> None:
    reading = Reading(logs, shape, steps, limited=True)
    for session in SESSIONS:
        starts = [w.start_us for w in reading.windows if w.session == session]
        assert starts == sorted(set(starts))
    read = Counter(m for m, log in reading.logs.items() for entry in log if isinstance(entry, Chunk))
    assert Counter(m for m, _ in reading.fates) == read
    assert set(reading.fates.values()) <= {"windowed", "late", "duplicate", "conflict", "limit", "quota"}
    assert reading.aligner.sessions == {}
    assert reading.held() == 0
    ends = {m: len(log) for m, log in reading.logs.items()}
    assert {m: reading.aligner.commit_offset(m, at) for m, at in reading.positions.items()} == ends
