"""Compares what came out of a history with the oracle's reading of its final logs."""

from __future__ import annotations

from collections import defaultdict

from services.aligner.admit import Arrival, admit
from services.audit.oracle import Entry, judge
from services.contract import window as window_record
from services.contract.tick import Tick
from tests.simulation.world import MODALITIES, SEMANTICS, World


def complaints(world: World) -> list[str]:
    """Every way in which the outputs differ from what the logs say; empty when all is right."""
    logs: dict[str, list[Entry]] = {}
    arrivals: dict[tuple[str, int], Arrival] = {}
    for modality in MODALITIES:
        logs[modality] = []
        for r in world.broker.media[modality]:
            read = admit(modality, 0, r.offset, r.timestamp * 1000, r.key, r.headers, r.value, SEMANTICS, 1)
            if isinstance(read, Arrival):
                arrivals[modality, r.offset] = read
                logs[modality].append(Entry(r.offset, r.timestamp * 1000, read.chunk))
            elif isinstance(read, Tick):
                logs[modality].append(Entry(r.offset, r.timestamp * 1000, read))
    verdict = judge(logs, SEMANTICS)
    bad = [f"never closed: {key}" for key in sorted(verdict.open)]
    bytes_of = defaultdict(set)
    for _, window in world.broker.windows:
        if window.final:
            bytes_of[window.session, window.start_us].add(window_record.encode(window))
    wanted = {key: {window_record.encode(window)} for key, window in verdict.windows.items()}
    bad += [f"{len(found)} versions of {key}" for key, found in bytes_of.items() if len(found) > 1]
    bad += [f"window {key} differs" for key in wanted.keys() | bytes_of.keys() if wanted.get(key) != bytes_of.get(key)]
    fates = defaultdict(set)
    for at, fate in verdict.fates.items():
        chunk = arrivals[at].chunk
        fates[fate].add((chunk.session, chunk.modality, *chunk.identity, chunk.sha256))

    def identities(positions: object) -> set[tuple[object, ...]]:
        found = (arrivals[at].chunk for at in positions if at in arrivals)  # type: ignore[attr-defined]
        return {(c.session, c.modality, *c.identity, c.sha256) for c in found}

    stronger = fates["windowed"] | fates["conflict"] | fates["duplicate"]
    said_late, said_dead = identities(world.broker.late), identities(world.broker.dead)
    if said_late - stronger != fates["late"] - stronger:
        bad.append("late set differs")
    if not fates["conflict"] <= said_dead | said_late:
        bad.append("a conflict was not reported")
    inside = {
        (w.session, m, x.source, x.id, x.t_us, x.duration_us, x.sha256)
        for _, w in world.broker.windows
        if w.final
        for m, lane in w.modalities.items()
        for x in lane.members
    }
    everything = {(a.chunk.session, a.chunk.modality, *a.chunk.identity, a.chunk.sha256) for a in arrivals.values()}
    if everything - inside - said_late - said_dead:
        bad.append("lost")
    return bad
