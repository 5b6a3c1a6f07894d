"""Compares what came out of a history with the oracle's reading of its final logs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from services.aligner.admission import AdmittedChunk, admit
from services.contract import canonical
from services.contract import window as window_record
from services.contract.prediction import STATE_HEADER
from services.contract.tick import Tick
from services.contract.window import Window
from services.inspection.audit.oracle import LogEntry, OracleVerdict, judge_logs
from tests.simulation.broker import MODALITIES, Broker
from tests.simulation.fuser import expected
from tests.simulation.world import World

Arrivals = dict[tuple[str, int], AdmittedChunk]


def complaints(world: World) -> list[str]:
    """Every way in which the outputs differ from what the logs say; empty when all is right."""
    arrivals, verdict = _judged(world)
    return [
        *_windows(world.broker, verdict),
        *_fates(world.broker, arrivals, verdict),
        *_floors(world.broker, verdict),
        *_answers(world.broker, verdict),
    ]


def _judged(world: World) -> tuple[Arrivals, OracleVerdict]:
    logs: dict[str, list[LogEntry]] = {}
    arrivals: Arrivals = {}
    for modality in MODALITIES:
        logs[modality] = []
        for r in world.broker.media[modality]:
            read = admit(modality, 0, r.offset, r.timestamp * 1000, r.key, r.headers, r.value, world.semantics, 1)
            if isinstance(read, AdmittedChunk):
                arrivals[modality, r.offset] = read
                logs[modality].append(LogEntry(r.offset, r.timestamp * 1000, read.chunk))
            elif isinstance(read, Tick):
                logs[modality].append(LogEntry(r.offset, r.timestamp * 1000, read))
    return arrivals, judge_logs(logs, world.semantics)


def _windows(broker: Broker, verdict: OracleVerdict) -> Iterator[str]:
    """Members, mask, evidence and times: all of a record's bytes; and windows of a session first come in order."""
    yield from (f"never closed: {key}" for key in sorted(verdict.open))
    bytes_of = defaultdict(set)
    reached: dict[str, int] = {}
    for _, window in broker.windows:
        if not window.final:
            continue
        key = window.session, window.start_us
        if key not in bytes_of and window.start_us <= reached.get(window.session, window.start_us - 1):
            yield f"window {key} came after {reached[window.session]}"
        reached[window.session] = max(window.start_us, reached.get(window.session, window.start_us))
        bytes_of[key].add(window_record.encode(window))
    wanted = {key: {window_record.encode(window)} for key, window in verdict.windows.items()}
    yield from (f"{len(found)} versions of {key}" for key, found in bytes_of.items() if len(found) > 1)
    for key in wanted.keys() | bytes_of.keys():
        if wanted.get(key) != bytes_of.get(key):
            yield f"window {key} differs"


def _fates(broker: Broker, arrivals: Arrivals, verdict: OracleVerdict) -> Iterator[str]:
    """The books, by identity: the strongest fate counts, since a copy may be called late after a crash."""
    fates = defaultdict(set)
    for at, fate in verdict.fates.items():
        chunk = arrivals[at].chunk
        fates[fate].add((chunk.session, chunk.modality, *chunk.identity, chunk.sha256))

    def identities(positions: Iterable[tuple[str, int]]) -> set[tuple[object, ...]]:
        found = (arrivals[at].chunk for at in positions if at in arrivals)
        return {(c.session, c.modality, *c.identity, c.sha256) for c in found}

    stronger = fates["windowed"] | fates["conflict"] | fates["limit"] | fates["duplicate"]
    said_late, said_dead = identities(broker.late), identities(broker.dead)
    if said_late - stronger != fates["late"] - stronger:
        yield "late set differs"
    if not fates["conflict"] | fates["limit"] <= said_dead:
        yield "a refusal was not reported"
    inside = {
        (w.session, m, x.source, x.id, x.t_us, x.duration_us, x.sha256)
        for _, w in broker.windows
        if w.final
        for m, lane in w.modalities.items()
        for x in lane.members
    }
    everything = {(a.chunk.session, a.chunk.modality, *a.chunk.identity, a.chunk.sha256) for a in arrivals.values()}
    if everything - inside - said_late - said_dead:
        yield "lost"


def _floors(broker: Broker, verdict: OracleVerdict) -> Iterator[str]:
    """No commit passes a member of a window that was not out yet."""
    for key, window in verdict.windows.items():
        before = broker.commits[: broker.moments.get(key, 0)]
        if not before:
            continue
        for modality, lane in window.modalities.items():
            if any(member.offset < before[-1][modality] for member in lane.members):
                yield f"the floor passed a member of {key} before it was out"


def _answers(broker: Broker, verdict: OracleVerdict) -> Iterator[str]:
    """Final predictions, the states that they carry, and the events: those of a worker that never stopped."""
    in_order: list[Window] = [verdict.windows[key] for key in sorted(verdict.windows)]
    wanted, events = expected(in_order, broker.payload)
    said = defaultdict(set)
    for told in broker.predictions:
        record = canonical.loads_object(told.value)
        if record["final"]:
            said[record["id"]].add((told.value, dict(told.headers).get(STATE_HEADER, b"")))
    for id in wanted.keys() | said.keys():
        if said.get(id) != {wanted[id]} if id in wanted else True:
            yield f"prediction {id} differs in {len(said.get(id, ()))} versions"
    if set(broker.events) != events:
        yield "events differ"
