"""The floor beside a profile: a bare aiokafka loop that reads topics and does nothing, in a process of its own.

`python -m benchmarks.bare_consumer SERVERS RECORDS AT_ONCE TOPIC ...` prints its CPU seconds a record.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence

from services.kafka import clients


async def measure_bare_consumer(servers: str, topics: Sequence[str], records: int, at_once: int) -> float:
    """CPU seconds of such a loop for each of so many records; at_once: how many it asks for at a time."""
    words = [sys.executable, "-m", "benchmarks.bare_consumer", servers, str(records), str(at_once), *topics]
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
    return float((await process.communicate())[0])


async def _read(servers: str, topics: Sequence[str], records: int, at_once: int) -> float:
    async with clients.reader(servers) as consumer:
        consumer.subscribe(list(topics))
        first = seen = sum(map(len, (await consumer.getmany(timeout_ms=10_000, max_records=at_once)).values()))
        began = time.process_time()
        while seen < records:
            seen += sum(map(len, (await consumer.getmany(timeout_ms=100, max_records=at_once)).values()))
        return (time.process_time() - began) / (seen - first)


if __name__ == "__main__":
    servers, records, at_once, *topics = sys.argv[1:]
    sys.stdout.write(f"{asyncio.run(_read(servers, topics, int(records), int(at_once)))}\n")
