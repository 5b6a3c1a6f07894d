"""Where a partition number goes on after an assignment: from the logs alone, never from memory or disk. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.contract.frontier import Frontier
from services.contract.window import Window


@dataclass(frozen=True, slots=True)
class Start:
    """Positions by modality; per session the frontier, what no frontier record covers yet, and the keys read.

    uncovered: append time of the oldest window read back that no frontier record covers; old_keys: the frontier
    records of former owners, as (key, start told).
    """

    positions: Mapping[str, int]
    frontiers: Mapping[str, int]
    uncovered: Mapping[str, int]
    old_keys: Mapping[str, list[tuple[bytes, int]]]


class OtherSettings(Exception):
    """The logs hold windows that were made under other settings; the message says how to go on."""

    def __init__(self, found: str, ours: str) -> None:
        super().__init__(
            f"The topics hold windows made under other alignment settings ({found}; `braid config show` prints {ours}). "
            "Stop the devices and run `braid migrate-settings`: it closes open windows under the old settings and hands "
            "over to the new ones. Or restore the old alignment settings, or use new topics (`topics.prefix`)."
        )


def start_from(
    positions: Mapping[str, int],
    frontier_records: Iterable[tuple[bytes, Frontier]],
    tail: Iterable[tuple[int, Window]],
    config: str,
) -> Start:
    """Join frontier records (key, record) and final windows of the tail (append time in us, window).

    Raises OtherSettings where a session went further under another config than any record of ours says: what was
    drained has a record of ours at least as high.
    """
    frontiers: dict[str, int] = {}
    old_keys: dict[str, list[tuple[bytes, int]]] = {}
    told_by_others: list[Frontier] = []
    for key, told in frontier_records:
        old_keys.setdefault(told.session, []).append((key, told.start_us))
        if told.config == config:
            frontiers[told.session] = max(told.start_us, frontiers.get(told.session, told.start_us))
        else:
            told_by_others.append(told)
    covered = dict(frontiers)
    uncovered: dict[str, int] = {}
    for appended_us, window in tail:
        session, start_us = window.session, window.start_us
        if window.config != config:
            told_by_others.append(Frontier(session, start_us, window.config))
            continue
        frontiers[session] = max(start_us, frontiers.get(session, start_us))
        if session not in covered or start_us > covered[session]:
            uncovered[session] = min(appended_us, uncovered.get(session, appended_us))
    for told in told_by_others:
        if told.session not in covered or told.start_us > covered[told.session]:
            raise OtherSettings(told.config, config)
    return Start(positions, frontiers, uncovered, old_keys)
