"""Alignment cases in JSON: the format is exact, and an invalid case gives an error."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from services.contract.alignment_config import AlignmentConfig, Quotas, StreamConfig
from services.contract.chunk import Chunk
from services.contract.tick import Tick
from services.inspection.audit.oracle import LogEntry, judge_logs
from services.offline.align_case import NOT_APPENDED_US, WITHOUT_LIMIT, run_case

CASE = {
    "name": "x",
    "size_us": 10,
    "hop_us": 10,
    "modalities": {"a": {"lateness_us": 0, "gapless": False}, "b": {"lateness_us": 3, "gapless": True}},
    "arrivals": [
        {"modality": "a", "kind": "data", "session": "s", "source": "d", "id": "1", "t_us": 4, "duration_us": 0},
        {"modality": "b", "kind": "bound", "bounds": {"s": 13}, "evidence": "tick"},
        {"modality": "a", "kind": "data", "session": "s", "source": "d", "id": "2", "t_us": 25, "sha256": "01"},
    ],
}


def test_the_documented_case_has_the_documented_result() -> None:
    assert run_case(json.dumps(CASE).encode()) == {
        "name": "x",
        "fates": ["windowed", None, "windowed"],
        "windows": [
            {
                "session": "s",
                "start_us": 0,
                "end_us": 10,
                "after": 2,
                "modalities": {
                    "a": {"state": "present", "evidence": "data", "members": [["d", "1", 4]]},
                    "b": {"state": "unknown", "evidence": "tick", "members": []},
                },
            }
        ],
        "open": [["s", 20]],
    }


# a  0 by the good camera  3 s ahead by the fast one     0.6 s late by the good one, of 0.5 s lateness and 0.25 s lead
@pytest.mark.parametrize(
    ("append", "lead", "fate", "closed"),
    [
        ({"append_us": 700_000}, {}, "windowed", []),
        ({"append_us": 700_000}, {"lead_us": 400_000}, "late", [0]),
        ({"append_us": 850_000}, {}, "late", [0]),
        ({"append_us": 849_999}, {}, "windowed", []),
        ({"append_us": None}, {}, "late", [0, 500_000]),
        ({}, {}, "late", [0, 500_000]),
    ],
)
def test_append_time_limits_how_far_a_chunk_raises_the_watermark(
    append: dict[str, object], lead: dict[str, int], fate: str, closed: list[int]
) -> None:
    data = {"modality": "a", "kind": "data", "session": "s"}
    arrivals = [
        {**data, "source": "good", "id": "1", "t_us": 0, "append_us": 0},
        {**data, "source": "fast", "id": "2", "t_us": 3_000_000, **append},
        {**data, "source": "good", "id": "3", "t_us": 600_000 - 500_000, "append_us": 1_000_000},
    ]
    modalities = {"a": {"lateness_us": 600_000, "gapless": False}}
    case = {"name": "c", "size_us": 500_000, "hop_us": 500_000, "modalities": modalities, "arrivals": arrivals}
    result = run_case(json.dumps({**case, **lead}).encode())
    assert result["fates"] == ["windowed", "windowed", fate]
    assert [w["start_us"] for w in result["windows"]] == closed[:1]


def test_event_time_of_a_source_without_a_clock_is_its_append_time() -> None:
    arrival = {"modality": "a", "kind": "data", "session": "s", "source": "/devices/cam/x", "id": "1", "t_us": 777}
    case = {**CASE, "devices": {"cam": {"clock": "arrival"}}}
    result = run_case(json.dumps({**case, "arrivals": [{**arrival, "append_us": 4}]}).encode())
    assert (result["fates"], result["open"]) == (["windowed"], [["s", 0]])
    result = run_case(json.dumps({**case, "arrivals": [arrival]}).encode())
    assert result["error"] == "arrival 0: append_us is needed, the clock of /devices/cam/x is arrival"


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b'{"name": "x"}',
        json.dumps({**CASE, "hop_us": 0}).encode(),
        json.dumps({**CASE, "arrivals": [{"modality": "c", "kind": "data"}]}).encode(),
        json.dumps({**CASE, "arrivals": [{"modality": "a", "kind": "other"}]}).encode(),
        json.dumps({**CASE, "arrivals": [{"modality": "b", "kind": "bound", "bounds": {"s": 1.5}}]}).encode(),
        json.dumps({**CASE, "arrivals": [7]}).encode(),
        json.dumps({**CASE, "arrivals": [{**CASE["arrivals"][0], "duration_us": -1}]}).encode(),  # type: ignore[index]
    ],
)
def test_an_invalid_case_gives_an_error(line: bytes) -> None:
    result = run_case(line)
    assert set(result) == {"name", "error"}
    assert result["error"]


@pytest.mark.parametrize("seed", range(60))
def test_random_cases_equal_the_oracle(seed: int) -> None:
    rng = random.Random(seed)
    modalities = {m: {"lateness_us": rng.choice([0, 2, 5]), "gapless": rng.random() < 0.5} for m in "ab"}
    quota = rng.choice([None, None, 1, 2])
    arrivals: list[dict[str, Any]] = []
    for n in range(40):
        modality = rng.choice("ab")
        if rng.random() < 0.15:
            arrivals.append({"modality": modality, "kind": "bound", "bounds": {"s": rng.randint(0, 80)}})
            arrivals[-1] |= {"append_us": n} if quota is not None else {}
        else:
            more = {"session": "s", "source": "d", "id": str(rng.randint(0, 30)), "sha256": rng.choice(["", "1"])}
            if quota is not None:
                more |= {"session": rng.choice("sstu"), "source": rng.choice("ddde")}
            times = {"t_us": n + rng.randint(-12, 12), "duration_us": rng.choice([0, 0, 7])}
            if quota is not None or rng.random() < 0.7:
                times["append_us"] = n + rng.choice([-20, 0, 0, 0, 20])
            arrivals.append({"modality": modality, "kind": "data", **more, **times})
    size, hop = rng.choice([(10, 10), (12, 4), (10, 15)])
    lead = rng.choice([0, 2, 5])
    case = {"name": "r", "size_us": size, "hop_us": hop, "lead_us": lead, "modalities": modalities}
    case["source_sessions_max"] = quota
    result = run_case(json.dumps({**case, "arrivals": arrivals}).encode())

    semantics = AlignmentConfig(
        size,
        hop,
        {m: StreamConfig(v["lateness_us"], v["gapless"]) for m, v in modalities.items()},  # type: ignore[arg-type]
        lead_us=lead,
        members_max=WITHOUT_LIMIT,
        window_bytes_max=None,
        quotas=None if quota is None else replace(Quotas(*[WITHOUT_LIMIT] * 6), source_sessions_max=quota),
        event_gap_us=WITHOUT_LIMIT,
    )
    logs: dict[str, list[LogEntry]] = {"a": [], "b": []}
    positions: list[tuple[str, int]] = []
    for index, a in enumerate(arrivals):
        m = str(a["modality"])
        offset = len(logs[m])
        positions.append((m, offset))
        if a["kind"] == "bound":
            logs[m].append(LogEntry(offset, int(a.get("append_us", index)), Tick(a["bounds"], "tick")))
        else:
            at = int(a.get("append_us", NOT_APPENDED_US))
            chunk = Chunk(
                a["session"], m, a["source"], a["id"], a["t_us"], a["duration_us"], a["sha256"], 0, offset, at
            )
            logs[m].append(LogEntry(offset, at, chunk))
    verdict = judge_logs(logs, semantics)
    expected = {key: {m: [x.id for x in w.modalities[m].members] for m in "ab"} for key, w in verdict.windows.items()}
    members = {
        (w["session"], w["start_us"]): {m: [x[1] for x in w["modalities"][m]["members"]] for m in "ab"}
        for w in result["windows"]
    }
    assert members == expected
    assert result["open"] == sorted([s, start] for s, start in verdict.open)
    for position, fate in zip(positions, result["fates"], strict=True):
        assert fate == verdict.fates.get(position)
