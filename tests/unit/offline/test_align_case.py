"""Alignment cases in JSON: the format is exact, and an invalid case gives an error."""

from __future__ import annotations

import json
import random

import pytest

from services.contract.alignment_config import AlignmentConfig, StreamConfig
from services.contract.chunk import Chunk
from services.contract.tick import Tick
from services.inspection.audit.oracle import LogEntry, judge_logs
from services.offline.align_case import WITHOUT_LIMIT, run_case

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
    arrivals: list[dict[str, object]] = []
    for n in range(40):
        modality = rng.choice("ab")
        if rng.random() < 0.15:
            arrivals.append({"modality": modality, "kind": "bound", "bounds": {"s": rng.randint(0, 80)}})
        else:
            more = {"session": "s", "source": "d", "id": str(rng.randint(0, 30)), "sha256": rng.choice(["", "1"])}
            times = {"t_us": n + rng.randint(-12, 12), "duration_us": rng.choice([0, 0, 7])}
            arrivals.append({"modality": modality, "kind": "data", **more, **times})
    size, hop = rng.choice([(10, 10), (12, 4), (10, 15)])
    result = run_case(
        json.dumps(
            {"name": "r", "size_us": size, "hop_us": hop, "modalities": modalities, "arrivals": arrivals}
        ).encode()
    )

    semantics = AlignmentConfig(
        size,
        hop,
        {m: StreamConfig(v["lateness_us"], v["gapless"]) for m, v in modalities.items()},  # type: ignore[arg-type]
        members_max=WITHOUT_LIMIT,
        window_bytes_max=None,
        quotas=None,
        event_gap_us=WITHOUT_LIMIT,
    )
    logs: dict[str, list[LogEntry]] = {"a": [], "b": []}
    positions: list[tuple[str, int]] = []
    for index, a in enumerate(arrivals):
        m = str(a["modality"])
        offset = len(logs[m])
        positions.append((m, offset))
        if a["kind"] == "bound":
            logs[m].append(LogEntry(offset, index, Tick(a["bounds"], "tick")))  # type: ignore[arg-type]
        else:
            chunk = Chunk("s", m, "d", a["id"], a["t_us"], a["duration_us"], a["sha256"], 0, offset, index)  # type: ignore[arg-type]
            logs[m].append(LogEntry(offset, index, chunk))
    verdict = judge_logs(logs, semantics)
    expected = {
        start: {m: [x.id for x in w.modalities[m].members] for m in "ab"} for (_, start), w in verdict.windows.items()
    }
    members = {
        w["start_us"]: {m: [x[1] for x in w["modalities"][m]["members"]] for m in "ab"} for w in result["windows"]
    }
    assert members == expected
    assert result["open"] == sorted([s, start] for s, start in verdict.open)
    for position, fate in zip(positions, result["fates"], strict=True):
        assert fate == verdict.fates.get(position)
