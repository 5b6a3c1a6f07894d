"""The recorded outcome of a recording's media, and how far it can be compared with a replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from services.contract import canonical, cloudevents, prediction, session_reset
from services.contract import window as window_record
from services.contract.kafka_record import MemberPosition
from services.contract.prediction import STATE_HEADER, muted_modalities
from services.contract.session_reset import GenerationStart, SessionReset, generation_id, split_generation_id
from services.contract.topics import Topics
from services.contract.window import Window
from services.fusion.event_detector import DetectorState
from services.offline.recording.metadata import RecordingError, RecordingMetadata
from services.offline.recording.reader import RecordingFile


@dataclass(slots=True)
class ReplayOutcome:
    """A recorded, replayed or expected outcome, without early windows: what they have depends on timing.

    Attributes:
        windows: Window records by id.
        predictions: Prediction records by window id.
        events: The records of each event id, in order.
        fates: Why the chunk at (modality, partition, offset) is in no window.
        open_windows: Windows that were still open at the end.
    """

    windows: dict[str, bytes] = field(default_factory=dict)
    predictions: dict[str, bytes] = field(default_factory=dict)
    events: dict[str, list[bytes]] = field(default_factory=dict)
    fates: dict[MemberPosition, str] = field(default_factory=dict)
    open_windows: set[str] = field(default_factory=set)


def outcome_to_json(outcome: ReplayOutcome) -> dict[str, Any]:
    """Return all records as JSON values, from which `outcome_from_json` gives the same bytes."""
    return {
        "windows": [canonical.loads(raw) for raw in outcome.windows.values()],
        "predictions": {window: canonical.loads(raw) for window, raw in outcome.predictions.items()},
        "events": {id: [canonical.loads(raw) for raw in raws] for id, raws in outcome.events.items()},
        "refused": [[*place, why] for place, why in sorted(outcome.fates.items())],
    }


def outcome_from_json(fields: Mapping[str, Any]) -> ReplayOutcome:
    """Read an outcome.

    Raises:
        KeyError, TypeError, ValueError: The value is not an outcome.
    """
    return ReplayOutcome(
        windows={str(window["id"]): canonical.dumps(window) for window in fields["windows"]},
        predictions={window: canonical.dumps(record) for window, record in fields["predictions"].items()},
        events={id: [canonical.dumps(record) for record in records] for id, records in fields["events"].items()},
        fates={MemberPosition(str(m), int(n), int(offset)): str(why) for m, n, offset, why in fields["refused"]},
    )


OUTPUTS_MAX = 500_000
NEVER_US = 1 << 62


@dataclass(slots=True)
class Baseline:
    """The recorded outcome, and the state before it.

    Attributes:
        outcome: The recorded windows, predictions and events.
        frontiers: By partition and generation id, the start of the last window that a replay cannot make again.
        generations: By partition, the generations of sessions that were reset before the recording begins.
        states: The event detector's states there, by generation id and model digest.
        incomplete: Windows with members that the recording does not have.
        from_us: By partition, when the first window came, if the recording begins in the middle.
        digests: How many predictions each model made.
        early: How many early predictions there are, which are not compared.
        muted: By window id, the modalities that were muted for its prediction.
        troubles: What is wrong with the recording.
    """

    outcome: ReplayOutcome = field(default_factory=ReplayOutcome)
    frontiers: dict[int, dict[str, int]] = field(default_factory=dict)
    generations: dict[int, list[GenerationStart]] = field(default_factory=dict)
    states: dict[tuple[str, str], DetectorState] = field(default_factory=dict)
    incomplete: set[str] = field(default_factory=set)
    from_us: dict[int, int] = field(default_factory=dict)
    digests: Counter[str] = field(default_factory=Counter)
    early: int = 0
    muted: dict[str, frozenset[str]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    def with_recorded_mutes(self, window: Window) -> Window:
        """Return the window with its mutes when it was predicted; with other settings, those of any window it overlaps."""
        if not self.muted:
            return window
        if window.id in self.outcome.predictions:
            return replace(window, muted=self.muted.get(window.id, frozenset()))
        spans = ((id, int(id.rsplit("/", 2)[1]) * 1000) for id in self.muted if id.startswith(f"{window.session}/"))
        length_us = window.end_us - window.start_us
        muted = [self.muted[id] for id, start_us in spans if abs(start_us - window.start_us) < length_us]
        return replace(window, muted=frozenset().union(*muted) & window.modalities.keys())


def read_baseline(file: RecordingFile, topics: Topics, digest: str | None) -> Baseline:
    """Read the recorded outcome; of several models' predictions of a window that of `digest` counts, else the last.

    Raises:
        RecordingError: There are more windows than fit in memory.
    """
    out = Baseline()
    _windows(file, topics, out)
    _generations(file, topics, out)
    _predictions(file, topics, digest, out)
    for record in file.records(topics.events):
        event = canonical.object_or_empty(record.value)
        if event.get("final") and isinstance(event.get("id"), str):
            known = out.outcome.events.setdefault(event["id"], [])
            if (
                record.value is not None and record.value not in known
            ):  # after a crash the same bytes may be published again
                known.append(record.value)
    for record in file.records(topics.late, topics.dead):
        fields = canonical.object_or_empty(record.value)
        if record.topic == topics.late and "at" in fields:
            out.outcome.fates[MemberPosition(fields["modality"], *fields["at"])] = "late"
        elif fields.get("topic") in topics.media_all and fields.get("stage") != "fusion":
            place = MemberPosition(topics.modality_of(fields["topic"]), fields["partition"], fields["offset"])
            out.outcome.fates[place] = fields["reason"]
    return out


def _windows(file: RecordingFile, topics: Topics, out: Baseline) -> None:
    about = file.metadata
    previous: dict[tuple[int, str], Window] = {}
    # Nothing is known of a partition that begins in the middle until its first window comes.
    out.from_us = {n: NEVER_US for n, begin in about.first_offsets.get(topics.windows, {}).items() if begin > 0}
    for record in file.records(topics.windows):
        if out.from_us.get(record.partition) == NEVER_US:
            out.from_us[record.partition] = record.timestamp * 1000
        window = window_record.decode_or_none(record.value)
        if window is None or record.value is None:
            continue
        if not window.final:
            out.early += 1
            continue
        if len(out.outcome.windows) >= OUTPUTS_MAX:
            raise RecordingError(f"{file.path} holds more than {OUTPUTS_MAX} windows: record a part (--since)")
        known = out.outcome.windows.setdefault(window.id, record.value)
        if known != record.value:
            out.troubles.append(f"two versions of window {window.id} were recorded")
        frontiers = out.frontiers.setdefault(record.partition, {})
        if window.config != about.semantics.digest or _reaches_before(window, about, topics):
            out.incomplete.add(window.id)
            frontiers[window.generation_id] = max(window.start_us, frontiers.get(window.generation_id, window.start_us))
        first = previous.setdefault((record.partition, window.generation_id), window)
        if first is window and window.generation_id not in frontiers and not about.is_complete:
            # A window names its predecessor; if it has none, the last window is further back than event_gap_us.
            gap_us = about.semantics.event_gap_us
            before_us = window.start_us - gap_us - 1 if window.previous_us is None else window.previous_us
            frontiers[window.generation_id] = before_us


def _generations(file: RecordingFile, topics: Topics, out: Baseline) -> None:
    """Begin sessions that were reset before the recording in the generation of their first window."""
    first: dict[tuple[int, str], int] = {}
    for number, ids in out.frontiers.items():
        for session, generation in map(split_generation_id, ids):
            first[number, session] = min(generation, first.get((number, session), generation))
    first = {key: generation for key, generation in first.items() if generation}
    if not first:
        return
    recorded: set[tuple[int, str, SessionReset]] = set()
    for record in file.records(*topics.media_all):
        if record.key is None and cloudevents.raw_type(record.headers) == session_reset.RESET_TYPE.encode():
            reset = session_reset.decode(record.value or b"")
            if isinstance(reset, SessionReset):
                recorded.add((record.partition, topics.modality_of(record.topic), reset))
    for (number, session), generation in first.items():
        out.generations.setdefault(number, []).extend(
            GenerationStart(session, generation, modality, -1, 0)
            for modality in topics.modalities
            if (number, modality, SessionReset(session, generation)) not in recorded
        )


def _reaches_before(window: Window, about: RecordingMetadata, topics: Topics) -> bool:
    return any(
        member.offset < about.first_offsets.get(topics.media(modality), {}).get(member.partition, 0)
        for modality, stream in window.modalities.items()
        if modality in topics.modalities
        for member in stream.members
    )


def _predictions(file: RecordingFile, topics: Topics, digest: str | None, out: Baseline) -> None:
    starts = {id: start_us for found in out.frontiers.values() for id, start_us in found.items()}
    chosen: dict[str, str] = {}
    for record in file.records(topics.predictions):
        fields = prediction.decode_or_none(record.value)
        if fields is None or not fields["final"] or "model" not in fields or record.value is None:
            continue
        window_id, by, muted = fields["id"].rpartition("@")[0], fields["model"]["digest"], muted_modalities(fields)
        start_us = fields["window"]["start"]
        id = generation_id(fields["session"], fields["window"].get("generation", 0))
        out.digests[by] += 1
        if starts.get(id) == start_us:
            state = next((raw for name, raw in record.headers if name == STATE_HEADER), None)
            if state is not None:
                out.states[id, by] = DetectorState.decode(state)
        if chosen.get(window_id) == digest and digest is not None:
            if by == digest and out.outcome.predictions[window_id] != record.value:
                out.troubles.append(f"two versions of prediction {fields['id']} were recorded")
            continue
        chosen[window_id] = by
        out.outcome.predictions[window_id] = record.value
        if muted:
            out.muted[window_id] = muted
