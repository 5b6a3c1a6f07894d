"""A bare aiokafka loop that reads topics and does nothing: the yardstick beside the CPU profiles.

`python -m benchmarks.bare_consumer SERVERS RECORDS MAX_POLL TOPIC ...` prints its CPU seconds per record. It is a process
of its own, so that only its CPU counts.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence

from services.kafka import clients


async def measure_bare_consumer(servers: str, topics: Sequence[str], records: int, max_poll: int) -> float:
    """Return the CPU seconds per record of a bare loop over topics, with at most `max_poll` records per poll."""
    command = [sys.executable, "-m", "benchmarks.bare_consumer", servers, str(records), str(max_poll), *topics]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    return float((await process.communicate())[0])


async def _read(servers: str, topics: Sequence[str], records: int, max_poll: int) -> float:
    async with clients.reader(servers) as consumer:
        consumer.subscribe(list(topics))
        first = count = sum(map(len, (await consumer.getmany(timeout_ms=10_000, max_records=max_poll)).values()))
        began = time.process_time()
        while count < records:
            count += sum(map(len, (await consumer.getmany(timeout_ms=100, max_records=max_poll)).values()))
        return (time.process_time() - began) / (count - first)


if __name__ == "__main__":
    servers, records, max_poll, *topics = sys.argv[1:]
    sys.stdout.write(f"{asyncio.run(_read(servers, topics, int(records), int(max_poll)))}\n")
