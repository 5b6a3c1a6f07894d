"""Plays the shipped streams into the media topics of a run: `python -m benchmarks.player SERVERS PREFIX SPEED SECONDS TOLD`.

Speed 1 is live; any other sends them as fast as the broker takes them, with event times that end now.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from services.contract.topics import Topics
from services.kafka import clients
from services.offline.evaluation.dataset import read_stream
from services.offline.evaluation.player import PlaybackSchedule, play_streams

DATA = Path(__file__).parents[1] / "data"
NAMES = tuple(f"S{n:02}" for n in range(1, 9))


async def main(servers: str, prefix: str, speed: float, seconds: float) -> dict[str, int]:
    """Play; what was sent, as the generator tells it."""
    recordings = {name: read_stream(DATA, name) for name in NAMES}
    async with clients.producer(servers) as producer:
        now_us = time.time_ns() // 1000
        schedule = PlaybackSchedule(now_us + 500_000, 0, int(seconds * 1e6), speed)
        played = await play_streams(producer, Topics(prefix), recordings, schedule, now_us)
    return {"records": played.chunks_sent, "bytes": 0, "begin_ms": (now_us + 500_000) // 1000, "behind_ms": 0}


if __name__ == "__main__":
    report = asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
    Path(sys.argv[5]).write_text(json.dumps(report))
