"""Compare the outputs of a history with the oracle's reading of its final logs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from services.contract import canonical
from services.contract import window as window_record
from services.contract.admission import AdmittedChunk, admit
from services.contract.prediction import STATE_HEADER
from services.contract.session_reset import SessionReset
from services.contract.tick import Tick
from services.contract.window import Window
from services.inspection.audit.oracle import LogEntry, OracleVerdict, judge_logs
from tests.simulation.broker import MODALITIES, Broker
from tests.simulation.fuser import expected
from tests.simulation.world import World

Arrivals = dict[tuple[str, int], AdmittedChunk]


def find_problems(world: World) -> list[str]:
    """Return every difference between the outputs and the logs."""
    arrivals, verdict = _judged(world)
    return [
        *_windows(world.broker, verdict),
        *_fates(world.broker, arrivals, verdict),
        *_floors(world.broker, verdict),
        *_predictions(world.broker, verdict),
        *_losses(world),
    ]


def _judged(world: World) -> tuple[Arrivals, OracleVerdict]:
    logs: dict[str, list[LogEntry]] = {}
    arrivals: Arrivals = {}
    for modality in MODALITIES:
        logs[modality] = []
        for r in world.broker.media[modality].records:
            read = admit(modality, 0, r.offset, r.timestamp * 1000, r.key, r.headers, r.value, world.semantics, 1)
            if isinstance(read, AdmittedChunk):
                arrivals[modality, r.offset] = read
                logs[modality].append(LogEntry(r.offset, r.timestamp * 1000, read.chunk))
            else:
                content = read if isinstance(read, Tick | SessionReset) else None
                logs[modality].append(LogEntry(r.offset, r.timestamp * 1000, content))
    return arrivals, judge_logs(logs, world.semantics)


def _windows(broker: Broker, verdict: OracleVerdict) -> Iterator[str]:
    """Compare all bytes of the windows; windows of a session are first published in order."""
    yield from (f"never closed: {key}" for key in sorted(verdict.open))
    bytes_of = defaultdict(set)
    reached: dict[str, int] = {}
    for _, window in broker.windows:
        if not window.final:
            continue
        id = window.generation_id
        key = id, window.start_us
        if key not in bytes_of and window.start_us <= reached.get(id, window.start_us - 1):
            yield f"window {key} came after {reached[id]}"
        reached[id] = max(window.start_us, reached.get(id, window.start_us))
        bytes_of[key].add(window_record.encode(window))
    expected_versions = {key: {window_record.encode(window)} for key, window in verdict.windows.items()}
    yield from (f"{len(found)} versions of {key}" for key, found in bytes_of.items() if len(found) > 1)
    for key in expected_versions.keys() | bytes_of.keys():
        if expected_versions.get(key) != bytes_of.get(key):
            yield f"window {key} differs"


def _fates(broker: Broker, arrivals: Arrivals, verdict: OracleVerdict) -> Iterator[str]:
    """Compare fates by identity: the strongest counts, because a duplicate may be called late after a crash."""
    fates = defaultdict(set)
    for at, fate in verdict.fates.items():
        chunk = arrivals[at].chunk
        fates[fate].add((chunk.session, chunk.modality, *chunk.identity, chunk.sha256))

    def identities(positions: Iterable[tuple[str, int]]) -> set[tuple[object, ...]]:
        found = (arrivals[at].chunk for at in positions if at in arrivals)
        return {(c.session, c.modality, *c.identity, c.sha256) for c in found}

    stronger = fates["windowed"] | fates["conflict"] | fates["limit"] | fates["quota"] | fates["duplicate"]
    reported_late, reported_dead = identities(broker.late), identities(broker.dead)
    if reported_late - stronger != fates["late"] - stronger:
        yield "late set differs"
    if not fates["conflict"] | fates["limit"] | fates["quota"] <= reported_dead:
        yield "a rejection was not reported"
    inside = {
        (w.session, m, x.source, x.id, x.t_us, x.duration_us, x.sha256)
        for _, w in broker.windows
        if w.final
        for m, lane in w.modalities.items()
        for x in lane.members
    }
    everything = {(a.chunk.session, a.chunk.modality, *a.chunk.identity, a.chunk.sha256) for a in arrivals.values()}
    if everything - inside - reported_late - reported_dead:
        yield "lost"


def _losses(world: World) -> Iterator[str]:
    """Every deleted offset was counted as lost; after a crash some are counted again."""
    for modality, deleted in world.deleted.items():
        if world.lost[modality] < deleted or (not world.crashes and world.lost[modality] != deleted):
            yield f"{deleted} offsets of {modality} were deleted, {world.lost[modality]} were counted as lost"


def _floors(broker: Broker, verdict: OracleVerdict) -> Iterator[str]:
    """No commit passes a member of a window that was not published yet."""
    for key, window in verdict.windows.items():
        before = broker.commits[: broker.moments.get(key, 0)]
        if not before:
            continue
        for modality, lane in window.modalities.items():
            if any(member.offset < before[-1][modality] for member in lane.members):
                yield f"a commit passed a member of {key} before it was published"


def _predictions(broker: Broker, verdict: OracleVerdict) -> Iterator[str]:
    """Final predictions, their state headers and the events are those of a worker that never stopped."""
    in_order: list[Window] = [verdict.windows[key] for key in sorted(verdict.windows)]
    expected_versions, events = expected(in_order, broker.payload)
    versions = defaultdict(set)
    for published in broker.predictions:
        record = canonical.loads_object(published.value)
        if record["final"]:
            versions[record["id"]].add((published.value, dict(published.headers).get(STATE_HEADER, b"")))
    for id in expected_versions.keys() | versions.keys():
        if versions.get(id) != {expected_versions[id]} if id in expected_versions else True:
            yield f"prediction {id} differs in {len(versions.get(id, ()))} versions"
    if set(broker.events) != events:
        yield "events differ"
